"""The flasher stub that esptool uploads: answered natively, since no core is there to run it.

What a host cannot see is left out: the real one answers a block of data before it has written it, and tells of a failed
write with the next. This one writes first.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import ClassVar

from harness.virtual import slip
from harness.virtual.flash import SECTOR, NorFlash
from harness.virtual.loader import Chipset, LeaveStub, Loader, Output, Restart
from harness.virtual.serial_protocol import (
    BAD_LENGTH,
    NOT_ENOUGH_DATA,
    NOT_IMPLEMENTED,
    NOT_WRITING,
    UNKNOWN_COMMAND,
    Command,
    CommandFailed,
    Op,
    answer,
)

LONGEST_PACKET = 4096
"""Bytes of flash in one packet of READ_FLASH: a sector, which is what hosts ask for."""


class _Read:
    """A READ_FLASH on its way: one packet, then one acknowledgement, and so on; at the end the digest."""

    def __init__(self, flash: NorFlash, address: int, size: int, packet: int) -> None:
        self._flash = flash
        self._address = address
        self._size = size
        self._packet = packet
        self._sent = 0
        self._digest = hashlib.md5(usedforsecurity=False)

    @property
    def is_sent(self) -> bool:
        return self._sent >= self._size

    def next_frame(self) -> bytes:
        piece = self._flash.read(self._address + self._sent, min(self._packet, self._size - self._sent))
        self._digest.update(piece)
        self._sent += len(piece)
        return slip.encode(piece)

    def last_frame(self) -> bytes:
        return slip.encode(self._digest.digest())


class StubLoader(Loader):
    """Answers end in two bytes of status; it knows the size of the flash by itself, and a few more commands."""

    SYNC_VALUE: ClassVar[int] = 0

    def __init__(self, chipset: Chipset) -> None:
        super().__init__(chipset)
        self._reading: _Read | None = None
        self.handlers |= {
            Op.ERASE_FLASH: self._erase_all,
            Op.ERASE_REGION: self._erase_region,
            Op.READ_FLASH: self._read_flash,
            Op.RUN_USER_CODE: self._run,
        }

    def reply(self, op: int, value: int = 0, data: bytes = b"") -> bytes:
        """Return the answer that says all went well."""
        return answer(op, value, data + b"\0\0")

    def complain(self, op: int, failed: CommandFailed) -> bytes:
        """Return the answer that says what went wrong."""
        return answer(op, 0, bytes([failed.stub, 0]))

    def unknown(self, command: Command) -> Iterator[Output]:
        """Say that it is not known, or, where the ROM of another chip would know it, not there."""
        code = NOT_IMPLEMENTED if command.op == Op.GET_SECURITY_INFO else UNKNOWN_COMMAND
        yield self.complain(command.op, CommandFailed(*code))

    def acknowledged(self, frame: bytes) -> Iterator[Output]:
        """Take a frame that is no command; during a READ_FLASH it says how many bytes the host has got in all."""
        if self._reading is None or len(frame) != 4:
            return
        if not self._reading.is_sent:
            yield self._reading.next_frame()
        else:
            yield self._reading.last_frame()
            self._reading = None

    def digest_as_sent(self, digest: bytes) -> bytes:
        """Return the digest as it is."""
        return digest

    def _end_write(self, command: Command) -> Iterator[Output]:
        (stays,) = struct.unpack("<I", command.data)
        if self._write is None:
            raise CommandFailed(*NOT_WRITING)
        left, self._write = self._write.left, None
        if left:
            raise CommandFailed(*NOT_ENOUGH_DATA)
        yield self.reply(command.op)
        if not stays:
            yield LeaveStub()

    def _erase_all(self, command: Command) -> Iterator[Output]:
        flash = self.flash(0, 0)
        flash.erase(0, flash.size)
        yield self.reply(command.op)

    def _erase_region(self, command: Command) -> Iterator[Output]:
        address, size = struct.unpack("<II", command.data)
        if address % SECTOR or size % SECTOR:
            raise CommandFailed(*BAD_LENGTH)
        self.flash(address, size).erase(address, size)
        yield self.reply(command.op)

    def _read_flash(self, command: Command) -> Iterator[Output]:
        address, size, packet, _in_flight = struct.unpack(
            "<IIII", command.data
        )  # the real one keeps one in flight, too
        if not 0 < packet <= LONGEST_PACKET:
            raise CommandFailed(*BAD_LENGTH)
        self._reading = _Read(self.flash(address, size), address, size, packet)
        yield self.reply(command.op)
        if size:
            yield self._reading.next_frame()
        else:
            yield self._reading.last_frame()
            self._reading = None

    def _run(self, command: Command) -> Iterator[Output]:
        del command  # and no answer
        yield Restart("software")
