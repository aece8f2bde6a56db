"""A SPI NOR flash: programming clears bits, erasing sets them again a sector at a time, and power can go in between."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import TypeAlias

from harness.errors import Misuse

SECTOR = 4096
"""Bytes that are erased together (command 20h, as all flash chips for ESP32 have it)."""

ERASED = 0xFF

# JEDEC id, third byte: capacity as a power of two (W25Q80 … W25Q256JV data sheets, "Manufacturer and Device ID").
_CAPACITY = {1 << bits: bits for bits in range(20, 26)}
_WINBOND_W25Q = b"\xef\x40"
# JESD216: signature, revision 1.6, one parameter header; a host that reads further sees it unprogrammed
_SFDP = b"SFDP\x06\x01\x00\xff" + b"\xff" * 248
_STATUS_AT = {0x05: 0, 0x35: 8, 0x15: 16, 0x01: 0, 0x31: 8, 0x11: 16}  # where a status command's register begins
_WRITES_STATUS = frozenset({0x01, 0x31, 0x11})

Changed: TypeAlias = Callable[[int, int], None]
"""Is told the address and the number of bytes that were erased or programmed."""


class PowerCut(Exception):
    """The supply went off in the middle of a write: what came before is written, what would have come after is not."""


class BadRange(ValueError):
    """An address past the end, or a part of a sector to be erased."""


def _nobody(_address: int, _size: int) -> None:
    pass


class NorFlash:
    """One flash chip; any thread may call.

    Args:
        size: in bytes: 1, 2, 4, 8, 16 or 32 MiB.
        content: what is on it, from its start; the rest is erased.
        erased, programmed: are told what has changed.

    Raises:
        Misuse: there is no such size, or the content does not fit.
    """

    def __init__(
        self, size: int, content: bytes = b"", *, erased: Changed = _nobody, programmed: Changed = _nobody
    ) -> None:
        if size not in _CAPACITY:
            raise Misuse(f"expected a flash of 1, 2, 4, 8, 16 or 32 MiB, got {size:,} bytes")
        if len(content) > size:
            raise Misuse(f"expected at most {size:,} bytes of flash, got {len(content):,}")
        self.size = size
        self._bytes = bytearray(content).ljust(size, bytes([ERASED]))
        self._status = 0
        self._lock = threading.Lock()
        self._erased = erased
        self._programmed = programmed
        self._left: int | None = None  # bytes until power goes

    def read(self, address: int, size: int) -> bytes:
        """Return bytes.

        Raises:
            BadRange: past the end.
        """
        self._check(address, size)
        return bytes(self._bytes[address : address + size])

    def program(self, address: int, data: bytes) -> None:
        """AND bytes into what is there.

        Raises:
            BadRange: past the end; nothing is written.
            PowerCut: the supply went off; a prefix is written.
        """
        self._check(address, len(data))
        with self._lock:
            done, is_cut = self._spend(len(data))
            end = address + done
            # one AND of two large numbers: a loop over bytes takes a second for a MiB
            kept = int.from_bytes(self._bytes[address:end], "big") & int.from_bytes(data[:done], "big")
            self._bytes[address:end] = kept.to_bytes(done, "big")
        self._programmed(address, done)
        if is_cut:
            raise PowerCut

    def erase(self, address: int, size: int) -> None:
        """Set whole sectors to FF.

        Raises:
            BadRange: past the end, or not whole sectors; nothing is erased.
            PowerCut: the supply went off; a prefix is erased.
        """
        self._check(address, size)
        if address % SECTOR or size % SECTOR:
            raise BadRange(f"expected whole sectors of {SECTOR} bytes, got {address:#x} and {size:#x}")
        with self._lock:
            done, is_cut = self._spend(size)
            self._bytes[address : address + done] = bytes([ERASED]) * done
        self._erased(address, done)
        if is_cut:
            raise PowerCut

    def cut_after(self, written_bytes: int | None) -> None:
        """Raise `PowerCut` once so many more bytes have been erased or programmed; None: never.

        Raises:
            Misuse: a number below 0.
        """
        if written_bytes is not None and written_bytes < 0:
            raise Misuse(f"expected a number of bytes after which power goes, got {written_bytes}")
        with self._lock:
            self._left = written_bytes

    def flip(self, address: int, mask: int) -> None:
        """Flip bits of one byte, in either direction, as ageing does and no write could.

        Raises:
            BadRange: past the end.
        """
        self._check(address, 1)
        with self._lock:
            self._bytes[address] ^= mask

    def md5(self, address: int, size: int) -> bytes:
        """Return the digest of a part, as both loaders can be asked for.

        Raises:
            BadRange: past the end.
        """
        return hashlib.md5(self.read(address, size), usedforsecurity=False).digest()

    def command(self, opcode: int, address: int, data: bytes, bits: int) -> bytes:
        """Carry out one command of the SPI bus, other than read, write and erase; return the first bytes it answers.

        Of ``data``, which is sent after opcode and address, only the first ``bits`` count.
        """
        if opcode == 0x9F:
            return _WINBOND_W25Q + bytes([_CAPACITY[self.size]])
        if opcode == 0x5A:
            return _SFDP[address : address + 4].ljust(4, b"\xff")
        if opcode in _STATUS_AT:
            return self._status_command(opcode, data, bits)
        return b"\0\0\0\0"  # write enable, reset enable and the like are accepted, and answer nothing

    def _status_command(self, opcode: int, data: bytes, bits: int) -> bytes:
        shift = _STATUS_AT[opcode]
        if opcode in _WRITES_STATUS:
            mask = ((1 << bits) - 1) << shift
            self._status = (self._status & ~mask | int.from_bytes(data, "little") << shift & mask) & 0xFFFFFF
            return b""
        return bytes([self._status >> shift & 0xFF])

    def _spend(self, size: int) -> tuple[int, bool]:
        """Return how many of these bytes can still be written, and whether power goes after them."""
        if self._left is None:
            return size, False
        if size < self._left:
            self._left -= size
            return size, False
        done, self._left = self._left, None
        return done, True

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.size:
            raise BadRange(f"expected a range within {self.size:#x} bytes of flash, got {address:#x} and {size:#x}")
