"""The program's end of the channel to its board: requests and their answers, and events."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from typing import Any

import msgspec

from harness.errors import WorldError

_LINE_BYTES = 1 << 20
_ANSWER_SECONDS = 30.0  # erasing and checking a slot takes milliseconds; a board that is stopped kills this process


class BoardRefused(WorldError):
    """The board answered a request with an error of ESP-IDF.

    Attributes:
        code: of ESP-IDF.
        why: in words.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(code, why)
        self.code = code
        self.why = why

    def __str__(self) -> str:
        return f"{self.code}: {self.why}"


class BoardChannel:
    """The channel, in the running loop.

    Attributes:
        on_event: is given each event.
        closed: set when the board has gone: this program is to end, too.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.on_event: Callable[[dict[str, Any]], None] = lambda _: None
        self.closed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._task = asyncio.get_running_loop().create_task(self._listen(), name="channel to the board")

    @classmethod
    async def open(cls, end: socket.socket) -> BoardChannel:
        """Open it on an inherited socket."""
        return cls(*await asyncio.open_connection(sock=end, limit=_LINE_BYTES))

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Ask the board for something, and return what it answers.

        Raises:
            BoardRefused: with an error of ESP-IDF; also when the board has gone.
        """
        number = next(self._numbers)
        future = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(msgspec.json.encode({"id": number, "do": do, **arguments}) + b"\n")
            await self._writer.drain()
            answer = await asyncio.wait_for(future, _ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise BoardRefused("ESP_ERR_TIMEOUT", f"no answer to {do}: {error}") from None
        finally:
            self._answers.pop(number, None)
        if "error" in answer:
            raise BoardRefused(str(answer["error"]), str(answer.get("text", "")))
        return answer.get("ok")

    async def aclose(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.close()

    async def _listen(self) -> None:
        try:
            while line := await self._reader.readline():
                message = msgspec.json.decode(line)
                future = self._answers.get(message.get("id"))
                if "event" in message:
                    self.on_event(message)
                elif future is not None and not future.done():
                    future.set_result(message)
        except OSError:
            pass
        finally:
            self.closed.set()
