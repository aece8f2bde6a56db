"""Statistics of a few numbers: how far they lie apart, and what a line through them rises. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import ceil, sqrt
from statistics import median

from harness.errors import Misuse

# Expected range of n numbers of a normal distribution, in its standard deviations: d2 of control charts
# (ISO 7870-2, table 2).
_RANGE_IN_SIGMAS = (0.0, 0.0, 1.128, 1.693, 2.059, 2.326, 2.534, 2.704, 2.847, 2.970, 3.078)
_OF_THE_MEDIAN = 1.2533
"""The standard error of a median, in those of a mean: the square root of pi / 2."""
SLOPE_POINTS = 300
"""Points of a slope; more are thinned evenly: pairs grow with their square."""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least this share of the values does not exceed (nearest rank).

    Raises:
        Misuse: there are no values, or the share is not between 0 and 1.
    """
    if not values or not 0 <= share <= 1:
        raise Misuse(f"expected values and a share from 0 to 1, got {len(values)} and {share:g}")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]


def sigma(low: float, high: float, count: int) -> float:
    """Return the standard deviation that a range of so many values speaks of; 0 for one value, which has none."""
    if count < 2:
        return 0.0
    return (high - low) / _RANGE_IN_SIGMAS[min(count, len(_RANGE_IN_SIGMAS) - 1)]


def median_error(sigma: float, count: int) -> float:
    """Return the standard error of the median of so many values."""
    return _OF_THE_MEDIAN * sigma / sqrt(count) if count > 1 else sigma


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Return what a line through the points rises, by the median of all pairs (Theil and Sen); None: there is none.

    A few outliers, such as a buffer that is held for a moment, do not move it.
    """
    step = ceil(len(points) / SLOPE_POINTS) or 1
    rises = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points[::step], 2) if x2 != x1]
    return median(rises) if rises else None
