"""The loader in ROM, as it is in download mode: what answers until a stub has been uploaded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import ClassVar

from harness.virtual.flash import NorFlash
from harness.virtual.loader import Chipset, Loader, Output, Restart
from harness.virtual.serial_protocol import FLASH_FAILED, TOO_LONG_A_READ, Command, CommandFailed, Op, answer

UNTOLD_FLASH_SIZE = 2 << 20
"""What the ROM takes the flash for until SPI_SET_PARAMS tells it; it can neither read nor write past that."""

LONGEST_READ = 64
"""Bytes of one READ_FLASH_SLOW; its answer always has so many."""

_COMPLAINTS = 8  # how often the ROM answers a command that it does not know


class RomLoader(Loader):
    """Answers end in four bytes of status: failed, code, 0, 0. Erases a whole range when its write begins."""

    SYNC_VALUE: ClassVar[int] = 0x20120707

    def __init__(self, chipset: Chipset) -> None:
        super().__init__(chipset)
        self._flash_size = UNTOLD_FLASH_SIZE
        self.handlers[Op.READ_FLASH_SLOW] = self._read_slowly

    def reply(self, op: int, value: int = 0, data: bytes = b"") -> bytes:
        """Return the answer that says all went well."""
        return answer(op, value, data + b"\0\0\0\0")

    def complain(self, op: int, failed: CommandFailed) -> bytes:
        """Return the answer that says what went wrong."""
        return answer(op, 0, bytes([1, failed.rom, 0, 0]))

    def unknown(self, command: Command) -> Iterator[Output]:
        """Complain, several times and under another command's number; esptool knows that and waits it out."""
        del command
        for _ in range(_COMPLAINTS):
            yield answer(0, 0, bytes([1, 0x05, 0, 0]))

    def flash(self, address: int, size: int) -> NorFlash:
        """Return the flash, if it was told to be large enough; see `Loader.flash`."""
        if address + size > self._flash_size:
            raise CommandFailed(*FLASH_FAILED)
        return super().flash(address, size)

    def digest_as_sent(self, digest: bytes) -> bytes:
        """Return the digest in hexadecimal."""
        return digest.hex().encode()

    def _set_parameters(self, command: Command) -> Iterator[Output]:
        _id, self._flash_size, *_ = struct.unpack("<IIIIII", command.data)
        yield self.reply(command.op)

    def _read_slowly(self, command: Command) -> Iterator[Output]:
        address, size = struct.unpack("<II", command.data)
        if size > LONGEST_READ:
            raise CommandFailed(*TOO_LONG_A_READ)
        data = self.flash(address, size).read(address, size)
        yield self.reply(command.op, data=data.ljust(LONGEST_READ, b"\0"))

    def _end_write(self, command: Command) -> Iterator[Output]:
        struct.unpack("<I", command.data)  # 0: reset, 1: run what is on the flash; from outside they look the same
        self._write = None
        yield self.reply(command.op)
        yield Restart("software")
