"""One write between BEGIN and END, plain and compressed."""

from __future__ import annotations

import zlib

import pytest

from harness.virtual.flash import NorFlash
from harness.virtual.flash_write import DeflatedWrite, PlainWrite
from harness.virtual.serial_protocol import (
    BAD_LENGTH,
    CANNOT_INFLATE,
    FLASH_FAILED,
    TOO_MUCH_DATA,
    CommandFailed,
)

MIB = 1 << 20


@pytest.fixture
def flash():
    """An erased flash."""
    return NorFlash(MIB)


def failure(write, sequence: int, payload: bytes) -> tuple[int, int]:
    """The codes that a block is refused with."""
    with pytest.raises(CommandFailed) as failed:
        write.block(sequence, payload)
    return failed.value.rom, failed.value.stub


def test_plain_blocks(flash):
    """Each goes where its number says, in any order and more than once; padding behind the end is left out."""
    write = PlainWrite(flash, 0x100, 10, 4)
    for sequence, payload in ((1, b"efgh"), (0, b"abcd"), (1, b"efgh"), (2, b"ij\0\0")):
        write.block(sequence, payload)

    assert flash.read(0x100, 12) == b"abcdefghij\xff\xff"
    assert write.left == 0


def test_plain_block_outside(flash):
    """A block behind the end of what was begun is too much; so is any of an empty write."""
    assert failure(PlainWrite(flash, 0, 8, 4), 2, b"abcd") == TOO_MUCH_DATA
    assert failure(PlainWrite(flash, 0, 0, 4), 0, b"abcd") == TOO_MUCH_DATA


def test_past_the_end_of_flash(flash):
    """It fails as a write that the chip refuses."""
    assert failure(PlainWrite(flash, MIB - 2, 4, 4), 0, b"abcd") == FLASH_FAILED
    assert failure(DeflatedWrite(flash, MIB - 2, 4), 0, zlib.compress(b"abcd")) == FLASH_FAILED


def test_deflated_blocks(flash):
    """One stream over all blocks; the block before may be repeated, as its answer may have been lost."""
    stream, write = zlib.compress(b"0123456789" * 20), DeflatedWrite(flash, 0x100, 200)
    half = len(stream) // 2
    for sequence, payload in ((0, stream[:half]), (0, stream[:half]), (1, stream[half:]), (1, stream[half:])):
        write.block(sequence, payload)

    assert flash.read(0x100, 201) == b"0123456789" * 20 + b"\xff"
    assert write.left == 0


def test_deflated_block_out_of_order(flash):
    """A block that was left out cannot be made up for."""
    stream, write = zlib.compress(b"abcd"), DeflatedWrite(flash, 0, 4)

    assert failure(write, 1, stream) == BAD_LENGTH
    write.block(0, stream)
    assert flash.read(0, 4) == b"abcd"


def test_what_is_not_zlib(flash):
    """It is told as such."""
    assert failure(DeflatedWrite(flash, 0, 4), 0, b"no zlib") == CANNOT_INFLATE


def test_more_than_was_begun(flash):
    """A small block can inflate to much; not one byte of it is written, and it is not inflated to the end."""
    bomb = zlib.compress(bytes(50 * MIB))

    assert failure(DeflatedWrite(flash, 0, 1000), 0, bomb) == TOO_MUCH_DATA
    assert flash.read(0, 1000) == b"\xff" * 1000
