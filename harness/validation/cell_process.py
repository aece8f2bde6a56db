"""The process of one cell: a job comes in on its input, events go out, a line of JSON each.

One process for each board: what it holds, opens and starts is gone with it, and cells do not share an interpreter's
lock. It ends with whoever started it, because its input does.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import msgspec

from harness.errors import Misuse
from harness.validation.cell import Validation
from harness.validation.exit_codes import ValidationExit
from harness.validation.job import Job
from harness.validation.progress import Event, Finished, Refused, to_line


def main() -> int:
    """Do the job; return the exit code: 0 where there is a result, be the build good or bad."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no event
    line = sys.stdin.buffer.readline()
    if not line:
        return ValidationExit.INTERRUPTED  # whoever started it has gone
    job = msgspec.json.decode(line, type=Job)
    over = threading.Event()
    threading.Thread(target=_end_with_input, args=(over,), name="end with our caller", daemon=True).start()
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            events.write(to_line(event))

    with tempfile.TemporaryDirectory(prefix="wsdevice-validate-") as directory:
        validation = Validation(job, Path(directory), tell)
        try:
            cell = validation.run()
        except Misuse as error:
            tell(Refused(str(error)))
            return ValidationExit.CANNOT_START
        except KeyboardInterrupt:
            return ValidationExit.INTERRUPTED
    over.set()
    tell(Finished(cell, tuple(sorted(validation.secrets))))
    return 0


def _end_with_input(over: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    if not over.is_set():
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: the board is given back


if __name__ == "__main__":
    sys.exit(main())
