"""One write to flash between its BEGIN and its END command, plain or compressed."""

from __future__ import annotations

import zlib

from harness.virtual.flash import BadRange, NorFlash
from harness.virtual.serial_protocol import BAD_LENGTH, CANNOT_INFLATE, FLASH_FAILED, TOO_MUCH_DATA, CommandFailed


class PlainWrite:
    """Blocks as they are; each says by its number where it belongs, so a repeated one does no harm.

    Args:
        flash: where to; the range has been erased.
        start: address of the first block.
        size: bytes to write in all.
        block_size: distance from one block to the next.
    """

    def __init__(self, flash: NorFlash, start: int, size: int, block_size: int) -> None:
        self._flash = flash
        self._start = start
        self._size = size
        self._block_size = block_size
        self._done = 0

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        return self._size - self._done

    def block(self, sequence: int, payload: bytes) -> None:
        """Write one block; what hosts pad the last one with is left out.

        Raises:
            CommandFailed: it lies outside of what was begun, or past the end of the flash.
            PowerCut: the supply went off in the middle of it.
        """
        offset = sequence * self._block_size
        if payload and offset >= self._size:
            raise CommandFailed(*TOO_MUCH_DATA)
        piece = payload[: self._size - offset]
        _program(self._flash, self._start + offset, piece)
        self._done = max(self._done, offset + len(piece))


class DeflatedWrite:
    """One zlib stream over all blocks, which have to come in order; the one before may be repeated.

    Args:
        flash: where to; the range has been erased.
        start: where the first byte goes.
        size: bytes to write in all, inflated.
    """

    def __init__(self, flash: NorFlash, start: int, size: int) -> None:
        self._flash = flash
        self._at = start
        self._inflater = zlib.decompressobj()
        self._next = 0
        self.left = size

    def block(self, sequence: int, payload: bytes) -> None:
        """Inflate one block and write what comes of it.

        Raises:
            CommandFailed: it is out of order, is not zlib's, is too much, or goes past the end of the flash.
            PowerCut: the supply went off in the middle of it.
        """
        if sequence == self._next - 1:
            return  # its answer was lost, and the host asks again
        if sequence != self._next:
            raise CommandFailed(*BAD_LENGTH)
        try:
            # no more than is wanted, and one byte to see that there is more: a few KiB can inflate to many MiB
            piece = self._inflater.decompress(payload, self.left + 1)
        except zlib.error:
            raise CommandFailed(*CANNOT_INFLATE) from None
        if len(piece) > self.left:
            raise CommandFailed(*TOO_MUCH_DATA)
        self._next += 1
        _program(self._flash, self._at, piece)
        self._at += len(piece)
        self.left -= len(piece)


def _program(flash: NorFlash, address: int, data: bytes) -> None:
    try:
        flash.program(address, data)
    except BadRange:
        raise CommandFailed(*FLASH_FAILED) from None
