"""Tests of the clock that other tests trust."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.virtual_time import EPOCH, Deadlock, VirtualTimeLoop, timers, virtual_time, wall


@virtual_time
async def test_an_hour_takes_no_time():
    """Sleeping moves the clock by exactly as much, and does not wait."""
    begun = time.monotonic()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == pytest.approx(3600)
    assert wall() == pytest.approx(EPOCH + 3600)
    assert time.monotonic() - begun < 5


@virtual_time
async def test_timers_fire_in_order():
    """Timers fire in the order of their times, whatever the order in which they were set."""
    loop = asyncio.get_running_loop()
    fired = []
    for delay in (3, 1, 2):
        loop.call_later(delay, lambda d=delay: fired.append((d, round(loop.time(), 6))))
    assert len(timers()) == 3
    await asyncio.sleep(4)
    assert fired == [(1, 1), (2, 2), (3, 3)]
    assert timers() == []


@virtual_time
async def test_executor_work_is_done_at_once():
    """Work for an executor runs in place: its result, or its exception, comes without a thread or time passing."""
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 7, 0)
    assert loop.time() == 0


def test_waiting_for_nothing_fails():
    """A test in which nothing can ever happen fails at once."""

    async def wait_for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualTimeLoop()
    task = loop.create_task(wait_for_ever())
    with pytest.raises(Deadlock):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
