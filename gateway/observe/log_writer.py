"""The way of log lines to their stream, which may take its time: nobody who logs waits for whoever reads the log.

A pipe that nobody reads is full after 64 KiB. A loop that wrote to it itself would stand still from then on, signals
included.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TextIO

LINES_MAX = 10_000
"""Lines that may wait; a further one is dropped and counted."""
_BATCH = 1000  # lines written at once: each write costs the thread one turn of the interpreter's lock, up to 5 ms


class LogWriter:
    """Writes lines to a stream in a thread of its own, in the order in which they were put.

    A stream with a file descriptor is written to at the descriptor, which is duplicated: a thread that hung in
    ``sys.stderr`` at the end of the process would hold its lock, and the interpreter, which flushes it, would not end.
    What the stream refuses (closed, disk full) is counted as dropped.

    Args:
        stream: where to.
        dropped: makes the line that tells how many were dropped; called in the thread.
        lines_max: lines that may wait.
    """

    def __init__(self, stream: TextIO, dropped: Callable[[int], str], lines_max: int = LINES_MAX) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._descriptor = _duplicate(stream)
        self._tell_dropped = dropped
        self._lines_max = lines_max
        # not a `Queue`: its `put` may not be interrupted by another one of the same thread, and the garbage collector,
        # which may come at any moment, has warnings to log
        self._lines: SimpleQueue[str | threading.Event | None] = SimpleQueue()
        self._dropped = 0  # only grows, for lack of room; written by those who log
        self._refused = 0  # only grows; written by the thread, as is the next one
        self._told = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def has_room(self) -> bool:
        """Whether a line would be taken now; one that would not be is counted as dropped, so ask once for each."""
        if self._closed:
            return False
        if self._lines.qsize() < self._lines_max:
            return True
        self._dropped += 1
        return False

    def put(self, line: str) -> None:
        """Have a line written. Never blocks, from any thread."""
        self._lines.put(line)

    def flush(self, timeout: float) -> bool:
        """Wait until all that was put is written, ``timeout`` seconds at most; return whether it is. Blocking."""
        if self._closed:
            return True
        written = threading.Event()
        self._lines.put(written)
        return written.wait(timeout)

    def close(self, timeout: float) -> bool:
        """Flush, then end the thread; lines are ignored from now on. Idempotent. Blocking.

        Returns:
            Whether all has been written within ``timeout`` seconds; if not, the thread is left behind.
        """
        if self._closed:
            return True
        self._closed = True
        self._lines.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # --- in the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        after: str | threading.Event | None = ""
        while after is not None:
            lines, after = self._batch()
            self._write(lines)
            self._write_dropped()
            if isinstance(after, threading.Event):
                after.set()
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _batch(self) -> tuple[list[str], str | threading.Event | None]:
        """Wait for lines; return those that are there, and what came after them: "" for nothing, None for the end."""
        lines: list[str] = []
        item = self._lines.get()
        with suppress(Empty):
            while isinstance(item, str):
                lines.append(item)
                if len(lines) == _BATCH:
                    return lines, ""
                item = self._lines.get_nowait()
            return lines, item
        return lines, ""

    def _write_dropped(self) -> None:
        dropped = self._dropped + self._refused
        if dropped != self._told and self._write([self._tell_dropped(dropped - self._told)], counted=False):
            self._told = dropped

    def _write(self, lines: list[str], *, counted: bool = True) -> bool:
        text = "".join([line + "\n" for line in lines])
        try:
            if self._descriptor is None:
                self._stream.write(text)
                self._stream.flush()
            else:
                _write_all(self._descriptor, text.encode(self._encoding, "backslashreplace"))
        except (OSError, ValueError):  # a closed stream raises ValueError
            self._refused += len(lines) if counted else 0
            return False
        return True


def _duplicate(stream: TextIO) -> int | None:
    """Return a descriptor of our own for a stream, None where it has none."""
    try:
        stream.flush()  # what it holds comes first
        return os.dup(stream.fileno())
    except (OSError, ValueError):  # io.UnsupportedOperation is both
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
