"""The seam between a virtual board's silicon and what runs on it after a reset.

`harness.virtual.board` is the silicon: flash, lines, UART, power. Each time the chip leaves reset in run mode it calls
its `Boot`, and holds what it returns until the next reset. What runs sees of the silicon only the `Machine`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from harness.firmware.chips import Chip

ResetCause: TypeAlias = Literal[
    "power_on", "software", "panic", "task_watchdog", "rtc_watchdog", "brown_out", "boot_watchdog", "boot_loader"
]
"""Why the chip was reset; each chip's ROM prints it in its own words (`harness.virtual.rom_log`).

EN low and a power cycle are ``power_on`` to silicon; ``software`` is ``esp_restart``; ``panic`` what the panic handler
does at its end; ``boot_watchdog`` the ROM's own, where it finds no boot loader; ``boot_loader`` is the boot loader's
reset, where no application can be started; ``rtc_watchdog`` what a host bites with (esptool's ``watchdog-reset``).
"""


class FlashMemory(Protocol):
    """Flash as running code has it: programming only clears bits, erasing sets them, a sector (4 KiB) at a time.

    Where power is cut in the middle of a write, or the code was stopped before it, the call returns as usual and what
    had not been written stays as it was: code without power sees no error, it does not see anything any more.
    """

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Return bytes; `ValueError` past the end."""
        ...

    def program(self, address: int, data: bytes) -> None:
        """AND bytes into what is there."""

    def erase(self, address: int, size: int) -> None:
        """Set whole sectors to FF; `ValueError` for parts of one."""


class Machine(Protocol):
    """What running code sees of the silicon; may be called from any thread.

    Attributes:
        chip: what it is.
        mac: its factory MAC, 6 bytes.
        flash: its main flash.
    """

    chip: Chip
    mac: bytes
    flash: FlashMemory

    def uart_send(self, data: bytes) -> None:
        """Put bytes on the UART; nothing after its `Running` was stopped."""

    def restart(self, cause: ResetCause) -> None:
        """Reset the chip, from inside; returns at once, and the caller is stopped like by any reset."""


class Running(Protocol):
    """What a chip executes between two resets."""

    def boot_button(self, pressed: bool) -> None:
        """Take a change of IO0, the BOOT button; on an auto-reset circuit DTR alone pulls it, too. Never blocks.

        Changes that happen while the chip is in reset are not told: it starts with the button up.
        """

    def uart_received(self, data: bytes) -> None:
        """Take bytes that came in on the UART; never blocks: what no program reads in time is lost, as in a FIFO."""

    def stop(self) -> None:
        """End it as EN low does, at once, without a last word; returns when nothing of it runs any more, within 2 s."""


Boot: TypeAlias = Callable[[Machine, ResetCause], Running]
"""Starts what is on the flash, from the ROM's banner on; returns at once, and the rest happens in its own thread.

It is called with the board's own lock held, and so is `Running.stop`: neither may wait for a thread that calls the
board's buttons, lines or power. `Machine` is made anew for each call; after its `Running` was stopped, its calls do
nothing. The ROM says nothing for `ROM_SILENCE` seconds: that is Boot's to wait (the board has waited for nothing).
"""

ROM_SILENCE = 0.3
"""Seconds from the end of a reset to the first byte of a *run-mode* boot log.

Hosts go back to 115,200 baud only after they have let go of the reset line, a round trip of the network later where it
is RFC 2217; what is said before that arrives garbled. The banner of download mode is said at once: esptool looks for
it in what it has read by the time it asks for the port's buffer, right after its reset sequence.
"""
