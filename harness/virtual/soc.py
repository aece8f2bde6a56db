"""The chip of a virtual board, between a reset and the next: in download mode, or with something that runs on it."""

from __future__ import annotations

import time
from typing import Protocol

from harness.firmware.chips import Chip
from harness.virtual import events
from harness.virtual.chips import RTC_WATCHDOG_KEY, SILICON
from harness.virtual.command_faults import CommandFaults
from harness.virtual.download_mode import DownloadMode
from harness.virtual.events import BoardEvent
from harness.virtual.flash import NorFlash
from harness.virtual.life import Life
from harness.virtual.loader import Chipset, Effect, NotKnown, Restart, SetBaud, StartProgram, StartStub
from harness.virtual.machine import Boot, ResetCause, Running
from harness.virtual.registers import RegisterBus
from harness.virtual.rom_log import ROMS, banner
from harness.virtual.spi import SpiController
from harness.virtual.uart import Uart

_WATCHDOG_BITES = 0.05
"""Seconds from the start of the RTC watchdog to the reset; hosts set some 10 ms, and wait half a second for it."""

_CRYSTAL = 40_000_000  # Hz; UART_CLKDIV_REG is this by the baud rate


class Surroundings(Protocol):
    """The board, as its chip has it; nothing here waits."""

    def say(self, data: bytes) -> None:
        """Take bytes that the chip sends on its UART; any thread may call."""

    def reset_later(self, seconds: float, cause: ResetCause) -> None:
        """Reset the chip into run mode after so long, unless it is reset before; any thread may call."""

    def power_cut(self) -> None:
        """Take note that the supply went off in a write of what runs; any thread may call."""

    def tell(self, event: BoardEvent) -> None:
        """Take note of an event."""


class Soc:
    """One chip; whoever calls holds the board's lock. It begins in reset.

    Args:
        chip, mac: what and who it is.
        flash: its main flash.
        boot: starts what is on it.
        faults: of the commands that it hears in download mode.
        around: the board.
        checks_baud: see `Uart`.

    Attributes:
        is_halted: it is in reset, or without power.
        uart: its UART.
    """

    def __init__(
        self,
        chip: Chip,
        mac: bytes,
        flash: NorFlash,
        boot: Boot,
        *,
        faults: CommandFaults,
        around: Surroundings,
        checks_baud: bool = True,
    ) -> None:
        self.is_halted = True
        self.uart = Uart(checks_baud=checks_baud)
        self._chip = chip
        self._mac = mac
        self._flash = flash
        self._boot = boot
        self._faults = faults
        self._around = around
        self._download: DownloadMode | None = None
        self._life: Life | None = None
        self._running: Running | None = None

    def halt(self) -> None:
        """Stop whatever it does: nothing of it happens any more when this returns."""
        self.is_halted = True
        self._download = None
        if self._life is not None:
            self._life.end()
        if self._running is not None:
            self._running.stop()
        self._life = self._running = None

    def leave_reset(self, cause: ResetCause, *, download: bool) -> None:
        """Begin anew, in download mode or with what is on the flash."""
        self.halt()
        self.is_halted = False
        self.uart.reset()
        self._around.tell(events.Reset(time.monotonic(), cause, download))
        if download:
            self._download = DownloadMode(self._chipset(), self._faults.hear)
            self._around.say("".join(f"{line}\r\n" for line in banner(self._chip, cause, download=True)).encode())
            return
        around = self._around
        self._life = Life(
            self._chip,
            self._mac,
            self._flash,
            send=around.say,
            restart=lambda cause: around.reset_later(0, cause),
            power_cut=around.power_cut,
        )
        self._running = self._boot(self._life, cause)

    def boot_button(self, *, pressed: bool) -> None:
        """Let what runs see a change of IO0."""
        if self._running is not None:
            self._running.boot_button(pressed)

    def received(self, data: bytes, host_baud: int | None) -> None:
        """Take bytes from a host; see `Uart.to_chip` for its baud rate.

        Raises:
            PowerCut: the supply went off in a write of the loader.
        """
        download = self._download
        heard = self.uart.to_chip(data, host_baud, finds_baud=download is not None and download.is_rom)
        if self._running is not None:
            self._running.uart_received(heard)
        if download is None:
            return
        for output in download.feed(heard):
            if isinstance(output, bytes):
                self._around.say(output)
            elif isinstance(output, NotKnown):
                self._around.tell(events.UnknownCommand(time.monotonic(), output.op, not download.is_rom))
            else:
                self._bring_about(output)
            if self._download is not download:
                return  # what comes behind is for nobody: the UART was reset with the chip

    def _bring_about(self, effect: Effect) -> None:
        if isinstance(effect, SetBaud):
            self.uart.baud = effect.baud
        elif isinstance(effect, Restart):
            self.leave_reset(effect.cause, download=False)
        elif isinstance(effect, StartProgram):
            self._download = None
            self._around.tell(events.RamAppStarted(time.monotonic(), effect.entry))
        elif isinstance(effect, StartStub):
            self._around.tell(events.StubStarted(time.monotonic()))

    def _chipset(self) -> Chipset:
        """Return registers as they are after a reset, in download mode."""
        silicon = SILICON[self._chip.name]
        bus = RegisterBus(silicon.registers(self._mac))
        bus.set(silicon.strap, ROMS[self._chip.name].download_strap)
        bus.on_read(silicon.uart_divider, lambda: _CRYSTAL // self.uart.baud)
        if watchdog := silicon.watchdog:

            def started(value: int) -> None:
                if value >> 31 and bus.read(watchdog.protect) == RTC_WATCHDOG_KEY:
                    self._around.reset_later(_WATCHDOG_BITES, "rtc_watchdog")

            bus.on_write(watchdog.config, started)
        return Chipset(self._chip, silicon, bus, SpiController(bus, silicon.spi, self._flash))
