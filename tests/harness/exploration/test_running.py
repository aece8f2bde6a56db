"""One run, and what is kept of it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from harness.exploration.habits import Habits
from harness.exploration.running import run_seed
from harness.exploration.scenarios import SCENARIOS, Scenario
from harness.exploration.shrinking import with_steps
from harness.exploration.world import World
from harness.faults.schedules import draw_schedule


def happening(happens) -> Scenario:
    """A scenario in which one thing happens."""
    return Scenario("of the test", "Something happens.", (Habits(messages=2), Habits()), happens=happens)


def test_good():
    """Nothing is wrong, and the run is known by its hash; a watched one is the same run."""
    one = run_seed(SCENARIOS["handovers"], 3)
    watched = run_seed(SCENARIOS["handovers"], 3, watched=True)

    assert one.violations == watched.violations == []
    assert one.digest == watched.digest
    assert one.listing == ""
    assert len(watched.trace) > len(one.trace) == 40
    assert "gateway" in watched.listing
    assert len(watched.timeline) > 100


def test_stops_at_the_first_violation():
    """What comes after it is its consequence; the end of the trace is what led to it."""
    whole = run_seed(SCENARIOS["handovers"], 1)
    broken = run_seed(SCENARIOS["handovers"], 1, faulty="connections-stand-side-by-side")

    assert broken.violations[0].invariant == 4
    assert broken.seconds < whole.seconds / 5
    assert "violation invariant 4 at" in "\n".join(broken.trace)
    assert any("gateway" in line for line in broken.waiting)


def test_given_schedule():
    """A schedule can be given in the place of the drawn one."""
    drawn = run_seed(SCENARIOS["kill_after_write"], 4).schedule
    assert drawn == draw_schedule("kill_after_write", 4, ["d0", "d1", "d2", "d3"])
    assert drawn is not None

    short = run_seed(SCENARIOS["kill_after_write"], 4, schedule=with_steps(drawn, drawn.steps[:1]))
    assert short.schedule is not None
    assert short.schedule.steps == drawn.steps[:1]


def test_errors_in_the_log():
    """An error that anybody logs is a violation, and nothing of it is on the terminal."""

    async def happens(world: World) -> None:
        logging.getLogger("gateway.peer.courier").error("something is %s", "wrong")
        await asyncio.sleep(1)

    (violation,) = run_seed(happening(happens), 1).violations
    assert (violation.invariant, violation.text) == (15, "gateway.peer.courier: something is wrong")
    assert logging.getLogger("gateway").propagate


def test_simulation_that_cannot_go_on():
    """Who waits for ever is a violation, not an end of the hunt."""

    async def happens(world: World) -> None:
        for resident in world.residents:
            resident.host.kill()
        await world.house.stop()
        await world.loop.create_future()

    violations = run_seed(happening(happens), 1).violations
    assert violations[-1].invariant == 12
    assert violations[-1].text.startswith("Deadlock: every task waits")


def test_failure_of_the_scenario():
    """A mistake in a scenario is none of the gateway's."""

    async def happens(world: World) -> None:
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        run_seed(happening(happens), 1)


def test_gateway_that_does_not_start_again():
    """What it leaves behind, and the next one does not take, is a violation, not an end of the hunt."""

    async def happens(world: World) -> None:
        await world.house.stop()
        (world.house.host.disk.path / "mailbox.db").write_bytes(b"SQLite format 3\0" + b"x" * 4080)
        await world.house.start()

    (violation,) = run_seed(happening(happens), 1).violations
    assert violation.text.startswith("gateway: does not start: ")
