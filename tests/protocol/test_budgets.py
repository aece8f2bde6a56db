"""Token bucket and sliding count, at and past their edges; times are binary fractions, so that the edges are exact."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.protocol.budgets import SlidingCount, TokenBucket


def taken(bucket: TokenBucket, now: float, most: int = 1000) -> int:
    """Take single tokens until there are none."""
    for count in range(most):
        if not bucket.take(now):
            return count
    return most


# --- token bucket ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0.0, 1_000_000.0, -5.0])
def test_full_at_first_whatever_the_clock_shows(start):
    """A burst is there at once, and not one token more; time counts from the first asking."""
    bucket = TokenBucket(4, 20)
    assert taken(bucket, start) == 20
    assert bucket.take(start + 0.25)


def test_refills_at_its_rate_and_no_further_than_its_burst():
    """One token each quarter of a second; a long pause gives the burst, not what the pause would have."""
    bucket = TokenBucket(4, 20)
    taken(bucket, 0)
    assert not bucket.take(0.125)
    assert bucket.take(0.25)
    assert not bucket.take(0.25)
    assert taken(bucket, 1.25) == 4
    assert taken(bucket, 3600) == 20


def test_refusal_takes_nothing():
    """Asking for more than there is leaves all of it."""
    bucket = TokenBucket(4, 20)
    assert not bucket.take(0, 21)
    assert bucket.take(0, 20)
    assert not bucket.take(0)


def test_clock_that_goes_back_changes_nothing():
    """Nothing is lost, and nothing is refilled for time that was counted already."""
    bucket = TokenBucket(4, 20)
    assert bucket.take(100, 10)
    assert bucket.take(50, 10)
    assert not bucket.take(50)
    assert not bucket.take(100.125)
    assert bucket.take(100.25)


def test_wait_says_when():
    """0 while there is a token; else the time to the next one, or the next few."""
    bucket = TokenBucket(4, 20)
    assert bucket.wait(0) == 0
    taken(bucket, 0)
    assert bucket.wait(0) == 0.25
    assert bucket.wait(0.125) == 0.125
    assert bucket.wait(0.125, 20) == 4.875
    assert bucket.wait(7) == 0


def test_spend_goes_into_debt_and_says_for_how_long():
    """What was used already is paid for, however much it was, before anything more is given."""
    bucket = TokenBucket(4, 20)
    assert bucket.spend(0, 20) == 0
    assert bucket.spend(0, 8) == 2.0
    assert not bucket.take(2.0)
    assert bucket.take(2.25)


@settings(deadline=None)
@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    start=st.sampled_from([0.0, 1e6]),
    asked=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 60)), min_size=1, max_size=40),
)
def test_never_more_than_burst_and_rate_in_any_interval(rate, burst, start, asked):
    """The promise of the bucket, over every interval between two askings."""
    bucket = TokenBucket(rate, burst)
    now = start
    given_out: list[tuple[float, int]] = []
    for pause, count in asked:
        now += pause
        given_out.append((now, taken(bucket, now, count)))
    for first in range(len(given_out)):
        total = 0
        for when, count in given_out[first:]:
            total += count
            assert total <= burst + rate * (when - given_out[first][0]) + 0.001


@settings(deadline=None)
@given(
    rate=st.floats(0.01, 1000),
    burst=st.integers(1, 50),
    start=st.floats(0, 1e8),
    drawn=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 50)), max_size=20),
    n=st.integers(1, 50),
)
def test_what_was_waited_for_is_there(rate, burst, start, drawn, n):
    """Who comes back after `wait` gets the tokens, in spite of rounding, on a clock that has run for three years."""
    bucket = TokenBucket(rate, burst)
    now = start
    for pause, count in drawn:
        now += pause
        bucket.take(now, count)
    n = min(n, burst)
    assert bucket.take(now + bucket.wait(now, n), n)


# --- sliding count -----------------------------------------------------------------------------------------------


def test_one_past_the_limit_is_over():
    """Twenty in a window are borne, the twenty-first is over, and so is each further one."""
    count = SlidingCount(20, 10)
    assert [count.add(0.25 * i) for i in range(20)] == [False] * 20
    assert count.add(5.0)
    assert count.add(5.25)


def test_what_is_a_window_old_is_forgotten():
    """Exactly one window apart is outside, a moment less is inside."""
    on_time, early = SlidingCount(2, 10), SlidingCount(2, 10)
    for count in (on_time, early):
        count.add(0)
        count.add(1)
    assert not on_time.add(10.0)
    assert early.add(9.75)


def test_slow_trickle_is_never_over():
    """As many as the limit in every window, for a long time."""
    count = SlidingCount(20, 10)
    assert not any(count.add(0.5 * i) for i in range(1000))


def test_count_survives_a_clock_that_goes_back():
    """What seems earlier counts as now."""
    count = SlidingCount(2, 10)
    count.add(100)
    assert not count.add(50)
    assert count.add(109)
    assert count.add(109.5)


@settings(deadline=None)
@given(limit=st.integers(1, 8), window=st.integers(1, 20), events=st.lists(st.integers(0, 60), max_size=40).map(sorted))
def test_count_is_exact(limit, window, events):
    """It agrees with counting everything that ever happened."""
    count = SlidingCount(limit, window)
    for number, now in enumerate(events, 1):
        recent = [then for then in events[:number] if now - then < window]
        assert count.add(now) is (len(recent) > limit)
