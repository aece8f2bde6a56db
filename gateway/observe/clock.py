"""The wall clock, for stamps and expiry dates that must mean something after a restart; timers use the loop's time."""

from __future__ import annotations

import time
from collections.abc import Callable

WallClock = Callable[[], float]
"""Returns seconds since 1970. Handed into everything that stamps, so that tests and simulation can bring their own."""


def wall_clock() -> float:
    """Return the machine's time in seconds since 1970."""
    return time.time()
