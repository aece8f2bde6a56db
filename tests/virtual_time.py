"""Tests of hours in milliseconds: a coroutine test on a simulated loop whose clock jumps to the next timer.

::

    @virtual_time
    async def test_something():
        await asyncio.sleep(3600)

Work for an executor is done at once, in the loop's own thread, and its answer comes one turn later.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from harness.simulation.loop import EPOCH, SimulatedLoop, loop_factory

VirtualTimeLoop = loop_factory(executor_time=(0, 0))


def wall() -> float:
    """A wall clock that moves with the running loop's time."""
    return EPOCH + asyncio.get_running_loop().time()


def hold(seconds: float) -> None:
    """Hold up the running loop, as a callback does that computes for so long."""
    _loop().hold(seconds)


def timers() -> list[asyncio.TimerHandle]:
    """The timers that are set in the running loop, to show that something has left none behind."""
    return list(_loop().timers())


def _loop() -> SimulatedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine test on a `VirtualTimeLoop`; fixtures of it must be plain functions."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
