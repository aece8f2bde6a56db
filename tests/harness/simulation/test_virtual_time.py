"""The loop's time, order, and ends."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from harness.simulation.loop import Deadlock, LimitPassed, Livelock, SimulatedLoop, run
from harness.simulation.virtual_time import CLOCK_TICK
from tests.harness.simulation.stage import host, sim, simulated


def test_an_hour_takes_milliseconds():
    """Time begins at 0 and jumps to the next timer; nobody waits."""

    async def main(loop: SimulatedLoop) -> tuple[float, float]:
        began = loop.time()
        await asyncio.sleep(3600)
        return began, loop.time()

    real = time.perf_counter()
    assert run(main) == (0.0, 3600.0)
    assert time.perf_counter() - real < 0.5


@simulated
async def test_ready_callbacks_keep_their_order():
    """What is called soon is called in the order of the calls, as asyncio promises."""
    order: list[int] = []
    for number in range(50):
        sim().call_soon(order.append, number)
    await asyncio.sleep(0)

    assert order == list(range(50))


@simulated
async def test_timers_of_one_moment_keep_their_order():
    """Timers for the same moment fire in the order in which they were set, however many there are."""
    order: list[int] = []
    for number in range(50):
        sim().call_later(1.0, order.append, number)
    sim().call_later(0.5, order.append, -1)
    await asyncio.sleep(2)

    assert order == [-1, *range(50)]


@simulated
async def test_shortest_delay_moves_the_clock():
    """Code that waits for a moment in rounded steps gets there: a delay is never nothing."""
    await asyncio.sleep(100)
    now = sim().time()
    await asyncio.sleep(1e-15)

    assert now < sim().time() <= now + 2 * CLOCK_TICK


@simulated
async def test_held():
    """While a callback holds the loop nothing happens; what was due meanwhile comes late, in its order."""
    late: list[tuple[int, float]] = []
    for number in (3, 1, 2):
        sim().call_later(number, lambda number=number: late.append((number, sim().time())))
    sim().hold(10)
    sim().hold(-5)
    assert (late, sim().time()) == ([], 10.0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert late == [(1, 10.0), (2, 10.0), (3, 10.0)]


def test_deadlock_lists_who_waits():
    """When nothing can ever happen again, every task is named, with the line in which it waits, and its host."""

    async def main(loop: SimulatedLoop) -> None:
        event, queue = asyncio.Event(), asyncio.Queue[int]()
        mine = asyncio.create_task(event.wait(), name="mine")
        host("gw").spawn(take(queue), "taker")
        await mine

    async def take(queue: asyncio.Queue[int]) -> None:
        await queue.get()

    with pytest.raises(Deadlock) as found:
        run(main)

    first, mine, taker = found.value.waiting
    assert "in test_deadlock_lists_who_waits.<locals>.main: await mine (which waits for mine)" in first
    assert mine.startswith("mine: ")
    assert taker.startswith("taker of gw: test_virtual_time.py:")
    assert taker.endswith("take: await queue.get()")
    assert "nothing can ever happen" in str(found.value)
    assert taker in str(found.value)


def test_deadlock_tells_who_has_failed():
    """A task of a host that failed, unseen, may be what is waited for: its error is in the report."""

    async def fail() -> None:
        raise ZeroDivisionError("by this")

    async def main(_: SimulatedLoop) -> None:
        host("gw").spawn(fail(), "gateway")
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"gateway has failed with ZeroDivisionError\('by this'\)"):
        run(main)


def test_deadlock_cannot_be_caught():
    """Code under test that catches every exception does not keep a deadlock to itself."""

    async def main(_: SimulatedLoop) -> None:
        with contextlib.suppress(Exception):
            await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(main)


def test_deadlock_leaves_nothing_pending():
    """After a deadlock the tasks are cancelled, and their ``finally`` blocks run."""
    unwound: list[str] = []

    async def main(_: SimulatedLoop) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            unwound.append("main")

    with pytest.raises(Deadlock):
        run(main)

    assert unwound == ["main"]


def test_livelock():
    """A loop that turns without the clock moving is ended, and what keeps it turning is named."""

    async def main(_: SimulatedLoop) -> None:
        await asyncio.sleep(2)
        while True:  # noqa: ASYNC110 - it is what is to be found
            await asyncio.sleep(0)

    with pytest.raises(
        Livelock, match=r"1001 turns of the loop at 2\.000000 s(.*\n)*.*main: await asyncio\.sleep\(0\)"
    ) as found:
        run(main, turns_limit=1000)

    assert found.value.now == 2.0


def test_turns_at_the_limit():
    """As many turns in one moment as are allowed are no livelock, and a move of the clock begins to count anew."""

    async def main(_: SimulatedLoop) -> None:
        for _ in range(3):
            for _ in range(900):
                await asyncio.sleep(0)
            await asyncio.sleep(1)

    run(main, turns_limit=1000)


def test_virtual_limit():
    """Past its virtual time a simulation is ended, and those who wait are named; they have an hour to unwind."""
    unwound: list[str] = []

    async def main(_: SimulatedLoop) -> None:
        try:
            while True:  # noqa: ASYNC110 - it waits for nothing
                await asyncio.sleep(7)
        finally:
            await asyncio.sleep(3000)
            unwound.append("main")

    with pytest.raises(LimitPassed, match=r"limit of 60 virtual seconds; it is 63\.000 s.*\n.*asyncio\.sleep\(7\)"):
        run(main, virtual_limit=60)

    assert unwound == ["main"]


def test_wall_limit():
    """Past its real time a simulation is ended, whatever it does; what is cancelled then has some time to unwind."""
    unwound: list[str] = []

    async def main(_: SimulatedLoop) -> None:
        try:
            while True:  # noqa: ASYNC110 - it waits for nothing
                await asyncio.sleep(1e-3)
        finally:
            for _ in range(3000):
                await asyncio.sleep(1e-3)
            unwound.append("main")

    real = time.perf_counter()
    with pytest.raises(LimitPassed, match=r"limit of 0\.05 real seconds"):
        run(main, wall_limit=0.05, virtual_limit=1e9)

    assert time.perf_counter() - real < 5
    assert unwound == ["main"]


@simulated
async def test_timers_are_listed():
    """The timers that are set can be seen, and those of the network are not among them."""
    assert sim().timers() == []
    timer = sim().call_later(5, print)
    cancelled = sim().call_later(6, print)
    cancelled.cancel()
    server = await asyncio.start_server(lambda *_: None, port=9)
    _, writer = await asyncio.open_connection("localhost", 9)

    assert sim().timers() == [timer]
    writer.close()
    server.close()
