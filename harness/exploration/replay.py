"""Replay files: all that is needed to see a failure again, and what it looked like."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway import __version__
from harness.errors import Misuse
from harness.exploration.running import Result, run_seed
from harness.exploration.scenarios import scenario
from harness.exploration.shrinking import shrink
from harness.exploration.twice import NUMBER, difference
from harness.faults.schedule import Schedule
from harness.invariants.invariant import Violation

TRACE_LINES = 60
"""Of the trace, in a file: its last ones."""


class Replay(msgspec.Struct):
    """One failure.

    Attributes:
        version: of this package; another one's gateway may go other ways.
        scenario: its name.
        seed: of the run.
        faulty: name of a defect that was planted; empty: none.
        violations: in words.
        schedule: of faults, as short as was found; None where the scenario has none.
        drawn: the schedule that the seed gives; None where that is the same.
        digest: hash of the trace.
        seconds: of virtual time.
        trace: its last lines.
        waiting: who waited for what at the end.
        listing: the last seconds of the timeline.
    """

    version: str
    scenario: str
    seed: int
    faulty: str
    violations: list[str]
    schedule: Schedule | None
    drawn: Schedule | None
    digest: str
    seconds: float
    trace: list[str]
    waiting: list[str]
    listing: list[str]


def examine(name: str, seed: int, faulty: str = "") -> Replay | None:
    """Run a seed that has failed, leave out of its schedule what can be, and write down the rest; None: it passes."""
    which = scenario(name)
    found = run_seed(which, seed, faulty=faulty)
    if not found.violations:
        return None
    drawn, kind = found.schedule, found.violations[0].invariant

    def fails(schedule: Schedule) -> bool:
        again = run_seed(which, seed, schedule=schedule, faulty=faulty)
        return any(violation.invariant == kind for violation in again.violations)

    shortest = None if drawn is None else shrink(drawn, fails)
    plain = run_seed(which, seed, schedule=shortest, faulty=faulty)
    watched = run_seed(which, seed, schedule=shortest, faulty=faulty, watched=True)
    if plain.digest != watched.digest:
        text = difference(which, seed, shortest, faulty)
        watched.violations = [Violation(NUMBER, 0.0, text), *watched.violations]
    return _written(watched, faulty, None if drawn == shortest else drawn)


def replay(kept: Replay) -> Result:
    """Run a failure again, with its schedule.

    Raises:
        Misuse: there is no such scenario, or no such defect.
    """
    which = scenario(kept.scenario)
    return run_seed(which, kept.seed, schedule=kept.schedule, faulty=kept.faulty, watched=True)


def read(path: Path) -> Replay:
    """Read a replay file.

    Raises:
        Misuse: it is none, or cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Replay)
    except OSError as error:
        raise Misuse(f"expected a replay file, got {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise Misuse(f"expected a replay file, got {path}: {error}") from None


def write(kept: Replay, directory: Path) -> Path:
    """Write a replay file, for people to read as well; return where it is."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{kept.scenario}-{kept.seed}{'-' + kept.faulty if kept.faulty else ''}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    return path


def _written(result: Result, faulty: str, drawn: Schedule | None) -> Replay:
    return Replay(
        version=__version__,
        scenario=result.scenario,
        seed=result.seed,
        faulty=faulty,
        violations=[str(violation) for violation in result.violations],
        schedule=result.schedule,
        drawn=drawn,
        digest=result.digest,
        seconds=result.seconds,
        trace=result.trace[-TRACE_LINES:],
        waiting=result.waiting,
        listing=result.listing.splitlines(),
    )
