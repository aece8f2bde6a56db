"""Blocking work in virtual time: done in the loop's own thread, as if it had taken a while in another one."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any

from harness.simulation.processes import current_process
from harness.simulation.virtual_time import as_in_a_thread
from harness.simulation.writes import WriteLog


class Job:
    """One call: what is to be done, and who waits for it."""

    __slots__ = ("call", "context", "future", "settle", "slept", "work")

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any], context: contextvars.Context) -> None:
        self.work = work
        self.future = future
        self.context = context
        self.settle: Callable[[], None] = self._nothing
        self.slept = 0.0
        self.call = 0

    def do(self) -> None:
        """Do the work, and keep what came of it."""
        try:
            self.settle = partial(self.future.set_result, self.context.run(as_in_a_thread, self.work))
        except StopIteration as error:  # a future does not take it, see DaemonExecutor of the gateway
            self.settle = partial(self.future.set_exception, RuntimeError(f"a call raised {error!r}"))
        except BaseException as error:  # noqa: BLE001 - the rim of the thread: whatever it is belongs to the caller
            self.settle = partial(self.future.set_exception, error)

    def tell(self) -> None:
        """Have the caller know."""
        if not self.future.done():
            self.settle()

    def _nothing(self) -> None:
        """It was not done."""


class Pool:
    """The threads that an executor would have in one process.

    Calls begin in their order, each when a thread is free. A call that is cancelled before it began is not done; one
    that has begun is. Its effect comes at a chance moment of its duration, its result at the end: between the two the
    process may die, and whether the work was done is then known to nobody.

    Args:
        threads: how many calls run at once.
        duration: says how long a call that begins now takes, at least and at most, in seconds; (0, 0): the effect comes
            within the call, the result one turn of the loop later.
        chance: what durations are drawn from.
        log: is told of each call; None: nobody is.
    """

    running: Job | None = None
    """The call that is just being done, in whatever pool: ``time.sleep`` makes it longer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: int,
        duration: Callable[[], tuple[float, float]],
        chance: random.Random,
        log: WriteLog | None = None,
    ) -> None:
        self._loop = loop
        self._log = log
        self._free = threads
        self._duration = duration
        self._chance = chance
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Take a call."""
        self._waiting.append(job)
        self._begin()

    def _begin(self) -> None:
        while self._free and self._waiting:
            job = self._waiting.popleft()
            if job.future.cancelled():
                continue
            self._free -= 1
            shortest, longest = self._duration()
            if longest <= 0:
                self._do(job, 0.0)
            else:
                seconds = self._chance.uniform(shortest, longest)
                before = seconds * self._chance.random()
                self._loop.call_later(before, self._do, job, seconds - before)

    def _do(self, job: Job, rest: float) -> None:
        outer, Pool.running = Pool.running, job
        if self._log is not None:
            job.call = self._log.began()
        try:
            job.do()
        finally:
            Pool.running = outer
            if self._log is not None:
                self._log.had_its_effect()
        rest += job.slept
        if rest > 0:
            self._loop.call_later(rest, self._done, job)
        else:
            self._free += 1
            self._loop.call_soon(self._tell, job)
            self._begin()

    def _tell(self, job: Job) -> None:
        if self._log is not None:
            self._log.told(job.call)
        job.tell()

    def _done(self, job: Job) -> None:
        self._free += 1
        self._tell(job)
        self._begin()


def threads_of(executor: Executor | None, default: int) -> int:
    """Return how many threads an executor has: for the loop's own, and for a foreign one, the default."""
    # neither DaemonExecutor nor ThreadPoolExecutor tells it in public
    for name in ("_max_threads", "_max_workers"):
        threads = getattr(executor, name, None)
        if isinstance(threads, int):
            return threads
    return default


def is_closed(executor: Executor | None) -> bool:
    """Whether an executor takes no more calls."""
    return bool(getattr(executor, "closed", False) or getattr(executor, "_shutdown", False))


def thread_context() -> contextvars.Context:
    """Make the context of a thread: empty, as a new thread's is, but of the same process."""
    context = contextvars.Context()
    context.run(current_process.set, current_process.get())
    return context
