"""Tasks, futures and timers by number."""

from __future__ import annotations

import asyncio

from harness.simulation.numbered import NumberedTimer
from tests.harness.simulation.stage import host, sim, simulated


@simulated
async def test_sets_have_one_order():
    """Tasks and futures hash by their number, so that sets of them do not follow addresses."""
    tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(100)]
    futures = [sim().create_future() for _ in range(100)]

    assert list({*reversed(tasks)}) == list({*tasks})
    assert sorted(tasks, key=hash) == tasks
    assert sorted(futures, key=hash) == futures


@simulated
async def test_names_count_from_the_beginning():
    """A task without a name is named by its number in this simulation, not by how many there were in the process."""
    assert asyncio.create_task(asyncio.sleep(0)).get_name() == "task 2"
    assert asyncio.create_task(asyncio.sleep(0), name="mine").get_name() == "mine"
    assert host("gw").spawn(asyncio.sleep(0)).get_name().startswith("task ")


@simulated
async def test_timers_by_time_then_number():
    """Timers are in the order of their times, those of one time in that of their numbers."""
    made = [NumberedTimer(number, when, print, (), sim(), None) for number, when in ((4, 1.0), (3, 2.0), (2, 1.0))]

    assert [timer._number for timer in sorted(made)] == [2, 4, 3]
