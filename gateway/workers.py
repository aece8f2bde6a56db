"""Threads: the one bounded pool of the process for blocking work, and the one way from a thread into the loop.

The threads are daemons. At the end of the process Python joins all other threads, those of `ThreadPoolExecutor`
included, so that a single call that never returns would keep a stopped gateway alive for ever. Ours are waited for in
`Workers.close`, for a bounded time; one that is stuck beyond it is named in the log, left behind, and dies with the
process, wherever it is, as with a kill. What must survive that is written to survive a kill anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeVar, TypeVarTuple

from gateway.errors import LoopNotRunning, Misuse, PoolBusy
from gateway.tasks import Tasks

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREAD_PREFIX = "wsdevice-"
DEFAULT_THREADS = 2  # of the pool, as in the settings; they are checked here, too, since they can be built in code
MOST_THREADS = 64


class Workers:
    """The worker threads of one gateway: a pool for everybody, and single threads for those that need an order.

    Threads begin when there is work for them and then stay, at most ``max_workers`` of them however many devices are
    connected, named ``wsdevice-worker-1`` and so on.

    Args:
        max_workers: how many calls run at once; anything but an integer from 1 to 64 is taken for 2, with a warning.
        queue: how many more may wait.
    """

    def __init__(self, max_workers: Any, queue: int) -> None:
        if type(max_workers) is not int or not 1 <= max_workers <= MOST_THREADS:
            message = "expected an integer from 1 to %d worker threads, found %r; %d are made"
            _log.warning(message, MOST_THREADS, max_workers, DEFAULT_THREADS)
            max_workers = DEFAULT_THREADS
        self._pool = DaemonExecutor(max_workers, f"{THREAD_PREFIX}worker")
        self._max_workers = max_workers
        self._queue = queue
        self._dedicated: dict[str, DaemonExecutor] = {}
        self._jobs: dict[asyncio.Future[Any], _Job[Any]] = {}
        self._closed = False
        self._clean = True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0

    @property
    def threads(self) -> int:
        """How many threads there are, idle ones included."""
        return self._pool.threads + sum(executor.threads for executor in self._dedicated.values())

    @property
    def taken(self) -> int:
        """How many calls of the pool run or wait."""
        return len(self._jobs)

    # --- from the loop into a thread ----------------------------------------------------------------------------

    async def run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call ``work(*args)`` in a thread of the pool; return what it returns, raise what it raises.

        Calls begin in the order in which they came. On cancellation, a call that still waits will not run; one that
        runs cannot be stopped: it keeps its thread to its end, and if it then fails, that is logged.

        Raises:
            PoolBusy: all threads are busy and ``queue`` calls wait; or the pool was closed before the call ended.
            Misuse: the pool is closed.
        """
        name = _name_of(work)
        if self._closed:
            raise Misuse(f"expected an open worker pool to run {name}, but it is closed")
        if len(self._jobs) >= self._max_workers + self._queue:
            raise PoolBusy(f"{self._max_workers} worker threads are busy and {self._queue} calls wait for one")
        job = _Job(name, functools.partial(work, *args))
        future = asyncio.get_running_loop().run_in_executor(self._pool, job)
        self._jobs[future] = job
        future.add_done_callback(self._jobs.pop)
        try:
            # not `await future`: cancelling the caller would free the slot of a thread that is still busy
            await asyncio.wait((future,))
        except asyncio.CancelledError:
            if job.claim():
                future.cancel()
            else:
                future.add_done_callback(functools.partial(_log_unseen, name))
            raise
        if future.cancelled():
            raise PoolBusy("the worker pool was closed before the call ended")
        return future.result()

    def dedicated(self, name: str) -> Executor:
        """Return a single thread of its own, for ``loop.run_in_executor``; its calls run in order, one at a time.

        It is closed with the pool. How much may wait for it is its user's to bound.

        Raises:
            Misuse: there is one of this name already, or the pool is closed.
        """
        if self._closed or name in self._dedicated:
            raise Misuse(f"expected an open pool without a dedicated thread {name!r}")
        return self._dedicated.setdefault(name, DaemonExecutor(1, THREAD_PREFIX + name))

    async def close(self, timeout: float) -> bool:
        """Take no more work, wait for what runs and waits, ``timeout`` seconds at most, then leave it behind.

        Until the wait is over, running work may still call into the loop; afterwards `call_from_thread` raises.
        Idempotent.

        Returns:
            Whether all work has ended. What has not is logged by name: waiting calls will not run, running ones are
            abandoned in their threads.
        """
        self._closed = True
        loop = asyncio.get_running_loop()
        # a call behind all others shows when a single thread has done what it was given before
        ends = {
            loop.run_in_executor(executor, _nothing): f"the thread {name!r}"
            for name, executor in self._dedicated.items()
            if not executor.closed
        }
        ends.update({future: job.name for future, job in self._jobs.items()})
        try:
            if ends:
                await asyncio.wait(ends, timeout=timeout)
        finally:
            self._loop = None
            self._abandon({future: name for future, name in ends.items() if not future.done()}, timeout)
        return self._clean

    def _abandon(self, late: dict[asyncio.Future[Any], str], timeout: float) -> None:
        for future, name in late.items():
            self._clean = False
            _log.error("%s did not end within %.1f s; its thread is left behind", name, timeout)
            if job := self._jobs.get(future):
                job.claim()
            future.cancel()
        for executor in (self._pool, *self._dedicated.values()):
            executor.shutdown(wait=False, cancel_futures=True)

    # --- from a thread into the loop ----------------------------------------------------------------------------

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop `call_from_thread` calls into; to be called in that loop, with ``get_running_loop()``.

        Raises:
            Misuse: another loop is bound and not closed.
        """
        if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
            raise Misuse("expected no loop to be bound, but another one is")
        self._loop_thread = threading.get_ident()
        self._loop = loop

    def call_from_thread(self, coroutine: Coroutine[Any, Any, T], owner: Tasks) -> Future[T]:
        """Run a coroutine in the gateway's loop, from a thread, as a task of ``owner``; returns at once.

        The future gets the coroutine's result or exception. It is cancelled with the owner, and cancelling it cancels
        the coroutine; if the owner has ended already, it gets `Misuse`; if the loop is closed before the coroutine
        began, it is cancelled. An exception is logged by the owner, whether or not anybody looks at the future.
        Coroutines of one thread begin in the order of the calls.

        Raises:
            LoopNotRunning: no loop is bound, or it is closed.
            Misuse: called in the loop's own thread, where waiting for the result would wait for ever.

        When it raises, the coroutine has been closed and will not run.
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            coroutine.close()
            raise LoopNotRunning("expected a running gateway, but its loop is not bound or closed")
        if threading.get_ident() == self._loop_thread:
            coroutine.close()
            raise Misuse("expected to be called from a thread; in the loop, use the owner's spawn()")
        call = _Call(coroutine, owner, loop)
        future = call.future
        # the loop may be closed at any point of this: it refuses the callback, or keeps it and never runs it
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(call.start)
        if loop.is_closed() and call.give_up():
            raise LoopNotRunning("expected a running gateway, but its loop was closed during the call")
        return future


class DaemonExecutor(Executor):
    """A thread pool whose threads do not keep the process alive; otherwise as `ThreadPoolExecutor`.

    Args:
        max_threads: how many calls run at once; a thread is begun when a call finds none free.
        name: of the threads, with their numbers behind it.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._threads: list[threading.Thread] = []
        self._busy = 0
        # not a SimpleQueue: nothing can be taken out of its middle, and calls that were cancelled behind a stuck
        # thread would pile up in it without limit
        self._waiting: dict[Future[Any], Callable[[], Any]] = {}
        self._changed = threading.Condition()
        self.closed = False
        """Whether `shutdown` has been called."""

    @property
    def threads(self) -> int:
        """How many threads there are, idle ones included."""
        return sum(thread.is_alive() for thread in self._threads)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call; cancelling its future takes it out again.

        Raises:
            RuntimeError: the executor is closed, or the system refuses a thread.
        """
        future: Future[T] = Future()
        with self._changed:
            if self.closed:
                raise RuntimeError(f"cannot schedule new calls: the threads {self._name!r} are closed")
            if len(self._threads) < min(self._busy + len(self._waiting) + 1, self._max_threads):
                self._add_thread()
            self._waiting[future] = functools.partial(fn, *args, **kwargs)
            self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after the calls that wait, or drop those; optionally wait for the threads."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
            dropped = tuple(self._waiting) if cancel_futures else ()
        for future in dropped:
            future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _forget(self, future: Future[Any]) -> None:
        with self._changed:
            self._waiting.pop(future, None)

    def _work(self) -> None:
        while call := self._next():
            if call[0].set_running_or_notify_cancel():
                _settle(*call)
            del call  # or it would hold the last result until the next call comes
            with self._changed:
                self._busy -= 1

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closed)
            if not self._waiting:
                return None
            self._busy += 1
            future = next(iter(self._waiting))
            return future, self._waiting.pop(future)


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        result = call()
    except StopIteration as error:  # asyncio cannot put it into a future, and would leave the caller waiting
        future.set_exception(RuntimeError(f"a call raised {error!r}"))
    except BaseException as error:  # noqa: BLE001 - the rim of the thread: whatever it is belongs to the caller
        future.set_exception(error)
    else:
        future.set_result(result)


class _Job(Generic[T]):
    """A call that either the thread or the one who gives it up gets hold of, never both."""

    __slots__ = ("_call", "_claimed", "name")

    def __init__(self, name: str, call: Callable[[], T]) -> None:
        self.name = name
        self._call = call
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Take the job; False if it is taken: it runs, has run, or was given up."""
        return self._claimed.acquire(blocking=False)

    def __call__(self) -> T:
        if not self.claim():
            raise asyncio.CancelledError
        return self._call()


class _Call(Generic[T]):
    """A coroutine on its way from a thread into the loop."""

    __slots__ = ("_coroutine", "_loop", "_owner", "future")

    def __init__(self, coroutine: Coroutine[Any, Any, T], owner: Tasks, loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine: Coroutine[Any, Any, T] | None = coroutine
        self._owner = owner
        self._loop = loop
        self.future: Future[T] = Future()

    def __del__(self) -> None:
        # a loop that is closed drops its callbacks unseen, and with them the last reference to this
        self.give_up()

    def give_up(self) -> bool:
        """Close a coroutine that has not begun, and cancel its future; whether there was one."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            return False
        coroutine.close()
        self.future.cancel()
        self.future.set_running_or_notify_cancel()
        return True

    def start(self) -> None:
        """Make it a task of its owner; called in the loop."""
        if self.future.cancelled():
            self.give_up()
            return
        coroutine, self._coroutine = self._coroutine, None
        assert coroutine is not None
        try:
            task = self._owner.spawn(coroutine, f"{_name_of(coroutine)} from a thread")
        except Misuse as error:
            if self.future.set_running_or_notify_cancel():
                self.future.set_exception(error)
            return
        task.add_done_callback(self._ended)
        self.future.add_done_callback(functools.partial(_cancel_with, task, self._loop))

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.future.cancel()
        if not self.future.set_running_or_notify_cancel():
            return
        if error := task.exception():
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


def _cancel_with(task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop, future: Future[Any]) -> None:
    """Cancel the task when the thread cancelled the future; called in either thread."""
    if future.cancelled():
        with contextlib.suppress(RuntimeError):  # the loop is closed: so is the task
            loop.call_soon_threadsafe(task.cancel)


def _log_unseen(name: str, future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()):
        _log.error("%s failed in its thread after its caller had been cancelled", name, exc_info=error)


def _name_of(thing: object) -> str:
    return getattr(thing, "__qualname__", None) or type(thing).__name__


def _nothing() -> None:
    """Do nothing: that it was called is what counts."""
