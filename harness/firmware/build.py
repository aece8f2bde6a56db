"""A build of firmware as it is found in a folder: what goes where on the flash, and what it says of itself.

`find_build` knows four layouts, each in a file of its own: a build folder of ESP-IDF (`harness.firmware.esp_idf`), of
PlatformIO (`harness.firmware.platformio`), of Arduino (`harness.firmware.arduino`), and one merged image
(`harness.firmware.merged_image`). Everything is read at once: a build that is made anew meanwhile does not change under
those who flash it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from harness.firmware import arduino, esp_idf, merged_image, platformio
from harness.firmware.build_listing import Layout, Listing, Piece, read_limited
from harness.firmware.chips import Chip, chip_with_image_id
from harness.firmware.descriptors import AppDescriptor
from harness.firmware.errors import BadBuild, BadImage, BadPartitionTable
from harness.firmware.image import HEADER_BYTES, MAGIC, Image
from harness.firmware.partition_table import ENTRY_MAGIC, TABLE_OFFSET, PartitionTable

Role: TypeAlias = Literal["bootloader", "partition_table", "application", "data"]

ERASED_OTADATA = "otadata, erased"
"""Name of the part that is added where a build has none of its own."""
LAYOUTS = (
    f"{esp_idf.LIST} (ESP-IDF), {platformio.LIST} (PlatformIO: pio run -t idedata), "
    f"{arduino.LIST} or NAME.ino.bootloader.bin (Arduino), or one merged .bin"
)
_READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Listing]], ...] = (
    # first: with ESP-IDF under PlatformIO the folder has ESP-IDF's list as well, of files that are not there
    (lambda folder: (folder / platformio.LIST).is_file(), platformio.listed),
    (lambda folder: (folder / esp_idf.LIST).is_file(), esp_idf.listed),
    (arduino.is_one, arduino.listed),
)


class Part(msgspec.Struct, frozen=True):
    """One thing that is flashed.

    Attributes:
        offset: where to, in bytes from the start of flash.
        data: what.
        name: the file's name, or what it is called in a merged image.
        role: what it is for; ``data`` is everything but boot loader, table and application.
        label: of the partition that begins there; empty: none does, as with boot loader and table.
        path: the file; None: it was taken out of a merged image, or added.
    """

    offset: int
    data: bytes
    name: str
    role: Role
    label: str = ""
    path: Path | None = None

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + len(self.data)

    def __repr__(self) -> str:
        return f"Part({self.offset:#x}, {self.name!r}, {self.role}, {len(self.data)} bytes)"


class Build(msgspec.Struct, frozen=True):
    """A build, as it was when it was found; whether it fits is for `harness.firmware.fitness` to say.

    Attributes:
        path: of the folder, or of the merged image.
        layout: how it was found.
        chip: that it is for, as the layout says, or its application's header.
        parts: in the order of their offsets. Where the table has otadata and the build no part there, an erased one is
            added, or the board would go on with the slot of an earlier update.
        table: its partition table.
        flash_size: that it was made for, in bytes; None: the layout does not say.
        elf: the ELF file of the application, for decoding addresses; None: there is none.
        descriptor: what its application says of itself; None: nothing, or the image cannot be read.
    """

    path: Path
    layout: Layout
    chip: Chip
    parts: tuple[Part, ...]
    table: PartitionTable
    flash_size: int | None = None
    elf: Path | None = None
    descriptor: AppDescriptor | None = None

    @property
    def application(self) -> Part:
        """The application that is flashed."""
        return next(part for part in self.parts if part.role == "application")


def find_build(path: Path | str) -> Build:
    """Read the build in a folder, in a project's folder, or in the file of a merged image.

    Looked at are, in this order: the folder itself; ``build``, ``build/*`` and ``.pio/build/*`` below it; a merged
    image in it. A file is a merged image, or the list of its folder.

    Raises:
        BadBuild: there is none, or more than one; or one of its files cannot be read, or says what cannot be.
    """
    place = Path(path)
    if place.is_file():
        if place.name in {esp_idf.LIST, platformio.LIST, arduino.LIST}:
            return find_build(place.parent)
        return _merged(place)
    if not place.is_dir():
        raise BadBuild(place, "expected a build: a folder or a merged image, there is neither")
    below = [place / "build", *sorted(place.glob("build/*/")), *sorted(place.glob(".pio/build/*/"))]
    for folders in ([place], below):
        found = [(folder, reader) for folder in folders if (reader := _reader(folder))]
        if len(found) > 1:
            names = ", ".join(str(folder.relative_to(place)) for folder, _ in found)
            raise BadBuild(place, f"expected one build, there are several: {names}; name one of them")
        if found:
            folder, reader = found[0]
            return _listed(reader(folder))
    merged = sorted(filter(merged_image.looks_like_one, place.glob("*.bin")))
    if len(merged) == 1:
        return _merged(merged[0])
    several = ", there are several of these: " + ", ".join(file.name for file in merged) if merged else ""
    raise BadBuild(place, f"expected a build: {LAYOUTS}{several}")


def _reader(folder: Path) -> Callable[[Path], Listing] | None:
    return next((reader for is_one, reader in _READERS if is_one(folder)), None)


def _listed(listing: Listing) -> Build:
    pieces = [Piece(offset, path.name, read_limited(path), path) for offset, path in sorted(listing.files)]
    application = next((piece for piece in pieces if piece.offset == listing.application), None)
    if application is None:
        raise BadBuild(listing.source, f"expected the application at {listing.application:#x} in the list, it is not")
    chip = listing.chip or _chip_in(application.data)
    if chip is None:
        raise BadBuild(listing.source, "expected the chip, or an application for one that is supported")
    table = next(
        (piece for piece in pieces if piece.data.startswith(ENTRY_MAGIC) or piece.offset == TABLE_OFFSET), None
    )
    if table is None:
        raise BadBuild(listing.source, "expected a partition table in the list, there is none")
    return _joined(
        Build(listing.path, listing.layout, chip, (), _parsed(table), listing.flash_size, listing.elf),
        pieces,
        application,
        table,
    )


def _merged(path: Path) -> Build:
    chip, pieces, start = merged_image.taken_apart(path)
    table = next(piece for piece in pieces if piece.offset == TABLE_OFFSET)
    application = next(piece for piece in pieces if piece.offset == start)
    return _joined(Build(path, "merged", chip, (), _parsed(table)), pieces, application, table)


def _joined(build: Build, pieces: Iterable[Piece], application: Piece, table: Piece) -> Build:
    """Return a build with its parts, each in its role."""

    def role(piece: Piece) -> Role:
        if piece is application:
            return "application"
        if piece is table:
            return "partition_table"
        return "bootloader" if piece.offset == build.chip.bootloader_offset else "data"

    parts = [
        Part(piece.offset, piece.data, piece.name, role(piece), _label(build.table, piece.offset), piece.path)
        for piece in pieces
    ]
    otadata = build.table.otadata
    if otadata and not any(part.offset < otadata.end and otadata.offset < part.end for part in parts):
        parts.append(Part(otadata.offset, b"\xff" * otadata.size, ERASED_OTADATA, "data", otadata.label))
    return msgspec.structs.replace(
        build,
        parts=tuple(sorted(parts, key=lambda part: part.offset)),
        descriptor=_descriptor(application.data),
    )


def _parsed(table: Piece) -> PartitionTable:
    try:
        return PartitionTable.parse(table.data)
    except BadPartitionTable as bad:
        raise BadBuild(table.path or Path(table.name), str(bad)) from None


def _chip_in(image: bytes) -> Chip | None:
    if len(image) < HEADER_BYTES or image[0] != MAGIC:
        return None
    return chip_with_image_id(int.from_bytes(image[12:14], "little"))


def _descriptor(image: bytes) -> AppDescriptor | None:
    try:
        return Image.parse(image).descriptor
    except BadImage:
        return None  # fitness says what is wrong with it


def _label(table: PartitionTable, offset: int) -> str:
    partition = table.at(offset)
    return partition.label if partition else ""
