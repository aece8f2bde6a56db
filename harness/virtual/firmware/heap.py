"""Free memory that is made up: it breathes a little, and can be told to leak."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.virtual.firmware.log import Log

TICK_SECONDS = 1.0
"""Of the firmware's clock (``application.cc``)."""
REPORT_TICKS = 10
"""From one report to the next: ``clock_ticks_ % 10``."""
LOWEST = 1024
"""Bytes below which no allocation of the firmware succeeds any more: it aborts."""


class Heap:
    """The free memory of one life.

    Args:
        free: bytes after booting.
        leak: bytes that are lost each second.
        clock: seconds.
    """

    def __init__(self, free: int, leak: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = float(free)
        self._leak = leak
        self._since = clock()
        self._minimum = free

    @property
    def free(self) -> int:
        """Bytes that are free now."""
        now = self._clock()
        self._free = max(self._free - self._leak * (now - self._since), 0.0)
        self._since = now
        self._minimum = min(self._minimum, int(self._free))
        return int(self._free)

    @property
    def minimum(self) -> int:
        """The fewest bytes that were ever free in this life."""
        return min(self._minimum, self.free)

    def leak(self, bytes_per_second: int) -> None:
        """Lose so many bytes each second, from now on."""
        self._free = self.free
        self._leak = bytes_per_second

    def report(self, log: Log) -> None:
        """Print what the firmware prints of it."""
        log("I", "SystemInfo", f"free sram: {self.free} minimal sram: {self.minimum}")
