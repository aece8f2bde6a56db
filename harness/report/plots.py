"""Draws a measurement as a strip: its repeats as dots, the baseline's spread as a band, the limit as a line."""

from __future__ import annotations

from harness.report.figures import quantity
from harness.report.markup import Markup, tag
from harness.report.record import Measurement

WIDTH, HEIGHT = 200, 30
_MARGIN = 8
_MIDDLE = HEIGHT / 2
_DOTS = 50
"""Repeats that are drawn, the last ones; more would be a blot."""


def strip(measurement: Measurement) -> Markup | None:
    """Return the plot; None where nothing was measured."""
    if not measurement.values:
        return None
    place = _Scale(_numbers(measurement))
    return tag(
        "svg",
        *_limits(measurement, place),
        *_baseline(measurement, place),
        *(tag("circle", class_="dot", cx=place(value), cy=_MIDDLE, r=3.5) for value in measurement.values[-_DOTS:]),
        tag("line", class_="median", x1=place(measurement.value or 0), x2=place(measurement.value or 0), y1=5, y2=25),
        class_="strip",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=_in_words(measurement),
    )


class _Scale:
    """From values to places, linear, with some air at both ends."""

    def __init__(self, numbers: list[float]) -> None:
        low, high = min(numbers), max(numbers)
        air = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self._low, self._high = low - air, high + air

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return round(_MARGIN + share * (WIDTH - 2 * _MARGIN), 1)


def _numbers(measurement: Measurement) -> list[float]:
    limit, baseline = measurement.limit, measurement.baseline
    numbers = [*measurement.values, *(edge for edge in (limit.at_most, limit.at_least) if edge is not None)]
    return numbers + ([baseline.value, baseline.low, baseline.high] if baseline else [])


def _limits(measurement: Measurement, place: _Scale) -> list[Markup]:
    drawn = []
    for edge, left in ((measurement.limit.at_least, True), (measurement.limit.at_most, False)):
        if edge is None:
            continue
        x = place(edge)
        beyond = {"x": 0, "width": x} if left else {"x": x, "width": WIDTH - x}
        drawn.append(tag("rect", class_="beyond", y=3, height=HEIGHT - 6, **beyond))
        drawn.append(tag("line", class_="limit", x1=x, x2=x, y1=1, y2=HEIGHT - 1))
    return drawn


def _baseline(measurement: Measurement, place: _Scale) -> list[Markup]:
    baseline = measurement.baseline
    if baseline is None:
        return []
    low, high, middle = place(baseline.low), place(baseline.high), place(baseline.value)
    return [
        tag("rect", class_="spread", x=low - 2, width=round(high - low + 4, 1), y=9, height=HEIGHT - 18, rx=2),
        tag("line", class_="before", x1=middle, x2=middle, y1=7, y2=HEIGHT - 7),
    ]


def _in_words(measurement: Measurement) -> str:
    unit, limit, baseline = measurement.unit, measurement.limit, measurement.baseline
    words = [f"{measurement.title}: {quantity(measurement.value, unit)} of {len(measurement.values)}"]
    if baseline:
        words.append(f"baseline {quantity(baseline.low, unit)} to {quantity(baseline.high, unit)}")
    if limit.at_most is not None:
        words.append(f"at most {quantity(limit.at_most, unit)}")
    if limit.at_least is not None:
        words.append(f"at least {quantity(limit.at_least, unit)}")
    return ", ".join(words)
