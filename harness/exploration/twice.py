"""The run-twice check: the same seed, the same bytes at the same moments (invariant 16).

As a program it prints the hash of one run, to be compared with another process's:
``python -m harness.exploration.twice SCENARIO SEED``.
"""

from __future__ import annotations

import sys

from harness.exploration.running import Result, run_seed
from harness.exploration.scenarios import Scenario, scenario
from harness.faults.schedule import Schedule
from harness.invariants.invariant import Violation
from harness.simulation.trace import first_difference

NUMBER = 16
SAYS = "The same seed gives the same trace: twice in one process, in another one, under another hash seed."
WHEN = "by a second run"


def run_twice(which: Scenario, seed: int, schedule: Schedule | None = None, faulty: str = "") -> Result:
    """Run a seed twice; where the two part, that is a violation of the first."""
    one = run_seed(which, seed, schedule=schedule, faulty=faulty)
    other = run_seed(which, seed, schedule=schedule, faulty=faulty)
    if one.digest != other.digest:
        one.violations = [Violation(NUMBER, 0.0, difference(which, seed, schedule, faulty)), *one.violations]
    return one


def difference(which: Scenario, seed: int, schedule: Schedule | None, faulty: str) -> str:
    """Run a seed twice more, and say where the two part."""
    one, other = (run_seed(which, seed, schedule=schedule, faulty=faulty, watched=True).trace for _ in range(2))
    found = first_difference(one, other)
    if found is None:
        return "two runs of the same seed had different traces, and two more did not"
    return f"two runs of the same seed part at line {found.number} of their traces:\n{found}"


if __name__ == "__main__":
    sys.stdout.write(run_seed(scenario(sys.argv[1]), int(sys.argv[2])).digest)
