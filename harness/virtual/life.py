"""The chip between two resets, as what runs on it has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.firmware.chips import Chip
from harness.virtual.flash import NorFlash, PowerCut
from harness.virtual.machine import FlashMemory, ResetCause


class Life:
    """A `Machine` that does nothing any more once it has `end`ed. Any thread may call.

    Args:
        chip, mac: what and who it is.
        flash: its main flash.
        send: takes bytes of the UART; never waits.
        restart: takes a reset that the code asked for; never waits.
        power_cut: is told that the supply went off in a write; never waits.
    """

    def __init__(
        self,
        chip: Chip,
        mac: bytes,
        flash: NorFlash,
        *,
        send: Callable[[bytes], None],
        restart: Callable[[ResetCause], None],
        power_cut: Callable[[], None],
    ) -> None:
        self.chip = chip
        self.mac = mac
        self.flash: FlashMemory = _FlashOfLife(flash, self)
        self._send = send
        self._restart = restart
        self._power_cut = power_cut
        self._ended = False
        self._lock = threading.RLock()  # nothing is sent, written or asked for after `end` has returned

    def uart_send(self, data: bytes) -> None:
        """Put bytes on the UART."""
        with self._lock:
            if not self._ended:
                self._send(data)

    def restart(self, cause: ResetCause) -> None:
        """Ask for a reset."""
        with self._lock:
            if not self._ended:
                self._ended = True  # code after `esp_restart` does not run, and must not be heard
                self._restart(cause)

    def end(self) -> None:
        """Have all calls do nothing from now on."""
        with self._lock:
            self._ended = True

    def write(self, work: Callable[[], None]) -> None:
        """Do one write to flash, unless the life has ended; it ends with its power."""
        with self._lock:
            if self._ended:
                return
            try:
                work()
            except PowerCut:
                self._ended = True
                self._power_cut()


class _FlashOfLife:
    """The flash as running code has it."""

    def __init__(self, flash: NorFlash, life: Life) -> None:
        self._flash = flash
        self._life = life

    @property
    def size(self) -> int:
        return self._flash.size

    def read(self, address: int, size: int) -> bytes:
        return self._flash.read(address, size)

    def program(self, address: int, data: bytes) -> None:
        self._life.write(lambda: self._flash.program(address, data))

    def erase(self, address: int, size: int) -> None:
        self._life.write(lambda: self._flash.erase(address, size))
