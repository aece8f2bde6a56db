"""What is thought of a measurement: against its limit, and against its baseline with the noise of both. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from statistics import median

from harness.report.figures import quantity
from harness.report.record import Baseline, Judgement, Limit, Measurement
from harness.validation.metrics import Metric
from harness.validation.spread import median_error, sigma

SIGMAS = 3.0
"""Of the difference of two medians: noise alone exceeds it once in 700 comparisons of one side."""


def judged(
    metric: Metric,
    values: Sequence[float],
    *,
    limit: Limit | None = None,
    baseline: Baseline | None = None,
    why_none: str = "",
    remark: str = "",
) -> Measurement:
    """Judge what was measured.

    Args:
        metric: what it is.
        values: one for each repeat; empty: it could not be measured.
        limit: as declared; None: that of the metric.
        baseline: what it was before; None: nothing is known.
        why_none: why there are no values.
        remark: is put behind the reason.
    """
    limit = metric.limit if limit is None else limit
    baseline = baseline if metric.compared else None
    judgement, why = _judge(metric, values, limit, baseline) if values else ("no baseline", f"not measured: {why_none}")
    why = f"{why}; {remark}" if remark else why
    return Measurement(
        metric.name, metric.title, metric.unit, tuple(values), judgement, why, metric.better, limit, baseline
    )


def noise(metric: Metric, values: Sequence[float], baseline: Baseline) -> float:
    """Return by how much the medians may differ without meaning anything.

    Three standard errors of their difference, each from the spread of its repeats, where a single one is taken to
    spread as the other side does; but no less than what the metric tolerates.
    """
    now = sigma(min(values), max(values), len(values))
    before = sigma(baseline.low, baseline.high, baseline.repeats)
    now = now if len(values) > 1 else before
    before = before if baseline.repeats > 1 else now
    error = hypot(median_error(now, len(values)), median_error(before, baseline.repeats))
    return max(SIGMAS * error, metric.tolerance * abs(baseline.value), metric.resolution)


def _judge(metric: Metric, values: Sequence[float], limit: Limit, baseline: Baseline | None) -> tuple[Judgement, str]:
    value = median(values)
    shown = quantity(value, metric.unit)
    if limit.at_most is not None and value > limit.at_most:
        return "over limit", f"{shown}, at most {quantity(limit.at_most, metric.unit)} is allowed"
    if limit.at_least is not None and value < limit.at_least:
        return "over limit", f"{shown}, at least {quantity(limit.at_least, metric.unit)} is wanted"
    if baseline is None:
        return "no baseline", shown
    allowed = noise(metric, values, baseline)
    worse_by = value - baseline.value if metric.better == "lower" else baseline.value - value
    against = f"{shown}, it was {quantity(baseline.value, metric.unit)}"
    if worse_by > allowed:
        return (
            "worse",
            f"{against}: worse by {quantity(worse_by, metric.unit)}, {quantity(allowed, metric.unit)} is noise",
        )
    return "ok", f"{against}; up to {quantity(allowed, metric.unit)} is noise"
