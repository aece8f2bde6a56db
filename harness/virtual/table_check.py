"""Checks a partition table as the boot loader does, and says what it says, in its words.

Texts and their order: ESP-IDF, ``components/bootloader_support/src/flash_partitions.c`` and ``bootloader_utility.c``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from harness.firmware.errors import BadPartitionTable
from harness.firmware.partition_table import (
    APP,
    DATA,
    ENTRY_BYTES,
    TABLE_BYTES,
    TABLE_OFFSET,
    Partition,
    PartitionTable,
)
from harness.virtual.boot_log import BootLog
from harness.virtual.machine import FlashMemory

_ENTRY = 0x50AA
_MD5 = 0xEBEB
_END = b"\xff\xff\xff\xff"

_USAGE = {
    (APP, 0x00): "factory app",
    (APP, 0x20): "test app",
    (DATA, 0x00): "OTA data",
    (DATA, 0x01): "RF data",
    (DATA, 0x02): "WiFi data",
    (DATA, 0x04): "NVS keys",
    (DATA, 0x05): "efuse",
}


def check(flash: FlashMemory, log: BootLog) -> PartitionTable | None:
    """Read and check the table at 0x8000, and log what the boot loader does; None: it cannot be used."""
    raw = flash.read(TABLE_OFFSET, TABLE_BYTES)
    wrong = complaint(raw, flash.size)
    if wrong is None:
        try:
            table = PartitionTable.parse(raw)
        except BadPartitionTable as bad:  # what a boot loader passes over, such as a table without any entry
            wrong = bad.why
        else:
            log_table(table, log)
            return table
    log("E", "flash_parts", wrong)
    log("E", "boot", "Failed to verify partition table")
    log("E", "boot", "load partition table error!")
    return None


def complaint(raw: bytes, flash_size: int) -> str | None:
    """Return what the boot loader says is wrong with a table; None: nothing."""
    checked = False
    for number in range(len(raw) // ENTRY_BYTES):
        row = raw[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES]
        (magic,) = struct.unpack_from("<H", row)
        if magic == _ENTRY:
            offset, size = struct.unpack_from("<II", row, 4)
            if offset + size > flash_size:
                where = f"offset {offset:#x} size {size:#x}"
                return f"partition {number} invalid - {where} exceeds flash chip size {flash_size:#x}"
        elif magic == _MD5:
            if checked:
                return "Only one MD5 checksum is allowed"
            if row[16:] != hashlib.md5(raw[: number * ENTRY_BYTES], usedforsecurity=False).digest():
                return "Incorrect MD5 checksum"
            checked = True
        elif number and row.startswith(_END):
            return None
        else:
            return f"partition {number} invalid magic number {magic:#x}"
    return "partition table has no terminating entry, not valid"


def log_table(table: PartitionTable, log: BootLog) -> None:
    """Print the table as the boot loader does."""
    log("I", "boot", "Partition Table:")
    log("I", "boot", "## Label            Usage          Type ST Offset   Length")
    for text in _rows(table):
        log("I", "boot", text)
    log("I", "boot", "End of partition table")


def _rows(table: PartitionTable) -> Iterator[str]:
    for number, entry in enumerate(table):
        where = f"{entry.type:02x} {entry.subtype:02x} {entry.offset:08x} {entry.size:08x}"
        yield f"{number:2} {entry.label:<16} {_usage(entry):<16} {where}"


def _usage(entry: Partition) -> str:
    if entry.is_ota_slot:
        return "OTA app"
    unknown = {APP: "Unknown app", DATA: "Unknown data"}.get(entry.type, "unknown")
    return _USAGE.get((entry.type, entry.subtype), unknown)
