"""The channel to the board, for the other modules here: one question at a time."""

import json
import os

_channel = open(int(os.getenv("WSDEVICE_CHANNEL") or "0"), "r+b", 0)  # noqa: SIM115, PTH123 - as long as the program
_count = 0


def ask(do: str, **arguments: object) -> object:
    """Ask the board for something, and return what it answers; `OSError` with ESP-IDF's code where it refuses."""
    global _count  # noqa: PLW0603 - there is one channel
    _count += 1
    request: dict[str, object] = {"id": _count, "do": do}
    request.update(arguments)
    _channel.write(json.dumps(request).encode() + b"\n")
    while True:
        line = _channel.readline()
        if not line:
            raise OSError("the board has gone")
        answer = json.loads(line)
        if answer.get("id") == _count:  # what else comes are events
            if "error" in answer:
                raise OSError(answer["error"] + ": " + answer["text"])
            return answer.get("ok")
