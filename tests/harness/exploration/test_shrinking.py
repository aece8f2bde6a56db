"""Leaving out steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.exploration.shrinking import shrink
from harness.faults.schedule import Schedule, Step
from harness.faults.vocabulary import Cut


def schedule(count: int) -> Schedule:
    """One with so many steps, which differ in their time."""
    return Schedule("of the test", 1, tuple(Step(float(number), Cut(on="d0")) for number in range(count)), 10.0)


def times(one: Schedule) -> set[int]:
    """Which steps are left."""
    return {int(step.at) for step in one.steps}


@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, count - 1)))))
def test_what_is_needed(case: tuple[int, set[int]]):
    """Those that are needed are left, and no other."""
    count, needed = case
    assert times(shrink(schedule(count), lambda one: needed <= times(one), runs=10_000)) == needed


def test_either_of_two():
    """Where either is enough one is left."""
    left = shrink(schedule(8), lambda one: bool({2, 5} & times(one)))
    assert times(left) in ({2}, {5})


@pytest.mark.parametrize("runs", [0, 1, 7])
def test_bounded(runs: int):
    """It is run as often as is allowed, and what is returned still fails."""
    asked = []

    def fails(one: Schedule) -> bool:
        asked.append(one)
        return {3, 30} <= times(one)

    left = shrink(schedule(40), fails, runs=runs)
    assert len(asked) == runs
    assert {3, 30} <= times(left)
