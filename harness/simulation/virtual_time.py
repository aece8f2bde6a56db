"""An asyncio event loop whose clock jumps to the next timer instead of waiting for it.

Everything that touches asyncio's private parts is in this file: the queue of callbacks, the heap of timers, the
register of tasks, the context of a handle. asyncio has no public way to move its clock, to take back what a killed
process has scheduled, or to see what a task waits for. Tried on CPython 3.11, 3.12 and 3.13.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
import contextvars
import heapq
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import perf_counter as _real_seconds  # bound here, because the module's own is replaced while we run
from typing import Any, TypeVar, TypeVarTuple

from harness.simulation.errors import Deadlock, Escape, LimitPassed, Livelock, SimulationStopped
from harness.simulation.numbered import NumberedFuture, NumberedTask, NumberedTimer
from harness.simulation.processes import Process, current_process
from harness.simulation.unwinding import Buried, unwind
from harness.simulation.waiting import in_words

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DAY = 86_400.0
TURNS_LIMIT = 100_000
"""Of the loop in one moment of virtual time. A thousand devices that act at once take some hundred."""
WALL_LIMIT = 60.0
"""Seconds. A scenario takes milliseconds; a night of them is many simulations."""
_GRACE_VIRTUAL, _GRACE_WALL = 3600.0, 10.0  # seconds past a limit, in which what was cancelled may unwind
_SHOWN = 40  # lines of a report: about a screen
CLOCK_TICK = 1e-9
"""Seconds: what is less apart than this is at the same moment."""


class _Jump:
    """In the place of a selector: where that would wait, the clock is moved."""

    def __init__(self, turned: Callable[[float | None], None]) -> None:
        self._turned = turned

    def select(self, timeout: float | None) -> tuple[()]:
        self._turned(timeout)
        return ()


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop with a clock of its own that begins at 0; callbacks keep asyncio's order.

    Args:
        virtual_limit: virtual seconds after which `LimitPassed` ends it.
        wall_limit: the same in real seconds.
        turns_limit: turns of the loop without a move of the clock after which `Livelock` ends it.

    When every task waits and no timer is set, `Deadlock` ends it.

    Attributes:
        no_process: the context of what outlives every process: kernels and links.
    """

    # asyncio's, see base_events.py and tasks.py
    _ready: deque[asyncio.Handle]
    _scheduled: list[NumberedTimer]
    _asyncgens: Any

    def __init__(
        self, *, virtual_limit: float = DAY, wall_limit: float = WALL_LIMIT, turns_limit: int = TURNS_LIMIT
    ) -> None:
        super().__init__()
        self.no_process = contextvars.Context()
        self._now = 0.0
        self._numbers = 0
        self._turns = 0  # since the clock moved
        self._all_turns = 0
        self._virtual_limit = virtual_limit
        self._wall_limit = wall_limit
        self._wall_seconds = 0.0  # of earlier runs of the loop
        self._running_since = _real_seconds()
        self._turns_limit = turns_limit
        self._thread = threading.get_ident()
        self._some_are_dead = False
        self._dead: list[NumberedTask] = []
        self._failed: list[asyncio.Task[Any]] = []
        self._ended_by: Escape | None = None
        self._refuses_all = False
        self._clock_resolution = CLOCK_TICK
        self._selector = _Jump(self._turned)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def hold(self, seconds: float) -> None:
        """Move the clock, as a callback does that computes or blocks for so long: everybody else comes late."""
        self._now += max(0.0, seconds)

    def next_number(self) -> int:
        """Return a number that was not there before: the identity of a task, a future, a connection."""
        self._numbers += 1
        return self._numbers

    def escape(self, reached: str, advice: str) -> Escape:
        """Make the error of a way out of the simulation, to be raised; it also ends the loop in its next turn.

        Raised alone it could end in a task that nobody waits for, or in a callback, where asyncio only logs it.
        """
        error = Escape(reached, advice)
        if self.is_running():
            self._ended_by = error
        return error

    def run_forever(self) -> None:
        """Run until `stop`; what ends a simulation is raised here."""
        self._running_since, self._thread = _real_seconds(), threading.get_ident()
        try:
            super().run_forever()
        finally:
            self._wall_seconds += _real_seconds() - self._running_since

    def run_until_complete(self, future: Generator[Any, None, T] | Awaitable[T]) -> T:
        """Run until a future is done, and return its result; what ends a simulation is raised here."""
        try:
            return super().run_until_complete(future)
        except SimulationStopped as error:
            # whoever runs the loop next, to take down what is left, has no part in it; the error may have come by the
            # future, and not by the loop's next turn
            if error is self._ended_by:
                self._ended_by = None
            if isinstance(future, asyncio.Future) and future.done() and not future.cancelled():
                future.exception()  # it is told already: asyncio need not say that nobody has asked for it
            stops: Any = asyncio.base_events._run_until_complete_cb  # type: ignore[attr-defined]
            for handle in self._ready:
                if getattr(handle, "_callback", None) is stops:
                    handle.cancel()  # the future was done, and its call to stop is still to come
            raise

    # --- asyncio's seams ------------------------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return NumberedFuture(self.next_number(), self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_unused: Any,
    ) -> asyncio.Task[Any]:
        """Make a task of this loop; it belongs to the process of its context."""
        if self._refuses_all:
            coro.close()
            raise Buried
        context = contextvars.copy_context() if context is None else context
        return NumberedTask(self.next_number(), coro, self, None if name is None else str(name), context)

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back after so many seconds."""
        # a delay that is too short for a float to move the clock would never be over: code that waits for a moment in
        # steps, rounding each, would turn for ever, as it cannot where the clock moves by itself
        seconds = max(delay, CLOCK_TICK) if delay > 0 else delay
        return self.call_at(self._now + seconds, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at this moment, behind those that were set for it before."""
        timer = NumberedTimer(self.next_number(), when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        if self._some_are_dead and self._is_of_the_dead(timer):
            timer.cancel()
        return timer

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Call back in the next turn; to be called in the loop's own thread.

        Raises:
            Escape: called in another one.
        """
        if threading.get_ident() != self._thread:
            raise self.escape("a call from another thread", "give blocking work to loop.run_in_executor")
        return self.call_soon(callback, *args, context=context)

    def _write_to_self(self) -> None:
        """Wake nobody: nobody sleeps."""

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing comes from a selector."""

    def _turned(self, timeout: float | None) -> None:
        self._all_turns += 1
        if self._ended_by is not None:
            error, self._ended_by = self._ended_by, None
            raise error
        if self._all_turns % 1024 == 0:
            self._check_wall_limit()
        if timeout == 0:
            self._turns += 1
            if self._turns > self._turns_limit:
                raise self._livelock()
            return
        self._turns = 0
        if timeout is None:
            raise Deadlock(self.waiting())
        # not `+= timeout`: the sum of the rounded could come to lie before the timer
        self._now = max(self._now, self._scheduled[0]._when)
        if self._now > self._virtual_limit:
            limit, self._virtual_limit = self._virtual_limit, self._now + _GRACE_VIRTUAL
            raise LimitPassed(f"{limit:g} virtual seconds", self._now, self.waiting())

    def _check_wall_limit(self) -> None:
        seconds = self._wall_seconds + _real_seconds() - self._running_since
        if seconds > self._wall_limit:
            limit, self._wall_limit = self._wall_limit, seconds + _GRACE_WALL
            raise LimitPassed(f"{limit:g} real seconds", self._now, self.waiting())

    def _livelock(self) -> Livelock:
        turns, self._turns = self._turns, 0  # as many again for those who are cancelled now
        due = [timer for timer in sorted(self._scheduled) if timer._when < self._now + CLOCK_TICK]
        ready = tuple(repr(handle) for handle in (*self._ready, *due))
        return Livelock(turns, self._now, ready[:_SHOWN], self.waiting())

    # --- the dead -------------------------------------------------------------------------------------------------

    def bury(self, process: Process) -> None:
        """End a process as SIGKILL does: its tasks never run again, and none of their ``finally`` blocks does.

        What it has scheduled is taken back, what it schedules is refused. Its tasks stay pending for ever.
        """
        process.alive = False
        doomed = [task for task in asyncio.all_tasks(self) if isinstance(task, NumberedTask)]
        for task in sorted((task for task in doomed if task.process is process), key=hash):
            asyncio.tasks._unregister_task(task)  # or the end of the test would cancel it and wait for it
            task._log_destroy_pending = False
            self._dead.append(task)
        for handle in (*self._ready, *self._scheduled):
            if self._is_of_the_dead(handle):
                handle.cancel()
        # from the first death on; without one, the fast path stays asyncio's own
        self._some_are_dead = True
        self.call_soon = self._call_soon_unless_dead  # type: ignore[method-assign]

    def _call_soon_unless_dead(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        if self._is_of_the_dead(handle):
            handle.cancel()
        return handle

    def _is_of_the_dead(self, handle: asyncio.Handle) -> bool:
        process = handle._context.get(current_process)  # type: ignore[attr-defined]
        return self._refuses_all or (process is not None and not process.alive)

    @property
    def has_dead(self) -> bool:
        """Whether there are frames of dead tasks to be taken down."""
        return bool(self._dead)

    def unwind_the_dead(self) -> None:
        """Take down the frames of dead tasks, where nothing they do in their ``finally`` blocks has an effect.

        Otherwise they would run at the end of the interpreter. To be called in the running loop, at its end.
        """
        self._refuses_all = self._some_are_dead = True
        self.call_soon = self._call_soon_unless_dead  # type: ignore[method-assign]
        try:
            while self._dead:
                task = self._dead.pop()
                task.context.run(unwind, task.get_coro())
                del task
        finally:
            self._refuses_all = False

    def mute_those_who_wait(self) -> None:
        """Have tasks that wait for the dead be collected without a word: the deadlock has said it."""
        for task in asyncio.all_tasks(self):
            if isinstance(task, NumberedTask):
                task._log_destroy_pending = False

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        process = current_process.get()
        if self._refuses_all or (process is not None and not process.alive):
            self._asyncgens.discard(agen)
        else:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]

    def note_failure(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that has ended with an exception, for the report of a simulation that cannot go on."""
        if task._exception is not None:  # `exception()` would count as having looked at it
            self._failed.append(task)

    # --- who waits for what ---------------------------------------------------------------------------------------

    def waiting(self) -> tuple[str, ...]:
        """Say of each task, in the order in which they began, where it waits and for what; then who has failed."""
        tasks = sorted(asyncio.all_tasks(self), key=hash)
        lines = [in_words(task) for task in tasks[:_SHOWN]]
        lines += [f"and {len(tasks) - _SHOWN} more"] if len(tasks) > _SHOWN else []
        lines += [f"{len(self._dead)} tasks of killed processes, which never end"] if self._dead else []
        lines += [f"{task.get_name()} has failed with {task.exception()!r}" for task in self._failed[:_SHOWN]]
        return tuple(lines)

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are set, to show that something has left none behind; the network's own are not."""
        return [timer for timer in self._scheduled if not timer.cancelled() and timer._context is not self.no_process]


def as_in_a_thread(work: Callable[[], T]) -> T:
    """Do work where there is no running loop: code that looks for one in a thread finds none, and must not here."""
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return work()
    finally:
        asyncio._set_running_loop(loop)
