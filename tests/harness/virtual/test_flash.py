"""The NOR flash: what can be written and what not, the commands of its bus, and power that goes in between."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.virtual.flash import SECTOR, BadRange, NorFlash, PowerCut

MIB = 1 << 20


def test_new_flash_is_erased():
    """Nothing is on it but what it is given."""
    flash = NorFlash(MIB, b"\x01\x02")

    assert flash.read(0, 4) == b"\x01\x02\xff\xff"
    assert flash.read(MIB - 2, 2) == b"\xff\xff"


@pytest.mark.parametrize("size", [0, MIB - 1, 3 * MIB, 64 * MIB])
def test_sizes_that_do_not_exist(size):
    """Flash chips come in powers of two, and the loaders know six of them."""
    with pytest.raises(Misuse, match="1, 2, 4, 8, 16 or 32 MiB"):
        NorFlash(size)


def test_content_that_does_not_fit():
    """What is too much for the chip is refused."""
    with pytest.raises(Misuse, match="at most"):
        NorFlash(MIB, b"\0" * (MIB + 1))


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_programming_only_clears_bits(first, second):
    """What is programmed twice is the AND of both."""
    flash = NorFlash(MIB)
    flash.program(100, first)
    flash.program(100, second)

    padded = first.ljust(64, b"\xff"), second.ljust(64, b"\xff")
    assert flash.read(100, 64) == bytes(a & b for a, b in zip(*padded, strict=True))


def test_erasing_sets_whole_sectors():
    """The sectors before and behind are left alone."""
    flash = NorFlash(MIB, b"\0" * (3 * SECTOR))
    flash.erase(SECTOR, SECTOR)

    assert flash.read(0, 3 * SECTOR) == b"\0" * SECTOR + b"\xff" * SECTOR + b"\0" * SECTOR


@pytest.mark.parametrize(("address", "size"), [(1, SECTOR), (0, SECTOR - 1), (SECTOR // 2, SECTOR // 2)])
def test_parts_of_sectors_cannot_be_erased(address, size):
    """Nothing is erased then."""
    flash = NorFlash(MIB, b"\0" * SECTOR)

    with pytest.raises(BadRange, match="whole sectors"):
        flash.erase(address, size)
    assert flash.read(0, SECTOR) == b"\0" * SECTOR


def test_past_the_end():
    """The last byte can be reached, the one behind it cannot, by nobody."""
    flash = NorFlash(MIB)
    flash.program(MIB - 1, b"\0")

    for attempt in (
        lambda: flash.read(MIB - 1, 2),
        lambda: flash.program(MIB - 1, b"\0\0"),
        lambda: flash.erase(MIB, SECTOR),
        lambda: flash.flip(MIB, 1),
        lambda: flash.md5(1, MIB),
        lambda: flash.read(-1, 1),
        lambda: flash.read(0, -1),
    ):
        with pytest.raises(BadRange, match="within 0x100000"):
            attempt()


def test_digest():
    """It is the MD5 of the bytes that are there."""
    assert NorFlash(MIB, b"abc").md5(0, 3) == hashlib.md5(b"abc").digest()


def test_flipped_bits_go_both_ways():
    """Ageing sets bits that no program could set."""
    flash = NorFlash(MIB, b"\x0f")
    flash.flip(0, 0x18)

    assert flash.read(0, 1) == b"\x17"


def test_changes_are_told():
    """Erasing and programming say where and how much."""
    told = []
    flash = NorFlash(
        MIB,
        erased=lambda address, size: told.append(("erased", address, size)),
        programmed=lambda address, size: told.append(("programmed", address, size)),
    )
    flash.erase(SECTOR, 2 * SECTOR)
    flash.program(5, b"abc")

    assert told == [("erased", SECTOR, 2 * SECTOR), ("programmed", 5, 3)]


@given(st.integers(0, 300), st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_power_cut_while_programming(cut, sizes):
    """A prefix of exactly so many bytes is written, whichever write the cut falls into, and nothing behind it."""
    flash, written, is_cut = NorFlash(MIB), 0, False
    flash.cut_after(cut)
    for size in sizes:
        try:
            flash.program(written, b"\0" * size)
        except PowerCut:
            is_cut = True
            break
        written += size

    assert is_cut == (cut <= sum(sizes))
    prefix = min(cut, sum(sizes))
    assert flash.read(0, 700) == b"\0" * prefix + b"\xff" * (700 - prefix)


def test_power_cut_while_erasing():
    """What the cut leaves is half a sector of the old content; it happens once."""
    flash = NorFlash(MIB, b"\0" * SECTOR)
    flash.cut_after(100)

    with pytest.raises(PowerCut):
        flash.erase(0, SECTOR)
    assert flash.read(0, SECTOR) == b"\xff" * 100 + b"\0" * (SECTOR - 100)

    flash.erase(0, SECTOR)
    assert flash.read(0, SECTOR) == b"\xff" * SECTOR


def test_power_cut_in_the_past():
    """Power cannot go before now."""
    with pytest.raises(Misuse, match="after which power goes, got -1"):
        NorFlash(MIB).cut_after(-1)


def test_power_cut_is_taken_back():
    """A cut that has not happened can be called off."""
    flash = NorFlash(MIB)
    flash.cut_after(1)
    flash.cut_after(None)
    flash.program(0, b"\0\0")

    assert flash.read(0, 2) == b"\0\0"


@pytest.mark.parametrize(("mib", "capacity"), [(1, 0x14), (2, 0x15), (4, 0x16), (8, 0x17), (16, 0x18), (32, 0x19)])
def test_jedec_id(mib, capacity):
    """It is a Winbond W25Q of its size."""
    assert NorFlash(mib * MIB).command(0x9F, 0, b"", 0) == bytes([0xEF, 0x40, capacity])


def test_sfdp():
    """It has the signature and the first header; beyond its table there is nothing."""
    flash = NorFlash(MIB)

    assert flash.command(0x5A, 0, b"", 0) == b"SFDP"
    assert flash.command(0x5A, 4, b"", 0) == b"\x06\x01\x00\xff"
    assert flash.command(0x5A, 254, b"", 0) == b"\xff\xff\xff\xff"


def test_status_registers():
    """Three registers, written one by one or two at a time."""
    flash = NorFlash(MIB)
    for opcode, value in ((0x01, 0x1C), (0x31, 0x02), (0x11, 0x60)):
        flash.command(opcode, 0, bytes([value]), 8)
    assert [flash.command(opcode, 0, b"", 0) for opcode in (0x05, 0x35, 0x15)] == [b"\x1c", b"\x02", b"\x60"]

    flash.command(0x01, 0, b"\xaa\xbb", 16)
    assert [flash.command(opcode, 0, b"", 0) for opcode in (0x05, 0x35, 0x15)] == [b"\xaa", b"\xbb", b"\x60"]


def test_other_commands_are_accepted():
    """Write enable and its like have no answer."""
    assert NorFlash(MIB).command(0x06, 0, b"", 0) == b"\0\0\0\0"
