"""Percentiles of durations, counted in classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.fakes.latencies import GROWTH, SHORTEST, Latencies


def counted(*seconds: float) -> Latencies:
    """Durations, counted."""
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


def test_none():
    """Without any, every percentile is 0."""
    assert (counted().count, counted().percentile(50), counted().longest) == (0, 0.0, 0.0)


@pytest.mark.parametrize("seconds", [0.0, SHORTEST, 1e-3, 0.25, 60.0, 3000.0, 1e6])
def test_one(seconds: float):
    """One duration is all its percentiles, and never more than it was (or the shortest that is told apart)."""
    latencies = counted(seconds)

    for percent in (1, 50, 100):
        assert min(seconds, SHORTEST) / GROWTH <= latencies.percentile(percent) <= max(seconds, SHORTEST)
    assert latencies.longest == seconds


@given(st.lists(st.floats(SHORTEST, 1000.0), min_size=1), st.integers(1, 100))
def test_right_to_five_percent(seconds: list[float], percent: int):
    """A percentile is within one class of the duration that has that rank."""
    ranked = sorted(seconds)
    exact = ranked[max(0, -(-len(ranked) * percent // 100) - 1)]

    found = counted(*seconds).percentile(percent)

    assert exact / GROWTH**1.001 <= found <= exact * GROWTH**1.001
