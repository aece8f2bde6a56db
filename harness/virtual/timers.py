"""What happens later on a board: one thread that calls what is due, in order."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

JOIN = 5.0
"""Seconds to wait for the thread at the end: what it calls may stop a device program, which takes 2 s at most."""


class Timers:
    """Calls in a thread of its own, which starts with the first and ends with `close`.

    What is called must not raise. Nothing is taken back: what is called looks whether it is still wanted.
    """

    def __init__(self, name: str) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def call_in(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something after so many seconds; never after `close`."""
        with self._changed:
            if self._closed:
                return
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._number), call))
            if not self._thread.is_alive():
                self._thread.start()
            self._changed.notify()

    def close(self) -> bool:
        """Forget everything, and wait for the thread; return whether it has ended. Idempotent."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None
