"""The controller between the registers of a chip and its flash: one command per write to SPI_CMD_REG.

Loaders write and read flash by calls of their own. What comes through here is what hosts put together by hand in the
registers: the JEDEC id, SFDP, status registers.
"""

from __future__ import annotations

from harness.virtual.chips import SpiRegisters
from harness.virtual.flash import NorFlash
from harness.virtual.registers import RegisterBus

_START = 1 << 18  # SPI_CMD_REG: SPI_USR
_HAS_ADDRESS = 1 << 30  # SPI_USER_REG: SPI_USR_ADDR
_SENDS = 1 << 27  # SPI_USR_MOSI
_READS = 1 << 28  # SPI_USR_MISO
_NOTHING_THERE = b"\xff\xff\xff\xff"  # an open bus: its pull-ups


class SpiController:
    """SPI1 of a chip, with the flash on the pins that its eFuses name.

    Args:
        bus: the registers of the chip; the controller hooks itself into them.
        registers: where it stands.
        main: the flash on the usual pins; there is none on others.

    Attributes:
        flash: the flash that is attached; None: none, as after a reset, or on pins where there is none.
    """

    def __init__(self, bus: RegisterBus, registers: SpiRegisters, main: NorFlash) -> None:
        self.flash: NorFlash | None = None
        self._main = main
        self._bus = bus
        self._at = registers
        bus.on_write(registers.command, self._command)

    def attach(self, pins: int) -> None:
        """Take the flash on these pins: 0, the usual ones; any others have none."""
        self.flash = self._main if pins == 0 else None

    def detach(self) -> None:
        """Let go of it, as a reset does."""
        self.flash = None

    def _command(self, value: int) -> None:
        if not value & _START:
            return
        read, at = self._bus.read, self._at
        phases, opcode = read(at.user), read(at.user2) & 0xFF
        bits = read(at.to_send) % 512 + 1 if phases & _SENDS else 0
        answer = _NOTHING_THERE
        if self.flash is not None:
            sent = b"".join(read(at.data + 4 * i).to_bytes(4, "little") for i in range(16))
            address = self._address() if phases & _HAS_ADDRESS else 0
            answer = self.flash.command(opcode, address, sent[: -(-bits // 8)], bits)
        if phases & _READS:
            wanted = (1 << read(at.to_read) % 512 + 1) - 1
            self._bus.set(at.data, int.from_bytes(answer[:4], "little") & wanted)
        self._bus.set(at.command, 0)  # it is done at once

    def _address(self) -> int:
        bits = (self._bus.read(self._at.user1) >> 26) + 1
        value = self._bus.read(self._at.address)
        if self._at.address_at_top:
            value = value >> max(32 - bits, 0)
        return value & ((1 << bits) - 1)
