"""A build folder of PlatformIO (``.pio/build/<environment>``): ``idedata.json`` lists the files.

``pio run -t idedata`` writes it. The application is not in its list: it is the ``.bin`` beside the ELF file, and goes
to ``application_offset``, or, where the platform does not say so, into the table's first slot for applications.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.firmware.build_listing import Listing, beside, offset_of, read_description, read_limited
from harness.firmware.errors import BadBuild, BadPartitionTable
from harness.firmware.partition_table import TABLE_BYTES, TABLE_OFFSET, PartitionTable

LIST = "idedata.json"


class _File(msgspec.Struct):
    offset: str
    path: str


class _Extra(msgspec.Struct):
    flash_images: list[_File]
    application_offset: str | None = None


class _IdeData(msgspec.Struct):
    prog_path: str
    extra: _Extra


def listed(folder: Path) -> Listing:
    """Read the folder.

    Raises:
        BadBuild: one of the files cannot be read, or says what cannot be.
    """
    source = folder / LIST
    data = read_description(source, _IdeData)
    elf = beside(folder, data.prog_path)
    files = [(offset_of(file.offset, source, file.path), beside(folder, file.path)) for file in data.extra.flash_images]
    if data.extra.application_offset is not None:
        application = offset_of(data.extra.application_offset, source, "the application")
    else:
        application = first_slot(files, source)
    return Listing(
        layout="platformio",
        path=folder,
        source=source,
        files=(*files, (application, elf.with_suffix(".bin"))),
        application=application,
        elf=elf if elf.is_file() else None,
    )


def first_slot(files: list[tuple[int, Path]], source: Path) -> int:
    """Return where the listed partition table has its first slot for applications.

    Raises:
        BadBuild: there is no table in the list, or it has no such slot.
    """
    path = next((path for offset, path in files if offset == TABLE_OFFSET), None)
    if path is None:
        raise BadBuild(source, f"expected a partition table at {TABLE_OFFSET:#x}, there is none in the list")
    try:
        applications = PartitionTable.parse(read_limited(path)[:TABLE_BYTES]).applications
    except BadPartitionTable as bad:
        raise BadBuild(path, str(bad)) from None
    if not applications:
        raise BadBuild(path, "expected a partition for an application, there is none in the table")
    return applications[0].offset
