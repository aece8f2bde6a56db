"""Writes ESP-IDF's log lines on standard output, which is the UART."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from harness.virtual.boot_log import Level, formatted

Write = Callable[[str], None]


def to_uart(text: str) -> None:
    """Put text on the UART; waits where it is not taken, as a chip's ``printf`` does."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Log:
    """The log of one life.

    Args:
        began: `time.monotonic()` when the chip was reset.
        write: takes whole lines.
    """

    def __init__(self, began: float, write: Write = to_uart) -> None:
        self._began = began
        self._write = write

    def __call__(self, level: Level, tag: str, text: str) -> None:
        """Write one line: ``I (412) WifiStation: Got IP: 192.168.4.2``."""
        self._write(formatted(level, self._milliseconds, tag, text) + "\n")

    def driver(self, text: str) -> None:
        """Write a line of the Wi-Fi driver, which leaves out the space behind its tag."""
        self._write(f"I ({self._milliseconds}) wifi:{text}\n")

    @property
    def _milliseconds(self) -> int:
        return round((time.monotonic() - self._began) * 1000)
