"""The gateway in all scenarios: a few seeds of each, on every commit; thousands are ``wsdevice explore``'s."""

from __future__ import annotations

import pytest

from harness.errors import Misuse
from harness.exploration.running import run_seed
from harness.exploration.scenarios import SCENARIOS, scenario
from harness.faults.schedules import SCHEDULES

SEEDS = (1, 2)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_violation(name: str, seed: int):
    """Every invariant holds."""
    result = run_seed(SCENARIOS[name], seed)
    assert [str(violation) for violation in result.violations] == []


# What was found by seeds once and is looked at for ever: each took a rule of an invariant, or of the gateway, to be put
# right. The seeds stand for what they drew then; a small record of each is in ``tests/harness/invariants``.
FOUND = [
    (
        "everything_at_once",
        19,
        "mail that only the TCP of a middlebox has taken, for a device whose hello was swallowed",
    ),
    ("everything_at_once", 76, "the same, whose repeat comes behind what was stored meanwhile"),
    ("everything_at_once", 136, "the same, whose repeat is answered by what the mailbox remembers"),
    ("everything_at_once", 251, "a clock that steps over the time for which settled letters are remembered"),
    ("everything_at_once", 8, "the same for a device that acknowledges, which another life of the gateway knew"),
    ("everything_at_once", 58, "the same"),
    ("partition_during_handover", 909, "a report that was heard, whose confirmation was lost, merged into the next"),
    ("slow_readers", 178, "a device that does not acknowledge, and gives up with unread bytes in its kernel"),
    ("storms", 469, "a report that was heard, merged into the next"),
    *(("swizzle_clog", seed, "a report that was heard, merged into the next") for seed in (457, 698, 821)),
]


@pytest.mark.parametrize(("name", "seed", "what"), FOUND, ids=lambda value: str(value).replace(" ", "-")[:20])
def test_found_once(name: str, seed: int, what: str):
    """Every invariant holds."""
    assert [str(violation) for violation in run_seed(SCENARIOS[name], seed).violations] == [], what


def test_every_schedule_has_a_scenario():
    """Each kind of schedule of faults is hunted with, and each scenario says what happens."""
    assert {one.schedule for one in SCENARIOS.values()} >= set(SCHEDULES)
    assert [one.name for one in SCENARIOS.values() if not one.says.endswith(".")] == []


def test_unknown():
    """A name that is none is answered with those that are."""
    with pytest.raises(Misuse, match=r"expected one of the scenarios calm, handovers, .*got 'storm'"):
        scenario("storm")
