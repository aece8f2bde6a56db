"""MicroPython's ``machine``, as far as a virtual board has it: resets and the chip's id."""

import os
import sys

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
_CAUSES = {"power_on": PWRON_RESET, "brown_out": PWRON_RESET, "task_watchdog": WDT_RESET, "rtc_watchdog": WDT_RESET}
_RESTARTS = 70  # the exit status that stands for esp_restart


def reset() -> None:
    """Reset the chip."""
    sys.exit(_RESTARTS)


def reset_cause() -> int:
    """Return why it was reset; software and panics are a hard reset to MicroPython."""
    return _CAUSES.get(os.getenv("WSDEVICE_RESET_REASON") or "", HARD_RESET)


def unique_id() -> bytes:
    """Return its MAC."""
    return bytes([int(part, 16) for part in (os.getenv("WSDEVICE_MAC") or "").split(":")])
