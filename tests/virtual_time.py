"""An event loop whose clock jumps to the next timer, so that a test of minutes takes milliseconds.

::

    @virtual_time
    async def test_something():
        await asyncio.sleep(3600)

No real sockets, no threads: `run_in_executor` runs the work at once, in the loop's own thread, and the answer comes
one turn later. When nothing can ever happen again the test fails with `Deadlock` instead of hanging.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

EPOCH = 1_700_000_000.0
"""What `wall` says at the beginning of the loop's time."""


class Deadlock(BaseException):
    """Every task waits and no timer is set; not an Exception, so that nothing under test can catch it."""


class _Jump(selectors.DefaultSelector):
    """A selector that moves the clock where the real one would wait."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Deadlock("every task waits, and no timer is set")
            self.now += max(0.0, timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop with a clock of its own, beginning at 0."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jump.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run the work at once, in this thread; its result comes one turn later."""
        done = self.create_future()

        def answer(settle: Callable[[Any], None], value: Any) -> None:
            if not done.done():
                settle(value)

        try:
            self.call_soon(answer, done.set_result, func(*args))
        except Exception as error:  # noqa: BLE001 - it is handed to whoever awaits the work
            self.call_soon(answer, done.set_exception, error)
        return done


def wall() -> float:
    """A wall clock that moves with the running loop's time."""
    return EPOCH + asyncio.get_running_loop().time()


def timers() -> list[asyncio.TimerHandle]:
    """The timers that are set in the running loop, to show that something has left none behind."""
    return [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on a `VirtualTimeLoop`; fixtures of it must be plain functions."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
