"""One run: a scenario, a seed, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from harness.exploration.scenarios import Scenario
from harness.exploration.world import World
from harness.faults.schedule import Schedule
from harness.faults.schedules import draw_schedule
from harness.faulty.twins import twin
from harness.invariants.facts import Crashed
from harness.invariants.invariant import Violation
from harness.simulation import sqlite_writes
from harness.simulation.errors import SimulationStopped
from harness.simulation.loop import SimulatedLoop, run

STOPPED = 12
"""The invariant that a simulation which cannot go on violates: somebody waits for ever, or works without end."""
TORN = sqlite_writes.watch() is not None
"""Whether a death finds the mailbox in the middle of a commit, and a loss of power loses what was not synced."""
TIMELINE_SECONDS = 15.0
"""Of a watched run, before its end: the give-up of a device, and what led to it."""


class Result(msgspec.Struct):
    """What came of a run.

    Attributes:
        scenario: its name.
        seed: of the run.
        violations: what was wrong; empty: nothing.
        schedule: of faults; None where the scenario has none.
        digest: hash of the trace.
        seconds: of virtual time.
        trace: the last lines; of a watched run, all.
        waiting: who waited for what when it ended.
        listing: the last seconds of the timeline of a watched run.
        timeline: all of it, row by row.
    """

    scenario: str
    seed: int
    violations: list[Violation] = []
    schedule: Schedule | None = None
    digest: str = ""
    seconds: float = 0.0
    trace: list[str] = []
    waiting: list[str] = []
    listing: str = ""
    timeline: list[dict[str, Any]] = []


def run_seed(
    scenario: Scenario, seed: int, *, schedule: Schedule | None = None, faulty: str = "", watched: bool = False
) -> Result:
    """Run a scenario once; what goes wrong in it is in the result.

    Args:
        scenario: which.
        seed: everything that is left to chance follows from it.
        schedule: of faults, in the place of the one that the seed gives.
        faulty: name of a defect to plant; empty: none.
        watched: keep the trace and a timeline.
    """
    result = Result(scenario.name, seed, schedule=schedule)

    async def main(loop: SimulatedLoop) -> None:
        world = World(loop, scenario.habits, link=scenario.link, watched=watched)
        try:
            with _errors_noted(world):
                await _until_broken(world, _course(world, scenario, result))
        finally:
            _keep(world, result)

    with contextlib.ExitStack() as planted:
        if faulty:
            planted.enter_context(twin(faulty).planted())
        try:
            run(main, seed, keep_trace=watched, torn_disks=TORN)
        except SimulationStopped as stop:
            result.violations = [
                *result.violations,
                Violation(STOPPED, result.seconds, f"{type(stop).__name__}: {stop}"),
            ]
    return result


async def _course(world: World, scenario: Scenario, result: Result) -> None:
    await world.begin()
    if scenario.schedule:
        if result.schedule is None:
            result.schedule = draw_schedule(scenario.schedule, result.seed, world.ground.devices, world.ground.possible)
        await world.play(result.schedule)
    else:
        assert scenario.happens is not None
        await scenario.happens(world)
    await world.recover()
    await world.empty()


async def _until_broken(world: World, course: Any) -> None:
    task = world.loop.create_task(course, name="the course of the scenario")
    await asyncio.wait((task, world.chronicle.broken), return_when=asyncio.FIRST_COMPLETED)
    # what a course runs into behind a violation is its consequence
    if task.done() and task.exception() is not None and not world.chronicle.violations:
        task.result()


def _keep(world: World, result: Result) -> None:
    loop = world.loop
    result.violations = list(world.chronicle.violations)
    result.digest, result.seconds, result.trace = loop.trace.digest(), loop.time(), list(loop.trace.lines)
    result.waiting = list(loop.waiting())
    if world.timeline is not None:
        result.listing = world.timeline.listing(seconds=TIMELINE_SECONDS)
        result.timeline = list(world.timeline.rows())


@contextlib.contextmanager
def _errors_noted(world: World) -> Iterator[None]:
    """Take an error that anybody logs for what it is; and keep the rest from the terminal, where thousands run."""
    handler = _Errors(world)
    loggers = [logging.getLogger(name) for name in ("gateway", "asyncio")]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)


class _Errors(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        world = self._world
        world.chronicle.add(Crashed(at=world.loop.time(), who=record.name, why=self.format(record)))
