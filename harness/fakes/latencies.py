"""How long things took: percentiles of any number of them, in little memory."""

from __future__ import annotations

import math

SHORTEST = 1e-5
"""Seconds; whatever took less counts as this."""
GROWTH = 1.05
"""Each class of durations is so much longer than the one before: a percentile is right to 5 %."""
CLASSES = 400
"""The last begins at 2,800 s."""


class Latencies:
    """Durations in seconds, counted in classes that grow by 5 %.

    Attributes:
        count: how many there were.
        longest: the longest of them, exactly; 0 before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._classes = [0] * CLASSES

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        number = math.ceil(math.log(max(seconds, SHORTEST) / SHORTEST, GROWTH))
        self._classes[min(number, CLASSES - 1)] += 1

    def percentile(self, percent: float) -> float:
        """Return the duration that ``percent`` of 100 did not exceed, to 5 %; 0 if there were none."""
        due = self.count * percent / 100
        passed = 0
        for number, count in enumerate(self._classes):
            passed += count
            if count and passed >= due:
                return min(SHORTEST * GROWTH**number, self.longest)
        return 0.0
