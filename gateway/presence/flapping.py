"""A guard against devices that replace their own connection again and again: two boards with one id, or bad Wi-Fi."""

from __future__ import annotations

import math

from gateway.config import HandoverConfig
from gateway.errors import HandshakeRefused
from gateway.identity import DeviceId
from gateway.protocol.budgets import SlidingCount
from gateway.protocol.handshake import retry_after

DEVICES = 10_000  # remembered; only devices that were replaced in the last minutes are


class _Record:
    """What is remembered of one device."""

    __slots__ = ("count", "last", "refusal", "until")

    def __init__(self, config: HandoverConfig) -> None:
        self.count = SlidingCount(config.replacements, config.replacement_window)
        self.refusal = 0.0  # seconds of the last refusal; 0 before the first
        self.until = -math.inf  # end of the last refusal
        self.last = -math.inf  # last replacement


class FlappingGuard:
    """Refuses a device for a while when its connection was replaced too often.

    More than ``replacements`` in ``replacement_window`` begin a refusal of ``refusal`` seconds. As long as the device
    goes on, each further replacement over the limit begins one twice as long, up to ``refusal_max``. A device that
    was neither replaced nor refused for a whole window starts afresh: a refusal is not quiet time, or else the
    longest one would always be forgotten as it ends.

    The connection that is there stays; what is refused are the ones that would replace it. The table is bounded: for
    a new device, the one whose last replacement is longest ago is forgotten (``forgotten`` counts those that had not
    been quiet for a window).
    """

    def __init__(self, config: HandoverConfig) -> None:
        self.forgotten = 0
        self._config = config
        self._records: dict[DeviceId, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def replaced(self, device: DeviceId, now: float) -> float | None:
        """Register that a connection of this device was replaced.

        Returns:
            The seconds it is refused for, when this was one too many and begins a refusal; else None. During a
            refusal there is no second one: connections that had passed the handshake before it may still arrive.
        """
        config = self._config
        record = self._records.pop(device, None)
        if record is None or self._is_quiet(record, now):
            record = _Record(config)
        self._make_room(now)
        self._records[device] = record  # last: the table is in the order of the last replacement
        record.last = now
        if not record.count.add(now) or now < record.until:
            return None
        record.refusal = min(record.refusal * 2 or config.refusal, config.refusal_max)
        record.until = now + record.refusal
        return record.refusal

    def refused_for(self, device: DeviceId, now: float) -> float:
        """Return the seconds this device is still refused for; 0 when it may connect."""
        record = self._records.get(device)
        return 0.0 if record is None else max(0.0, record.until - now)

    def check(self, device: DeviceId, now: float) -> None:
        """Let a device pass the handshake, or raise.

        Raises:
            HandshakeRefused: 429 with ``Retry-After``, while the device is refused.
        """
        seconds = self.refused_for(device, now)
        if seconds > 0:
            raise HandshakeRefused(429, "this device replaces its own connection too often", retry_after(seconds))

    def _is_quiet(self, record: _Record, now: float) -> bool:
        return now - max(record.last, record.until) >= self._config.replacement_window

    def _make_room(self, now: float) -> None:
        while self._records:
            oldest = next(iter(self._records))
            quiet = self._is_quiet(self._records[oldest], now)
            if not quiet and len(self._records) < DEVICES:
                return
            del self._records[oldest]
            self.forgotten += not quiet
