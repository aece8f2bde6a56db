"""One ``.bin`` that begins at 0x0 of the flash (``esptool merge-bin``): taken apart by the partition table inside it.

Flashing it as it is would write FF over the gaps between its parts, and the settings in NVS are in such a gap. So its
parts are looked for: boot loader, table, and each partition that is not all FF. Otadata is taken even if it is, since a
board has to forget which slot it started before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.firmware.build_listing import Piece, read_limited
from harness.firmware.chips import CHIPS, Chip
from harness.firmware.errors import BadBuild, BadImage, BadPartitionTable
from harness.firmware.image import HEADER_BYTES, MAGIC, Image
from harness.firmware.partition_table import TABLE_BYTES, TABLE_OFFSET, Partition, PartitionTable


class MergedImage(NamedTuple):
    """A merged image in its parts.

    Attributes:
        chip: that its boot loader is for.
        pieces: in the order of their offsets.
        application: offset of the application that is started first.
    """

    chip: Chip
    pieces: tuple[Piece, ...]
    application: int


def looks_like_one(path: Path) -> bool:
    """Whether a file has a partition table where a merged image has it."""
    if not path.is_file():  # a pipe would keep us waiting
        return False
    try:
        with path.open("rb") as file:
            file.seek(TABLE_OFFSET)
            PartitionTable.parse(file.read(TABLE_BYTES))
    except (OSError, BadPartitionTable):
        return False
    return True


def taken_apart(path: Path) -> MergedImage:
    """Read a merged image.

    Raises:
        BadBuild: it is none: there is no partition table at 0x8000, or no boot loader before it.
    """
    data = read_limited(path)
    try:
        table = PartitionTable.parse(data[TABLE_OFFSET : TABLE_OFFSET + TABLE_BYTES])
    except BadPartitionTable as bad:
        raise BadBuild(
            path, f"expected an image of the whole flash, with a partition table at {TABLE_OFFSET:#x}: {bad.why}"
        ) from None
    chip = _chip(path, data)
    applications = [partition for partition in table.applications if _used(data, partition)]
    if not applications:
        raise BadBuild(path, "expected an application in one of the partitions for them, they are all empty")
    bootloader = _trimmed(data[chip.bootloader_offset : TABLE_OFFSET])
    pieces = [
        Piece(chip.bootloader_offset, "boot loader", bootloader),
        Piece(TABLE_OFFSET, "partition table", data[TABLE_OFFSET : TABLE_OFFSET + TABLE_BYTES]),
        *_partitions(data, table),
    ]
    return MergedImage(chip, tuple(sorted(pieces)), applications[0].offset)


def _chip(path: Path, data: bytes) -> Chip:
    for chip in CHIPS.values():
        header = data[chip.bootloader_offset : chip.bootloader_offset + HEADER_BYTES]
        if header[:1] == bytes([MAGIC]) and int.from_bytes(header[12:14], "little") == chip.image_id:
            return chip
    places = ", ".join(f"{chip.bootloader_offset:#x} ({chip.name})" for chip in CHIPS.values())
    raise BadBuild(path, f"expected a boot loader at one of {places}, there is none")


def _partitions(data: bytes, table: PartitionTable) -> Iterator[Piece]:
    for partition in table.entries:
        content = data[partition.offset : partition.end]
        if partition.is_application and _used(data, partition):
            yield Piece(partition.offset, partition.label, _trimmed(content))
        elif partition == table.otadata:
            yield Piece(partition.offset, partition.label, content.ljust(partition.size, b"\xff"))
        elif not partition.is_application and _used(data, partition):
            yield Piece(partition.offset, partition.label, content)


def _used(data: bytes, partition: Partition) -> bool:
    return bool(data[partition.offset : partition.end].strip(b"\xff"))


def _trimmed(data: bytes) -> bytes:
    """Return an image without what follows it; of one that is damaged, everything up to the last byte not FF."""
    try:
        return data[: Image.parse(data).size]
    except BadImage:
        return data.rstrip(b"\xff")
