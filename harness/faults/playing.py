"""Playing a schedule on a ground."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable

from harness.faults import moments
from harness.faults.errors import NotDone
from harness.faults.ground import Ground
from harness.faults.schedule import CALM, Schedule, Step
from harness.faults.vocabulary import Fault

DONE_SECONDS = 30.0
"""For faults that take their time (a gateway that starts) to be done once the schedule is over."""


class Player:
    """Plays one schedule once, in the running loop.

    It acts in the context in which it was made: what it begins is not of the machine on which a moment was noticed, and
    does not die with it.

    Args:
        schedule: what to do.
        ground: where.
        note: is told of each fault, in words, before it is done.

    Attributes:
        schedule: as given.
        done: when each fault was done, in seconds from the beginning, and which; those that make all good included.
        left_out: the steps that this ground cannot do.
    """

    def __init__(self, schedule: Schedule, ground: Ground, note: Callable[[str], None] = lambda _: None) -> None:
        self.schedule = schedule
        self.done: list[tuple[float, Fault]] = []
        self._ground = ground
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._began = 0.0
        self._is_on = False  # from the first fault to the last; then everything is made good, and nothing else happens
        self._waiting: dict[str, list[_Waiting]] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: dict[asyncio.Task[None], Fault] = {}
        self.left_out = [step for step in schedule.steps if not ground.can(step.fault)]
        for step in self._steps():
            if step.after:
                self._waiting.setdefault(step.after, []).append(_Waiting(step))

    @property
    def never(self) -> list[Step]:
        """The steps whose moment has not come (yet)."""
        return [one.step for waiting in self._waiting.values() for one in waiting if one.missing]

    def moment(self, names: Iterable[str]) -> None:
        """Take note of a moment, by all its names (`harness.faults.moments`); before and after the faults, of nothing.

        Never raises, and does nothing at once: it may be called from the middle of what is under test.
        """
        if not self._is_on:
            return
        now = self._loop.time()
        for name in names:
            for waiting in self._waiting.get(name, ()):
                if waiting.missing and now >= self._began + waiting.step.since:
                    waiting.missing -= 1
                    if not waiting.missing:
                        self._at(now + waiting.step.at, waiting.step.fault)

    async def play(self) -> None:
        """Do all steps, each in its time, then make everything good.

        Returns when the quiet phase can begin. What has been begun by then and takes its time is waited for, for
        `DONE_SECONDS` at most.

        Raises:
            HarnessError: the first fault that could not be done; everything is made good all the same.
            GatewayError: the gateway could not be started; likewise.
            NotDone: one was still being done at the end; likewise.
        """
        self._began, self._is_on = self._loop.time(), True
        for step in self._steps():
            if not step.after:
                self._at(self._began + step.at, step.fault)
        try:
            await asyncio.sleep(self.schedule.seconds)
        finally:
            self._is_on = False
            for timer in self._timers:
                timer.cancel()
            late = await self._finish()
            await self._calm()
        if late:
            raise NotDone(f"expected to be done within {DONE_SECONDS:g} s: {', '.join(map(str, late))}")
        for task in self._tasks:
            task.result()

    async def _finish(self) -> list[Fault]:
        """Wait for what has been begun; return what had to be given up."""
        if not self._tasks:
            return []
        _, late = await asyncio.wait(self._tasks, timeout=DONE_SECONDS)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return [fault for task, fault in self._tasks.items() if task in late]

    async def _calm(self) -> None:
        for fault in CALM:
            if self._ground.can(fault):
                await self._do(fault)

    def _steps(self) -> list[Step]:
        return [step for step in self.schedule.steps if step not in self.left_out]

    def _at(self, when: float, fault: Fault) -> None:
        self._timers.append(self._loop.call_at(when, self._begin, fault, context=self._context))

    def _begin(self, fault: Fault) -> None:
        self._tasks[self._loop.create_task(self._do(fault), context=self._context)] = fault

    async def _do(self, fault: Fault) -> None:
        self._note(str(fault))
        self.done.append((self._loop.time() - self._began, fault))
        self.moment(moments.of_fault(fault))
        await self._ground.do(fault)


class _Waiting:
    """A step whose moment has not come.

    Attributes:
        missing: how many of its moments have to come yet.
    """

    __slots__ = ("missing", "step")

    def __init__(self, step: Step) -> None:
        self.step = step
        self.missing = step.nth
