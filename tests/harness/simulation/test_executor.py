"""Blocking work in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.workers import DaemonExecutor, Workers
from harness.simulation.executor import Pool
from harness.simulation.loop import EXECUTOR_TIME, SimulatedLoop, run
from tests.harness.simulation.stage import host, sim, simulated

NOW = (0.0, 0.0)


@simulated
async def test_takes_time():
    """Work takes some time between the limits, and its result comes at the end."""
    began = sim().time()

    assert await asyncio.to_thread(pow, 2, 10) == 1024
    assert EXECUTOR_TIME[0] <= sim().time() - began <= EXECUTOR_TIME[1]


@simulated
async def test_time_that_changes():
    """Calls that begin later take as long as is said by then."""
    await asyncio.to_thread(pow, 2, 10)
    sim().executor_time = (2.0, 2.0)
    began = sim().time()

    await asyncio.to_thread(pow, 2, 10)
    assert sim().time() - began == pytest.approx(2.0)


@simulated(executor_time=(1.0, 1.0))
async def test_effect_comes_before_the_result():
    """Work is done at a moment of its time, and known at its end: between the two it is done, and nobody knows."""
    done: list[float] = []
    future = sim().run_in_executor(None, lambda: done.append(time.monotonic()))
    await future

    assert 0.0 < done[0] < 1.0
    assert sim().time() == 1.0


@simulated(executor_time=(1.0, 1.0))
async def test_kill_between_effect_and_result():
    """A process that dies in between leaves the effect, and no result; one that dies before leaves neither."""
    outcomes = set()
    for number in range(20):
        gw = host(f"gw{number}")
        done: list[str] = []

        async def work(done: list[str] = done) -> None:
            await asyncio.to_thread(done.append, "effect")
            done.append("result")

        gw.spawn(work())
        await asyncio.sleep(0.5)
        gw.kill()
        await asyncio.sleep(2)
        outcomes.add(tuple(done))

    assert outcomes == {(), ("effect",)}


@simulated(executor_time=NOW)
async def test_without_time():
    """With no time for it, work is done within the call, and known one turn later."""
    done: list[int] = []
    future = sim().run_in_executor(None, done.append, 1)
    other = sim().run_in_executor(DaemonExecutor(1, "one"), done.append, 2)

    assert done == [1, 2]
    assert not future.done()
    await asyncio.sleep(0)
    assert future.done()
    assert other.done()
    assert sim().time() == 0.0


@simulated
async def test_errors():
    """What the work raises is raised where it is awaited; what a future cannot take is wrapped."""
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="a call raised StopIteration"):
        await asyncio.to_thread(next, iter(()))


@pytest.mark.parametrize(("threads", "seconds"), [(1, 6.0), (2, 3.0), (6, 1.0), (7, 1.0)])
def test_as_many_at_once_as_threads(threads: int, seconds: float):
    """Six calls of a second each take as long as they would on so many threads, and begin in their order."""

    async def main(loop: SimulatedLoop) -> None:
        executor, order = DaemonExecutor(threads, "some"), list[int]()
        await asyncio.gather(*(loop.run_in_executor(executor, order.append, number) for number in range(6)))
        assert loop.time() == pytest.approx(seconds)
        assert sorted(order) == list(range(6))
        assert threads > 1 or order == list(range(6))

    run(main, executor_time=(1.0, 1.0))


@simulated(executor_time=(1.0, 1.0))
async def test_threads_of_the_standard_executor():
    """The size of a `ThreadPoolExecutor` is known, too; no thread of it begins."""
    with ThreadPoolExecutor(3) as executor:
        await asyncio.gather(*(sim().run_in_executor(executor, int) for _ in range(6)))

    assert sim().time() == pytest.approx(2.0)


@simulated(executor_time=(1.0, 1.0))
async def test_cancelled_before_it_began():
    """A call that waits for a thread is not done once it is cancelled; one that runs is."""
    executor, done = DaemonExecutor(1, "one"), list[str]()
    runs = sim().run_in_executor(executor, done.append, "runs")
    waits = sim().run_in_executor(executor, done.append, "waits")
    await asyncio.sleep(0)
    runs.cancel()
    waits.cancel()
    await asyncio.sleep(5)

    assert done == ["runs"]


@simulated
async def test_closed():
    """A closed executor takes no work, as the real one."""
    executor = DaemonExecutor(1, "one")
    executor.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        sim().run_in_executor(executor, int)


@simulated
async def test_as_in_a_thread():
    """Work finds no running loop and no context of its caller."""

    def look() -> str:
        try:
            asyncio.get_running_loop()
        except RuntimeError as error:
            return str(error)
        return "a loop"

    assert await sim().run_in_executor(None, look) == "no running event loop"
    assert asyncio.get_running_loop() is sim()


@simulated(executor_time=(1.0, 1.0))
async def test_sleep_in_a_thread():
    """Blocking sleep makes the call longer, and nothing else."""
    await asyncio.to_thread(time.sleep, 3600)

    assert 3600.0 <= sim().time() <= 3601.0
    assert Pool.running is None


@simulated
async def test_workers_of_the_gateway():
    """The gateway's worker pool works on it, up to its close."""
    workers = Workers(2, 10)

    def numbers() -> Iterator[int]:
        yield from range(3)

    assert await workers.run(list, numbers()) == [0, 1, 2]
    assert await workers.close(1.0) is True
    assert workers.threads == 0
