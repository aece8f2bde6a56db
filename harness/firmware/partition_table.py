"""The partition table of ESP-IDF in its binary form: read, checked, asked, written.

Format: ESP-IDF, "Partition Tables" (API guides) and ``esp_partition_info_t``. Everything is little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from harness.errors import Misuse
from harness.firmware.errors import BadPartitionTable, NoSuchPartition

TABLE_OFFSET = 0x8000
"""Where ESP-IDF puts the table unless ``CONFIG_PARTITION_TABLE_OFFSET`` says otherwise, in bytes."""
TABLE_BYTES = 0xC00
"""Of a table, filled up with FF; it has a sector of 0x1000 to itself."""
SECTOR = 0x1000
"""Of flash: what is erased at once. Partitions begin and end on one."""
APP_ALIGNMENT = 0x10000
"""Applications begin on a page of the MMU."""
ENTRY_BYTES = 32
ENTRY_MAGIC = b"\xaa\x50"
LABEL_BYTES = 16

APP: Final = 0x00
DATA: Final = 0x01
FACTORY: Final = 0x00
OTA_0: Final = 0x10
OTA_SLOTS: Final = 16

TYPES = {"app": APP, "data": DATA, "bootloader": 0x02, "partition_table": 0x03}
SUBTYPES: dict[int, dict[str, int]] = {
    APP: {"factory": FACTORY, **{f"ota_{n}": OTA_0 + n for n in range(OTA_SLOTS)}, "test": 0x20},
    DATA: {
        "ota": 0x00,
        "phy": 0x01,
        "nvs": 0x02,
        "coredump": 0x03,
        "nvs_keys": 0x04,
        "efuse": 0x05,
        "undefined": 0x06,
        "esphttpd": 0x80,
        "fat": 0x81,
        "spiffs": 0x82,
        "littlefs": 0x83,
    },
}

_ENTRY = struct.Struct("<2sBBII16sI")
_MD5_MAGIC = b"\xeb\xeb"
_END = b"\xff" * ENTRY_BYTES
_ENCRYPTED = 1 << 0
_READ_ONLY = 1 << 1


class Partition(msgspec.Struct, frozen=True):
    """One partition.

    Attributes:
        label: at most 16 characters of ASCII.
        type: 0 for applications, 1 for data, others by project (`TYPES`).
        subtype: what kind of it (`SUBTYPES`).
        offset: from the start of flash, in bytes.
        size: in bytes.
        encrypted, read_only: its flags.
    """

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    encrypted: bool = False
    read_only: bool = False

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.size

    @property
    def kind(self) -> str:
        """Type and subtype in the words of a partition table's CSV, for example ``data/nvs``; numbers if unknown."""
        types = {number: name for name, number in TYPES.items()}
        subtypes = {number: name for name, number in SUBTYPES.get(self.type, {}).items()}
        return f"{types.get(self.type, f'{self.type:#04x}')}/{subtypes.get(self.subtype, f'{self.subtype:#04x}')}"

    @property
    def is_application(self) -> bool:
        """Whether it holds an application: factory, one of the OTA slots, or test."""
        return self.type == APP

    @property
    def is_ota_slot(self) -> bool:
        """Whether it is one of the slots that otadata chooses from."""
        return self.type == APP and OTA_0 <= self.subtype < OTA_0 + OTA_SLOTS

    def __str__(self) -> str:
        return f"{self.label} ({self.kind}, {self.offset:#x}, {self.size:#x} bytes)"


class PartitionTable(msgspec.Struct, frozen=True):
    """A partition table.

    Attributes:
        entries: its partitions, in its order.
    """

    entries: tuple[Partition, ...]

    @classmethod
    def parse(cls, data: bytes | memoryview) -> PartitionTable:
        """Read the table these bytes begin with; at most `TABLE_BYTES` of them are looked at.

        The MD5 is checked where there is one (``CONFIG_PARTITION_TABLE_MD5``, on by default). Where the partitions
        lie is not judged here: `complaints` does that.

        Raises:
            BadPartitionTable: it is not one, or its MD5 does not hold.
        """
        raw = bytes(data[:TABLE_BYTES])
        entries: list[Partition] = []
        checked = False
        for at in range(0, len(raw), ENTRY_BYTES):
            row = raw[at : at + ENTRY_BYTES]
            if row == _END:
                break
            if row[:2] == _MD5_MAGIC:
                _check_md5(raw[:at], row)
                checked = True
            elif checked:
                raise BadPartitionTable(f"expected nothing behind the MD5, there is an entry at {at:#x}")
            else:
                entries.append(_entry(row, len(entries)))
        if not entries:
            raise BadPartitionTable("expected at least one entry, it is empty")
        return cls(tuple(entries))

    def to_bytes(self) -> bytes:
        """Return the table as it lies on the flash: entries, MD5, FF up to `TABLE_BYTES`.

        Raises:
            Misuse: more entries than there is room for, or a label that does not fit.
        """
        if len(self.entries) > TABLE_BYTES // ENTRY_BYTES - 2:
            raise Misuse(f"expected at most {TABLE_BYTES // ENTRY_BYTES - 2} partitions, got {len(self.entries)}")
        rows = b"".join(_encoded(partition) for partition in self.entries)
        return (rows + _MD5_MAGIC + b"\xff" * 14 + _md5(rows)).ljust(TABLE_BYTES, b"\xff")

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.entries)

    # --- asking -------------------------------------------------------------------------------------------------

    def labelled(self, label: str) -> Partition:
        """Return the partition with this label.

        Raises:
            NoSuchPartition: there is none, with the labels there are.
        """
        found = next((partition for partition in self.entries if partition.label == label), None)
        if found is None:
            raise NoSuchPartition(label, (partition.label for partition in self.entries))
        return found

    def find(self, kind: str) -> Partition | None:
        """Return the first partition of a kind, for example ``data/ota``; None: there is none."""
        return next((partition for partition in self.entries if partition.kind == kind), None)

    @property
    def factory(self) -> Partition | None:
        """The factory application's partition; many tables have none."""
        return self.find("app/factory")

    @property
    def ota_slots(self) -> tuple[Partition, ...]:
        """The slots that otadata chooses from, ota_0 first, wherever they lie."""
        return tuple(sorted((p for p in self.entries if p.is_ota_slot), key=lambda slot: slot.subtype))

    @property
    def applications(self) -> tuple[Partition, ...]:
        """Where applications are looked for: factory if there is one, then the OTA slots."""
        return (*((self.factory,) if self.factory else ()), *self.ota_slots)

    @property
    def otadata(self) -> Partition | None:
        """Where it is written down which slot to start; None: a table without OTA."""
        return self.find("data/ota")

    def at(self, offset: int) -> Partition | None:
        """Return the partition that begins at this offset; None: none does."""
        return next((partition for partition in self.entries if partition.offset == offset), None)

    def complaints(self, flash_size: int | None = None, *, table_offset: int = TABLE_OFFSET) -> list[str]:
        """Say what is wrong with where the partitions lie: alignment, overlaps, the end of flash. Empty: nothing.

        The rules are those that ESP-IDF's ``gen_esp32part.py`` makes tables by; a boot loader checks the last only.
        """
        said = [text for partition in self.entries for text in _misalignments(partition)]
        last_end, last_label = table_offset + SECTOR, "the partition table"
        for partition in sorted(self.entries, key=lambda entry: entry.offset):
            # boot loader and table may be listed as partitions of their own, below the end of the table
            if partition.type in {APP, DATA} and partition.offset < last_end:
                said.append(f"{partition} overlaps {last_label}, which ends at {last_end:#x}")
            if partition.end > last_end:
                last_end, last_label = partition.end, partition.label
        labels = [partition.label for partition in self.entries]
        said += [f"there are two partitions {label!r}" for label in sorted(set(labels)) if labels.count(label) > 1]
        if flash_size is not None:
            said += [f"{p} ends behind the flash of {flash_size:#x} bytes" for p in self.entries if p.end > flash_size]
        return said


def _check_md5(rows: bytes, entry: bytes) -> None:
    if len(entry) < ENTRY_BYTES:
        raise BadPartitionTable("expected the MD5 of the table, it is cut off")
    if entry[16:] != _md5(rows):
        raise BadPartitionTable(f"expected the MD5 {_md5(rows).hex()}, it is {entry[16:].hex()}")


def _entry(row: bytes, number: int) -> Partition:
    if row[:2] != ENTRY_MAGIC:
        raise BadPartitionTable(
            f"expected entry {number} to begin with {ENTRY_MAGIC.hex()}, it does with {row[:2].hex()}"
        )
    if len(row) < ENTRY_BYTES:
        raise BadPartitionTable(f"expected entry {number} to have {ENTRY_BYTES} bytes, there are {len(row)}")
    _, kind, subtype, offset, size, label, flags = _ENTRY.unpack(row)
    return Partition(
        label=label.split(b"\0", 1)[0].decode("utf-8", "replace"),
        type=kind,
        subtype=subtype,
        offset=offset,
        size=size,
        encrypted=bool(flags & _ENCRYPTED),
        read_only=bool(flags & _READ_ONLY),
    )


def _encoded(partition: Partition) -> bytes:
    label = partition.label.encode()
    if len(label) > LABEL_BYTES:
        raise Misuse(f"expected a label of at most {LABEL_BYTES} bytes, got {partition.label!r}")
    flags = _ENCRYPTED * partition.encrypted | _READ_ONLY * partition.read_only
    return _ENTRY.pack(
        ENTRY_MAGIC,
        partition.type,
        partition.subtype,
        partition.offset,
        partition.size,
        label.ljust(LABEL_BYTES, b"\0"),
        flags,
    )


def _md5(rows: bytes) -> bytes:
    return hashlib.md5(rows, usedforsecurity=False).digest()


def _misalignments(partition: Partition) -> Iterator[str]:
    alignment = APP_ALIGNMENT if partition.is_application else SECTOR
    if partition.offset % alignment:
        yield f"{partition} does not begin on a multiple of {alignment:#x}"
    if not partition.size or (partition.is_application and partition.size % SECTOR):
        yield f"{partition} does not have a size of whole sectors of {SECTOR:#x} bytes"
