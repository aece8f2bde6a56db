"""How often something may happen: a token bucket for rates, a sliding count for "so many in so long".

Pure: the time is handed in, in seconds of any clock. A clock that goes back neither refills nor empties anything.
"""

from __future__ import annotations

import math
from collections import deque

_FORGIVEN = 1e-4  # of a token: the rounding of `now + wait(now)` on a clock that has run for years


class TokenBucket:
    """A rate with a burst: full at first, refilled at ``rate`` tokens per second up to ``burst``.

    In any time ``t`` it gives at most ``burst + rate * t`` tokens (and a ten-thousandth of one, for rounding).
    """

    __slots__ = ("_burst", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, burst: float) -> None:
        assert rate > 0, "a bucket that is never refilled is a counter"
        assert burst >= 1, "a bucket must hold one token"
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._stamp = -math.inf  # before any clock: the bucket is full, whenever it is first asked

    def take(self, now: float, n: float = 1) -> bool:
        """Take ``n`` tokens if they are there; else take none and return False."""
        self._refill(now)
        if self._tokens < n - _FORGIVEN:
            return False
        self._tokens -= n
        return True

    def spend(self, now: float, n: float) -> float:
        """Take ``n`` tokens that have been used already, into debt if need be.

        Returns:
            Seconds until the debt is paid; 0 while there is none.
        """
        self._refill(now)
        self._tokens -= n
        return 0.0 if self._tokens >= 0 else -self._tokens / self._rate

    def wait(self, now: float, n: float = 1) -> float:
        """Return the seconds until ``n`` tokens (at most ``burst``) can be taken; 0 when they can be now."""
        self._refill(now)
        return max(0.0, (n - self._tokens) / self._rate)

    def _refill(self, now: float) -> None:
        if now > self._stamp:
            self._tokens = min(self._burst, self._tokens + (now - self._stamp) * self._rate)
            self._stamp = now


class SlidingCount:
    """Counts what happened in the last ``window`` seconds, exactly, at the cost of ``limit`` numbers."""

    __slots__ = ("_limit", "_times", "_window")

    def __init__(self, limit: int, window: float) -> None:
        assert limit >= 1, "a count that allows nothing needs no memory"
        self._limit = limit
        self._window = window
        self._times: deque[float] | None = None  # most connections never err, and an empty deque is 760 bytes

    def add(self, now: float) -> bool:
        """Count one more; True when it is one too many: more than ``limit`` in less than ``window`` seconds."""
        times = self._times
        if times is None:
            times = self._times = deque(maxlen=self._limit)
        if times and now < times[-1]:
            now = times[-1]
        over = len(times) == self._limit and now - times[0] < self._window
        times.append(now)
        return over
