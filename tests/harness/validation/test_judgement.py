"""What is thought of a measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.record import Baseline, Limit
from harness.validation.judgement import judged, noise
from harness.validation.metrics import Metric

SECONDS = Metric("boots", "boot", "s", "From reset.", tolerance=0.1, resolution=0.05)
HEAP = Metric("heap", "heap", "bytes", "Free.", better="higher", tolerance=0.0)
STEADY = Baseline(2.0, 1.99, 2.01, 3)
NOISY = Baseline(2.0, 1.0, 3.0, 3)


@pytest.mark.parametrize(
    ("values", "limit", "judgement"),
    [
        ([3.0], Limit(at_most=3.0), "no baseline"),
        ([3.01], Limit(at_most=3.0), "over limit"),
        ([3.0], Limit(at_least=3.0), "no baseline"),
        ([2.99], Limit(at_least=3.0), "over limit"),
        ([1, 1, 90], Limit(at_most=3.0), "no baseline"),
    ],
)
def test_limit(values, limit, judgement):
    """The median counts; at the limit is within it."""
    assert judged(SECONDS, values, limit=limit).judgement == judgement


def test_limit_of_the_metric():
    """It holds where none is declared."""
    metric = Metric("boots", "boot", "s", "From reset.", limit=Limit(at_most=1))

    assert judged(metric, [2.0]).judgement == "over limit"
    assert judged(metric, [2.0], limit=Limit(at_most=3)).judgement == "no baseline"


def test_limit_before_baseline():
    """What is past its limit is so, whatever it was before."""
    assert judged(SECONDS, [5.0], limit=Limit(at_most=4), baseline=Baseline(9.0, 9.0, 9.0)).judgement == "over limit"


def test_worse_than_a_steady_baseline():
    """A change that its repeats never showed is one; a better value never is worse."""
    assert judged(SECONDS, [2.3, 2.31, 2.29], baseline=STEADY).judgement == "worse"
    assert judged(SECONDS, [1.0, 1.01, 0.99], baseline=STEADY).judgement == "ok"


def test_same_change_within_the_noise_of_the_baseline():
    """The same median is fine where the baseline's own repeats lay further apart."""
    assert judged(SECONDS, [2.3, 2.31, 2.29], baseline=NOISY).judgement == "ok"


def test_single_repeat_spreads_as_the_other_side():
    """One value says nothing of its spread: it is taken to be that of the other side."""
    one = Baseline(2.0, 2.0, 2.0, 1)

    assert noise(SECONDS, [2.3], NOISY) > noise(SECONDS, [2.3], STEADY)
    spread = 2 / 1.693  # of three values from 1.3 to 3.3
    assert noise(SECONDS, [1.3, 2.3, 3.3], one) == pytest.approx(3 * spread * (1.2533**2 / 3 + 1) ** 0.5)


def test_noise_of_zero_leaves_the_tolerance():
    """Repeats that are all alike, as of sizes, leave what the metric tolerates."""
    assert noise(SECONDS, [2.0], Baseline(2.0, 2.0, 2.0)) == pytest.approx(0.2)


def test_higher_is_better():
    """There a loss is worse."""
    before = Baseline(1000.0, 1000.0, 1000.0, 3)

    assert judged(HEAP, [900.0], baseline=before).judgement == "worse"
    assert judged(HEAP, [1100.0], baseline=before).judgement == "ok"


def test_not_measured():
    """It says why, and speaks against nobody."""
    measurement = judged(SECONDS, [], why_none="no supply", baseline=STEADY)

    assert not measurement.bad
    assert measurement.why == "not measured: no supply"


def test_reason_has_the_numbers():
    """What it is, what it was, and what is noise."""
    assert judged(SECONDS, [4.0], baseline=STEADY, remark="of 3").why == (
        "4\N{NO-BREAK SPACE}s, it was 2\N{NO-BREAK SPACE}s: worse by 2\N{NO-BREAK SPACE}s, "
        "0.2\N{NO-BREAK SPACE}s is noise; of 3"
    )


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=10), st.lists(st.floats(0.1, 100), min_size=1, max_size=10))
def test_what_is_no_worse_is_never_called_so(now, before):
    """Whatever the spread: a median at or below the baseline's is no regression."""
    ordered = sorted(before)
    baseline = Baseline(ordered[len(ordered) // 2], ordered[0], ordered[-1], len(before))

    measurement = judged(SECONDS, now, limit=Limit(), baseline=baseline)

    assert measurement.judgement in {"ok", "worse"}
    if measurement.value <= baseline.value:
        assert measurement.judgement == "ok"
