"""Refuses a build that would not run on a board, before anything of the board is touched; and says how full it is."""

from __future__ import annotations

import itertools

import msgspec

from harness.firmware.build import Build, Part
from harness.firmware.chips import Chip
from harness.firmware.errors import BadImage, BadOtaData, Unfit
from harness.firmware.image import Image
from harness.firmware.otadata import OtaData
from harness.firmware.partition_table import SECTOR


class PartSize(msgspec.Struct, frozen=True):
    """How much of its place a part takes.

    Attributes:
        name: of the part's file.
        label: of the partition; empty for boot loader and table.
        used: bytes of the part; of an image those up to its end, not what is filled up behind it.
        room: bytes there are.
    """

    name: str
    label: str
    used: int
    room: int

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return self.room - self.used


def fits(build: Build, chip: Chip, flash_size: int) -> None:
    """Check that a build can run on a board.

    Args:
        build: what is to be flashed.
        chip: of the board.
        flash_size: of the board, in bytes.

    Raises:
        Unfit: it cannot, with the first reason found: chip, images, table, flash size, places, overlaps.
    """
    if build.chip != chip:
        raise Unfit("chip", f"it is for {build.chip.name}, the board has {chip.name}")
    images = {part.offset: _image(part, chip) for part in build.parts if part.role in {"bootloader", "application"}}
    _check_table(build)
    _check_flash_size(build, images, flash_size)
    for part in build.parts:
        _check_place(build, part)
    for part, following in itertools.pairwise(build.parts):
        if part.end > following.offset:
            raise Unfit(
                "overlap", f"{part.name} ends at {part.end:#x}, {following.name} begins at {following.offset:#x}"
            )
    _check_chosen(build)


def sizes(build: Build) -> tuple[PartSize, ...]:
    """Return how much of its place each part takes; parts that lie in no place of the table are left out."""
    return tuple(
        PartSize(part.name, part.label, _used(part), room)
        for part in build.parts
        if (room := _room(build, part)) is not None
    )


def _image(part: Part, chip: Chip) -> Image:
    try:
        return Image.parse(part.data, chip)
    except BadImage as bad:
        raise Unfit("chip" if bad.kind == "chip" else "image", f"{part.name}: {bad.why}") from None


def _check_table(build: Build) -> None:
    complaints = build.table.complaints(table_offset=_table_part(build).offset)
    if complaints:
        raise Unfit("table", f"its partition table is wrong: {complaints[0]}")
    if not any(part.role == "bootloader" for part in build.parts):
        raise Unfit("offset", f"it has no boot loader at {build.chip.bootloader_offset:#x}")


def _check_flash_size(build: Build, images: dict[int, Image], flash_size: int) -> None:
    last = max(build.table, key=lambda partition: partition.end)
    if last.end > flash_size:
        raise Unfit("flash_size", f"{last} ends at {last.end:#x}, the board has {flash_size:#x} bytes of flash")
    bootloader = images[build.chip.bootloader_offset]
    believed = (1 << 20) << bootloader.flash_size
    if last.end > believed:
        raise Unfit(
            "flash_size", f"{last} ends at {last.end:#x}, its boot loader is set to {believed:#x} bytes of flash"
        )
    if believed > flash_size:
        raise Unfit(
            "flash_size", f"its boot loader is set to {believed:#x} bytes of flash, the board has {flash_size:#x}"
        )


def _check_place(build: Build, part: Part) -> None:
    room = _room(build, part)
    if room is None:
        places = ", ".join(f"{partition.label} at {partition.offset:#x}" for partition in build.table)
        raise Unfit("offset", f"{part.name} lies at {part.offset:#x}, where no partition begins: there are {places}")
    partition = build.table.at(part.offset)
    if part.role == "application" and not (partition and partition.is_application):
        raise Unfit("offset", f"{part.name} is an application and lies in {partition}")
    if len(part.data) > room:
        where = f"in {partition.label}" if partition else f"at {part.offset:#x}"
        raise Unfit("partition", f"{part.name} has {len(part.data):#x} bytes, there is room for {room:#x} {where}")


def _check_chosen(build: Build) -> None:
    """See that the boot loader would start the application that is flashed."""
    slots, factory = build.table.ota_slots, build.table.factory
    chosen = _chosen_slot(build)
    first = slots[chosen] if chosen is not None else factory or (slots[0] if slots else None)
    if first is None or first.offset != build.application.offset:
        would = f"would start {first.label}" if first else "has nothing to start"
        raise Unfit("offset", f"{build.application.name} lies in {build.application.label}, the boot loader {would}")


def _chosen_slot(build: Build) -> int | None:
    otadata = build.table.otadata
    part = next((part for part in build.parts if otadata and part.offset == otadata.offset), None)
    if part is None:
        return None
    try:
        return OtaData.parse(part.data).slot(len(build.table.ota_slots))
    except BadOtaData as bad:
        raise Unfit("offset", f"{part.name}: {bad}") from None


def _table_part(build: Build) -> Part:
    return next(part for part in build.parts if part.role == "partition_table")


def _room(build: Build, part: Part) -> int | None:
    """Return the bytes there are where a part begins; None: it begins where nothing is to begin."""
    if part.role == "partition_table":
        return SECTOR
    if part.role == "bootloader":
        return _table_part(build).offset - part.offset
    partition = build.table.at(part.offset)
    return partition.size if partition else None


def _used(part: Part) -> int:
    if part.role in {"bootloader", "application"}:
        try:
            return Image.parse(part.data).size
        except BadImage:
            pass  # then all of it counts
    return len(part.data)
