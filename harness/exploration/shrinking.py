"""Leaving out of a schedule what is not needed for the failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from harness.faults.schedule import Schedule, Step

RUNS = 120
"""Of one shrinking: some ten seconds of a slow scenario."""


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], runs: int = RUNS) -> Schedule:
    """Return a schedule with fewer steps that still fails: the fewest that are found in so many runs.

    Steps are left out in ever smaller pieces until no single one can be. A seed does not shrink: with a step less, all
    that chance decides may go another way, so less is found than there is.

    Args:
        schedule: one that fails.
        fails: runs another one, and says whether it fails as well.
        runs: how often it may be called.
    """
    steps, size = list(schedule.steps), max(1, len(schedule.steps) // 2)
    while steps and runs:
        before, begin = len(steps), 0
        while begin < len(steps) and runs:
            fewer = steps[:begin] + steps[begin + size :]
            runs -= 1
            if fails(with_steps(schedule, fewer)):
                steps = fewer
            else:
                begin += size
        if size == 1 and len(steps) == before:
            break
        size = max(1, size // 2)
    return with_steps(schedule, steps)


def with_steps(schedule: Schedule, steps: Sequence[Step]) -> Schedule:
    """Return the schedule with other steps."""
    return msgspec.structs.replace(schedule, steps=tuple(steps))
