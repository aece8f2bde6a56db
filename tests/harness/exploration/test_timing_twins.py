"""Each twin that only timing reveals is found within its number of seeds, with what is wrong with it."""

from __future__ import annotations

import re

import pytest

from harness.exploration.running import run_seed
from harness.exploration.scenarios import scenario
from harness.faulty.twins import twin, twins

WITHIN = {
    "acknowledged-before-the-commit": 100,
    "repeated-after-a-lost-receipt": 25,
    "end-is-cleaned-up-twice": 5,
    "snapshot-is-read-half-way": 40,
}
"""Seeds. Of a hundred, 7, 28, 100 and 17 found them, so that another gateway like it is missed less than once in a
thousand times."""


@pytest.mark.parametrize("name", WITHIN)
def test_found(name: str):
    """Some seed within the number violates an invariant, in the words of the twin."""
    one = twin(name)

    for seed in range(1, WITHIN[name] + 1):
        found = run_seed(scenario(one.scenario), seed, faulty=name).violations
        if found:
            break
    else:
        pytest.fail(f"{name} was not found by {WITHIN[name]} seeds of {one.scenario}")
    assert re.search(one.message, str(found[0]))


def test_all():
    """Every twin of timing has its number."""
    assert [name for name, one in twins().items() if one.scenario] == list(WITHIN)
