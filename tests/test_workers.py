"""The bounded thread pool, and the way from a thread into the loop: with real threads, each wait with a deadline."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from gateway.errors import LoopNotRunning, Misuse, PoolBusy
from gateway.tasks import Tasks
from gateway.workers import DaemonExecutor, Workers

DEADLINE = 5.0


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    """A pool of two threads and a queue of two, bound to the test's loop."""
    pool = Workers(max_workers=2, queue=2)
    pool.bind(asyncio.get_running_loop())
    yield pool
    assert await pool.close(DEADLINE)
    await until(lambda: pool.threads == 0)


@pytest.fixture
def gate() -> Gate:
    """Blocking work that ends when told."""
    return Gate()


class Gate:
    """Blocking work for the pool: each call waits until the gate is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._entered = threading.Semaphore(0)
        self.calls: list[object] = []

    def __call__(self, result: object = None) -> object:
        """Note the call, wait, and return what was given."""
        self.calls.append(result)
        self._entered.release()
        assert self._open.wait(DEADLINE)
        return result

    async def entered(self, count: int = 1) -> None:
        """Wait until so many calls have begun."""
        for _ in range(count):
            await until(lambda: self._entered.acquire(blocking=False))

    def open(self) -> None:
        """Let all calls end."""
        self._open.set()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    async with asyncio.timeout(DEADLINE):
        while not reached():  # noqa: ASYNC110 - threads announce nothing
            await asyncio.sleep(0.001)


async def in_thread(call: Callable[[], Any]) -> Any:
    """Call something in a thread that is not the pool's."""
    with ThreadPoolExecutor(1) as executor:
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(executor, call), DEADLINE)


def worker_threads() -> list[str]:
    """Names of the worker threads of this process."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("wsdevice-"))


@pytest.mark.parametrize("given", [0, -3, 65, True, "x", 2.0, None])
async def test_size_that_makes_no_sense(caplog: pytest.LogCaptureFixture, gate: Gate, given: Any):
    """What a configuration built in code may have for a size is taken for two, with one warning."""
    pool = Workers(max_workers=given, queue=1)
    calls = [asyncio.create_task(pool.run(gate, number)) for number in range(3)]
    await gate.entered(2)
    assert pool.threads == 2
    with pytest.raises(PoolBusy):
        await pool.run(gate)
    gate.open()
    assert await asyncio.gather(*calls) == [0, 1, 2]
    assert await pool.close(DEADLINE)
    assert [record.getMessage() for record in caplog.records] == [
        f"expected an integer from 1 to 64 worker threads, found {given!r}; 2 are made"
    ]


@pytest.mark.parametrize("given", [1, 64])
async def test_size(caplog: pytest.LogCaptureFixture, gate: Gate, given: int):
    """So many calls run at once as are configured."""
    pool = Workers(max_workers=given, queue=1)
    calls = [asyncio.create_task(pool.run(gate, number)) for number in range(given + 1)]
    await gate.entered(given)
    assert pool.threads == given
    gate.open()
    await asyncio.gather(*calls)
    assert await pool.close(DEADLINE)
    assert not caplog.records


class TestRun:
    """From the loop into a thread."""

    async def test_result(self, workers: Workers):
        """The caller gets what the call returns, from another thread with a telling name."""
        name = await workers.run(lambda: threading.current_thread().name)

        assert name == "wsdevice-worker-1"
        assert await workers.run(divmod, 7, 2) == (3, 1)

    async def test_exception(self, workers: Workers):
        """The caller gets what the call raises."""
        with pytest.raises(ZeroDivisionError):
            await workers.run(divmod, 1, 0)

    async def test_stop_iteration(self, workers: Workers):
        """An exception that asyncio cannot carry does not leave the caller waiting for ever."""
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(workers.run(next, iter(())), DEADLINE)

    async def test_idle_pool_has_no_threads(self, workers: Workers):
        """Threads begin with the first work, one for one call, and never more than there may be."""
        assert workers.threads == 0
        assert worker_threads() == []
        for _ in range(10):
            await workers.run(int)
        assert 1 <= workers.threads <= 2

    async def test_at_and_past_the_bound(self, workers: Workers, gate: Gate):
        """Two run, two wait, and the fifth is refused at once; when they have ended, there is room again."""
        calls = [asyncio.ensure_future(workers.run(gate, n)) for n in range(4)]
        await gate.entered(2)
        assert workers.taken == 4
        assert workers.threads == 2

        with pytest.raises(PoolBusy, match="2 worker threads are busy and 2 calls wait"):
            await workers.run(int)

        gate.open()
        assert await asyncio.gather(*calls) == [0, 1, 2, 3]
        assert await workers.run(int) == 0
        assert worker_threads() == ["wsdevice-worker-1", "wsdevice-worker-2"]

    async def test_order(self, gate: Gate):
        """Calls begin in the order in which they came."""
        pool = Workers(max_workers=1, queue=20)
        calls = [asyncio.ensure_future(pool.run(gate, n)) for n in range(20)]
        gate.open()
        await asyncio.gather(*calls)

        assert gate.calls == list(range(20))
        assert await pool.close(DEADLINE)

    async def test_cancelled_while_waiting(self, workers: Workers, gate: Gate):
        """A waiting call whose caller is cancelled never runs, and its place is free."""
        calls = [asyncio.ensure_future(workers.run(gate, n)) for n in range(4)]
        await gate.entered(2)
        calls[3].cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls[3]
        await until(lambda: workers.taken == 3)
        calls.append(asyncio.ensure_future(workers.run(gate, 4)))

        gate.open()
        await asyncio.gather(*calls[:3], calls[4])
        assert sorted(gate.calls, key=str) == [0, 1, 2, 4]

    async def test_cancelled_calls_do_not_pile_up(self, workers: Workers, gate: Gate):
        """Behind busy threads, any number of callers may come and be cancelled; nothing is left of them."""
        calls = [asyncio.ensure_future(workers.run(gate)) for _ in range(2)]
        await gate.entered(2)
        for _ in range(100):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(workers.run(gate), 0)
            late = asyncio.ensure_future(workers.run(gate))
            await asyncio.sleep(0)
            late.cancel()
            await asyncio.wait([late])
        await until(lambda: workers.taken == 2)

        assert len(workers._pool._waiting) == 0
        gate.open()
        await asyncio.gather(*calls)

    async def test_cancelled_while_running(self, workers: Workers, gate: Gate):
        """A running call cannot be stopped: its caller is free at once, its thread stays taken until it ends."""
        call = asyncio.ensure_future(workers.run(gate))
        await gate.entered()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert workers.taken == 1

        gate.open()
        await until(lambda: workers.taken == 0)

    async def test_failure_nobody_sees(self, workers: Workers, gate: Gate, caplog: pytest.LogCaptureFixture):
        """A call that fails after its caller was cancelled leaves its traceback in the log."""

        def fail() -> None:
            gate()
            raise ValueError("too late")

        call = asyncio.ensure_future(workers.run(fail))
        await gate.entered()
        call.cancel()
        await asyncio.wait([call])
        gate.open()
        await until(lambda: workers.taken == 0)

        (record,) = caplog.records
        assert "fail failed in its thread" in record.getMessage()
        assert record.exc_info is not None


class TestClose:
    """The end of the threads."""

    async def test_never_used(self):
        """A pool without work closes at once, and again."""
        pool = Workers(1, 1)

        assert await pool.close(0)
        assert await pool.close(0)

    async def test_waits_for_what_runs(self, gate: Gate):
        """What runs and what waits is brought to its end; afterwards there are no threads and no more work."""
        pool = Workers(1, 1)
        calls = [asyncio.ensure_future(pool.run(gate, n)) for n in range(2)]
        await gate.entered()
        closing = asyncio.ensure_future(pool.close(DEADLINE))
        await asyncio.sleep(0)
        assert not closing.done()

        gate.open()

        assert await closing
        assert await asyncio.gather(*calls) == [0, 1]
        await until(lambda: pool.threads == 0)
        with pytest.raises(Misuse, match="it is closed"):
            await pool.run(int)

    async def test_abandons_what_is_stuck(self, gate: Gate, caplog: pytest.LogCaptureFixture):
        """A stuck call is named and left behind in time; a call behind it never runs; both callers hear of it."""
        pool = Workers(1, 1)
        calls = [asyncio.ensure_future(pool.run(gate, n)) for n in range(2)]
        await gate.entered()

        assert not await asyncio.wait_for(pool.close(0.01), DEADLINE)

        for call in calls:
            with pytest.raises(PoolBusy, match="closed"):
                await call
        assert [record.getMessage() for record in caplog.records] == [
            "Gate did not end within 0.0 s; its thread is left behind"
        ] * 2
        gate.open()
        await until(lambda: pool.threads == 0)
        assert gate.calls == [0]
        assert not await pool.close(0)

    async def test_cancelled_close(self, gate: Gate):
        """A close that is cancelled leaves nothing open either."""
        pool = Workers(1, 0)
        pool.bind(asyncio.get_running_loop())
        call = asyncio.ensure_future(pool.run(gate))
        await gate.entered()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.close(DEADLINE), 0.01)

        with pytest.raises(PoolBusy):
            await call
        gate.open()
        await until(lambda: pool.threads == 0)

    def test_stuck_thread_does_not_keep_the_process(self):
        """A process whose worker never returns ends, in time and with its own exit code."""
        program = """
import asyncio, sys, threading
from gateway.workers import Workers

async def main():
    pool = Workers(1, 1)
    begun = threading.Event()
    call = asyncio.create_task(pool.run(lambda: (begun.set(), threading.Event().wait())))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    call.cancel()
    clean = await pool.close(0.01)
    sys.exit(7 if not clean else 8)

asyncio.run(main())
"""
        ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)

        assert ended.returncode == 7


class TestDedicated:
    """Single threads with an order."""

    async def test_one_thread_in_order(self, workers: Workers):
        """All calls of one name run in the same thread, one after the other, outside the bound of the pool."""
        loop = asyncio.get_running_loop()
        executor = workers.dedicated("mailbox")
        order: list[int] = []
        calls = [loop.run_in_executor(executor, order.append, n) for n in range(50)]
        name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)

        await asyncio.gather(*calls)
        assert order == list(range(50))
        assert name == "wsdevice-mailbox-1"
        assert workers.taken == 0

    async def test_name_is_taken(self, workers: Workers):
        """Two users cannot share a dedicated thread by accident."""
        workers.dedicated("mailbox")
        with pytest.raises(Misuse, match="'mailbox'"):
            workers.dedicated("mailbox")

    async def test_close_waits_for_it(self, gate: Gate):
        """Closing waits for what a dedicated thread was given."""
        pool = Workers(1, 1)
        loop = asyncio.get_running_loop()
        executor = pool.dedicated("mailbox")
        calls = [loop.run_in_executor(executor, gate, n) for n in range(3)]
        closing = asyncio.ensure_future(pool.close(DEADLINE))
        await gate.entered()
        assert not closing.done()

        gate.open()

        assert await closing
        assert await asyncio.gather(*calls) == [0, 1, 2]
        with pytest.raises(RuntimeError, match="closed"):
            executor.submit(int)
        with pytest.raises(Misuse):
            pool.dedicated("other")

    async def test_stuck(self, gate: Gate, caplog: pytest.LogCaptureFixture):
        """A stuck dedicated thread is named and left behind; what waits for it is dropped."""
        pool = Workers(1, 1)
        loop = asyncio.get_running_loop()
        executor = pool.dedicated("mailbox")
        stuck = loop.run_in_executor(executor, gate)
        behind = loop.run_in_executor(executor, gate)
        await gate.entered()

        assert not await pool.close(0.01)

        assert "the thread 'mailbox' did not end" in caplog.text
        with pytest.raises(asyncio.CancelledError):
            await behind
        gate.open()
        await stuck
        await until(lambda: pool.threads == 0)


class TestDaemonExecutor:
    """The executor by itself."""

    def test_grows_to_its_limit(self):
        """There is a thread per call that finds none free, up to the limit; all of them are daemons."""
        executor = DaemonExecutor(3, "test")
        barrier = threading.Barrier(4)
        futures = [executor.submit(barrier.wait, DEADLINE) for _ in range(3)]
        barrier.wait(DEADLINE)
        wait(futures, DEADLINE)

        assert executor.threads == 3
        assert all(thread.daemon for thread in executor._threads)
        executor.shutdown()
        assert executor.threads == 0

    def test_context_manager(self):
        """Leaving the block waits for all that was given, like any executor."""
        with DaemonExecutor(2, "test") as executor:
            futures = [executor.submit(pow, n, 2) for n in range(100)]

        assert [future.result(0) for future in futures] == [n * n for n in range(100)]

    async def test_free_thread_is_used_again(self):
        """A call that finds a free thread begins no other one."""
        with DaemonExecutor(3, "test") as executor:
            for _ in range(5):
                executor.submit(int).result(DEADLINE)
                await until(lambda: executor._busy == 0)

            assert executor.threads == 1

    async def test_keeps_no_result(self):
        """An idle thread holds on to nothing of its last call."""
        with DaemonExecutor(1, "test") as executor:
            payload = bytearray(10)
            executor.submit(bytes, payload).result(DEADLINE)

            # one for the variable, one for the argument of getrefcount
            await until(lambda: sys.getrefcount(payload) == 2)


class TestCallFromThread:
    """From a thread into the loop."""

    async def test_result(self, workers: Workers):
        """The coroutine runs in the loop, as a task of its owner, and the thread gets its result."""
        owner = Tasks("test")
        names: list[str] = []

        async def answer() -> int:
            task = asyncio.current_task()
            assert task is not None
            names.append(task.get_name())
            await asyncio.sleep(0)
            return 42

        assert await in_thread(lambda: workers.call_from_thread(answer(), owner).result(DEADLINE)) == 42
        assert names == ["test: TestCallFromThread.test_result.<locals>.answer from a thread"]
        assert len(owner) == 0

    async def test_from_a_worker(self, workers: Workers):
        """A worker may call into the loop and wait for the answer."""
        owner = Tasks("test")

        assert await workers.run(
            lambda: workers.call_from_thread(asyncio.sleep(0, "done"), owner).result(DEADLINE)
        ) == ("done")

    async def test_order(self, workers: Workers):
        """Coroutines of one thread begin in the order of the calls."""
        owner = Tasks("test")
        order: list[int] = []

        async def note(number: int) -> None:
            order.append(number)

        def call() -> None:
            futures = [workers.call_from_thread(note(n), owner) for n in range(100)]
            wait(futures, DEADLINE)

        await in_thread(call)
        assert order == list(range(100))

    async def test_exception(self, workers: Workers, caplog: pytest.LogCaptureFixture):
        """The thread gets the exception; and it is logged, in case that nobody looks."""
        owner = Tasks("test")

        async def fail() -> None:
            raise ValueError("no")

        future: Future[None] = await in_thread(lambda: workers.call_from_thread(fail(), owner))
        await until(future.done)

        assert isinstance(future.exception(0), ValueError)
        (record,) = caplog.records
        assert "fail from a thread' failed" in record.getMessage()

    async def test_cancelled_with_its_owner(self, workers: Workers):
        """When the owner ends, the coroutine is cancelled, and a thread that waits for it is woken."""
        owner = Tasks("test")
        waiting = asyncio.ensure_future(
            in_thread(lambda: wait([workers.call_from_thread(asyncio.sleep(60), owner)], DEADLINE))
        )
        await until(lambda: len(owner) == 1)

        assert await owner.close(DEADLINE)

        (future,) = (await waiting).done
        assert future.cancelled()

    async def test_owner_has_ended(self, workers: Workers):
        """A coroutine for an owner that has ended does not run; the thread gets Misuse."""
        owner = Tasks("test")
        owner.cancel()

        with pytest.raises(Misuse, match="test has ended"):
            await in_thread(lambda: workers.call_from_thread(asyncio.sleep(60), owner).result(DEADLINE))

    async def test_cancelled_by_the_thread(self, workers: Workers):
        """Cancelling the future cancels the running coroutine."""
        owner = Tasks("test")
        future: Future[None] = await in_thread(lambda: workers.call_from_thread(asyncio.sleep(60), owner))
        await until(lambda: len(owner) == 1)

        assert await in_thread(future.cancel)

        await until(lambda: len(owner) == 0)

    async def test_cancelled_before_it_began(self, workers: Workers):
        """A future that is cancelled at once keeps its coroutine from running."""
        owner = Tasks("test")
        ran: list[int] = []

        async def note() -> None:
            ran.append(1)

        def call() -> Future[None]:
            future = workers.call_from_thread(note(), owner)
            future.cancel()
            return future

        with ThreadPoolExecutor(1) as executor:
            # the loop stands still meanwhile, so that the coroutine cannot begin
            future = executor.submit(call).result(DEADLINE)
        await asyncio.sleep(0)

        assert future.cancelled()
        assert wait([future], 0).done == {future}
        assert (ran, len(owner)) == ([], 0)

    async def test_in_the_loop(self, workers: Workers):
        """In the loop's own thread it is refused, since waiting there would wait for ever."""
        with pytest.raises(Misuse, match="from a thread"):
            workers.call_from_thread(asyncio.sleep(0), Tasks("test"))

    async def test_not_bound(self):
        """Without a loop it is refused at once, and the coroutine is closed without a warning."""
        pool = Workers(1, 1)
        coroutine = asyncio.sleep(0)

        with pytest.raises(LoopNotRunning):
            await in_thread(lambda: pool.call_from_thread(coroutine, Tasks("test")))

        with pytest.raises(RuntimeError, match="cannot reuse"):
            await coroutine

    async def test_after_close(self):
        """A closed pool refuses it."""
        pool = Workers(1, 1)
        pool.bind(asyncio.get_running_loop())
        await pool.close(0)

        with pytest.raises(LoopNotRunning):
            await in_thread(lambda: pool.call_from_thread(asyncio.sleep(0), Tasks("test")))

    async def test_while_closing(self, gate: Gate):
        """Work that closing waits for may still call into the loop."""
        pool = Workers(1, 1)
        pool.bind(asyncio.get_running_loop())

        def work() -> str:
            gate()
            return pool.call_from_thread(asyncio.sleep(0, "answered"), Tasks("test")).result(DEADLINE)

        call = asyncio.ensure_future(pool.run(work))
        await gate.entered()
        closing = asyncio.ensure_future(pool.close(DEADLINE))
        await asyncio.sleep(0)
        gate.open()

        assert await call == "answered"
        assert await closing

    async def test_bound_twice(self, workers: Workers):
        """The same loop may be bound again; another one only when the first is closed."""
        other = asyncio.new_event_loop()
        workers.bind(asyncio.get_running_loop())
        with pytest.raises(Misuse):
            workers.bind(other)
        other.close()

        pool = Workers(1, 1)
        pool.bind(other)
        pool.bind(asyncio.get_running_loop())
        assert await pool.close(0)


class TestLoopCloses:
    """A loop that is closed while threads call into it."""

    def test_closed_loop(self):
        """A closed loop refuses at once."""
        pool = Workers(1, 1)
        loop = asyncio.new_event_loop()
        pool.bind(loop)
        loop.close()

        with pytest.raises(LoopNotRunning):
            pool.call_from_thread(asyncio.sleep(0), Tasks("test"))

    def test_closed_before_it_began(self):
        """A call that the loop took and never came to is cancelled when the loop is closed."""
        pool = Workers(1, 1)
        loop = asyncio.new_event_loop()
        pool.bind(loop)
        with ThreadPoolExecutor(1) as executor:
            future = executor.submit(pool.call_from_thread, asyncio.sleep(0), Tasks("test")).result(DEADLINE)
            assert not future.done()

            loop.close()

            with pytest.raises(CancelledError):
                executor.submit(future.result, DEADLINE).result(DEADLINE)

    @pytest.mark.parametrize("keeps", [True, False])
    def test_closed_during_the_call(self, monkeypatch: pytest.MonkeyPatch, keeps: bool):
        """A loop that is closed in the middle of the call: refused, or kept and never run, it raises either way."""
        pool = Workers(1, 1)
        loop = asyncio.new_event_loop()
        pool.bind(loop)
        kept: list[Callable[[], object]] = []

        def call_soon_threadsafe(callback: Callable[[], object], *args: object) -> None:
            loop.close()
            if not keeps:
                raise RuntimeError("Event loop is closed")
            kept.append(callback)

        monkeypatch.setattr(loop, "call_soon_threadsafe", call_soon_threadsafe)
        with ThreadPoolExecutor(1) as executor:
            call = executor.submit(pool.call_from_thread, asyncio.sleep(0), Tasks("test"))

            with pytest.raises(LoopNotRunning, match="during the call"):
                call.result(DEADLINE)

    def test_storm_of_calls_while_the_loop_closes(self):
        """Threads call as fast as they can while loops come and go: each call raises, or its future ends."""
        for _ in range(20):
            self.run_a_loop_under_calls()

    @staticmethod
    def run_a_loop_under_calls() -> None:
        """One round of the storm."""
        pool = Workers(1, 1)
        owner = Tasks("test")
        loop = asyncio.new_event_loop()
        pool.bind(loop)
        futures: list[Future[None]] = []
        closing = threading.Event()

        def storm() -> int:
            while True:
                try:
                    futures.append(call := pool.call_from_thread(quick(), owner))
                except LoopNotRunning:
                    return 1
                if not closing.is_set():
                    wait([call], 0.1)  # or, on a busy machine, the loop gets no turn for all the calls

        async def main() -> None:
            await until(lambda: len(futures) > 50)
            await owner.close(DEADLINE)
            closing.set()

        with ThreadPoolExecutor(2) as executor:
            storms = [executor.submit(storm) for _ in range(2)]
            loop.run_until_complete(main())
            loop.close()
            assert [call.result(DEADLINE) for call in storms] == [1, 1]

        del loop
        assert wait(futures, DEADLINE).not_done == set()


async def quick() -> None:
    """A coroutine that ends in its first step."""


async def test_nothing_blocks_the_loop(workers: Workers):
    """The loop's side of the pool makes no blocking call."""
    blockbuster = pytest.importorskip("blockbuster")
    with blockbuster.blockbuster_ctx():
        assert await workers.run(int) == 0
        executor = workers.dedicated("mailbox")
        assert await asyncio.get_running_loop().run_in_executor(executor, int) == 0
