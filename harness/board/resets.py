"""Resets, as the ROM tells them in its first lines; and whether a board does nothing else any more.

Texts: ESP-IDF, ``components/esp_rom/<chip>/include/<chip>/rom/rtc.h`` (``RESET_REASON``), which the ROM abbreviates,
each chip in its own way. So it is the text that says what it was, not the number.
"""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

import msgspec

from gateway.identity import printable

ResetKind: TypeAlias = Literal[
    "power_on", "software", "watchdog", "brown_out", "deep_sleep", "usb", "external", "glitch", "unknown"
]
"""What it was, on any chip. ``software`` is what the panic handler ends with, too; EN low looks like ``power_on``."""

LOOP_RESETS: Final = 3
"""In a row, each with trouble before it, are a boot loop: one may be an accident, two a board that was recovering."""
LOOP_SECONDS: Final = 30.0
"""At most between two of them: the slowest firmware that is stuck before its application runs is stopped by the boot
loader's watchdog after 9 s (``CONFIG_BOOTLOADER_WDT_TIME_MS``); what runs for longer has at least started."""

_BANNER = re.compile(
    r"rst:0x([0-9a-fA-F]{1,2}) \(([^)\n]{1,40})\)"
    # the name of a boot mode may have brackets in it
    r"(?:,boot:0x([0-9a-fA-F]{1,4}) \(((?:[^()\n]|\([^()\n]{0,40}\)){0,80})\))?"
)
_KINDS: tuple[tuple[str, ResetKind], ...] = (
    ("POWERON", "power_on"),
    ("BROWN", "brown_out"),
    ("SLEEP", "deep_sleep"),
    ("USB", "usb"),
    ("JTAG", "usb"),
    ("WDT", "watchdog"),
    ("GLITCH", "glitch"),
    ("EXT", "external"),
    ("SDIO", "external"),
    ("SW", "software"),
)
_ON_PURPOSE: Final = frozenset({"power_on", "deep_sleep", "usb", "external"})


class Reset(msgspec.Struct, frozen=True):
    """One reset.

    Attributes:
        kind: what it was.
        code: the ROM's number for it; the same number is something else on another chip.
        cause: the ROM's word for it.
        boot_mode: the ROM's word for what it does now, for example ``SPI_FAST_FLASH_BOOT``; empty if it was cut off.
        at: when the line came, in the seconds of whoever fed it.
    """

    kind: ResetKind
    code: int
    cause: str
    boot_mode: str
    at: float

    @property
    def to_download_mode(self) -> bool:
        """Whether the chip waits for a host now, and runs nothing."""
        return "DOWNLOAD" in self.boot_mode


class BootLoop(msgspec.Struct, frozen=True):
    """A board resets again and again, and each time for the same lack of success.

    Attributes:
        resets: how many in a row, so far.
        seconds: from the first of them to the last.
        cause: the ROM's word for the last one.
        trouble: what was said before the last one: of the ROM, the boot loader, or a crash.
        at: when the last one came.
    """

    resets: int
    seconds: float
    cause: str
    trouble: str
    at: float

    def __str__(self) -> str:
        why = f": {printable(self.trouble, 200)}" if self.trouble else ""
        return f"boot loop, {self.resets} resets ({printable(self.cause)}) in {self.seconds:.1f} s{why}"


def read_reset(line: str, at: float = 0.0) -> Reset | None:
    """Return the reset a line of the ROM tells of; None: it tells of none."""
    found = _BANNER.search(line)
    if found is None:
        return None
    cause = found[2]
    kind: ResetKind = next((kind for word, kind in _KINDS if word in cause.upper()), "unknown")
    return Reset(kind, int(found[1], 16), cause, found[4] or "", at)


class LoopWatch:
    """Sees whether resets are a loop; told of each in turn."""

    def __init__(self) -> None:
        self._resets = 0
        self._first = self._last = 0.0

    def saw(self, reset: Reset, trouble: str) -> BootLoop | None:
        """Take a reset; return the loop, once, with the third.

        Args:
            reset: the latest.
            trouble: what went wrong since the one before; empty: nothing was said.
        """
        if reset.kind in _ON_PURPOSE:
            self._resets = 0
            return None
        if not trouble and reset.kind not in {"watchdog", "brown_out"}:
            self._resets = 0  # a restart that somebody asked for
            return None
        if not self._resets or reset.at - self._last > LOOP_SECONDS:
            self._resets, self._first = 0, reset.at
        self._resets += 1
        self._last = reset.at
        if self._resets != LOOP_RESETS:
            return None
        return BootLoop(self._resets, reset.at - self._first, reset.cause, trouble, reset.at)
