"""Partition tables that no boot loader accepts, and what it says of each."""

from __future__ import annotations

import pytest

from harness.firmware.made_builds import TABLE
from harness.firmware.partition_table import TABLE_OFFSET
from harness.virtual.boot_log import BootLog
from harness.virtual.table_check import check, complaint
from tests.harness.virtual.flashed import WITH_FACTORY
from tests.harness.virtual.memory import Memory

GOOD = TABLE.to_bytes()
ROWS = len(TABLE.entries)


def with_bytes(at: int, data: bytes) -> bytes:
    """The table with other bytes in it."""
    return GOOD[:at] + data + GOOD[at + len(data) :]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xff" * 0xC00, "partition 0 invalid magic number 0xffff"),
        (with_bytes(32, b"\x12\x34"), "partition 1 invalid magic number 0x3412"),
        (with_bytes(4, b"\x01"), "Incorrect MD5 checksum"),
        (
            with_bytes(ROWS * 32 + 32, GOOD[ROWS * 32 : ROWS * 32 + 16] + b"\0" * 16),
            "Only one MD5 checksum is allowed",
        ),
        (GOOD[:32] * 96, "partition table has no terminating entry, not valid"),
    ],
)
def test_bad(raw: bytes, said: str):
    """Each check that fails is told in the boot loader's own words."""
    assert complaint(raw, 4 << 20) == said


def test_larger_than_the_flash():
    """A partition behind the end of the flash makes the table unusable."""
    said = complaint(GOOD, 2 << 20)

    assert said == "partition 4 invalid - offset 0x1f0000 size 0x1d0000 exceeds flash chip size 0x200000"


def test_good():
    """The table is printed as the boot loader prints it."""
    memory = Memory()
    memory.put(TABLE_OFFSET, WITH_FACTORY.to_bytes())
    sent: list[bytes] = []

    assert check(memory, BootLog(sent.append)) == WITH_FACTORY
    assert [line.decode().split("boot: ")[1].rstrip() for line in sent] == [
        "Partition Table:",
        "## Label            Usage          Type ST Offset   Length",
        " 0 nvs              WiFi data        01 02 00009000 00004000",
        " 1 otadata          OTA data         01 00 0000d000 00002000",
        " 2 phy_init         RF data          01 01 0000f000 00001000",
        " 3 ota_0            OTA app          00 10 00020000 001d0000",
        " 4 ota_1            OTA app          00 11 001f0000 001d0000",
        " 5 factory          factory app      00 00 003c0000 00040000",
        "End of partition table",
    ]


def test_none():
    """Where there is none, three lines say so."""
    sent: list[bytes] = []

    assert check(Memory(), BootLog(sent.append)) is None
    assert [line.decode().split(") ")[1].rstrip() for line in sent] == [
        "flash_parts: partition 0 invalid magic number 0xffff",
        "boot: Failed to verify partition table",
        "boot: load partition table error!",
    ]


def test_checked_but_empty():
    """A table with nothing but its MD5 is passed over by the boot loader's check, and of no use all the same."""
    import hashlib

    memory = Memory()
    memory.put(TABLE_OFFSET, b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(b"").digest())

    assert check(memory, BootLog(lambda _: None)) is None
