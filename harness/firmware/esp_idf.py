"""A build folder of ESP-IDF: ``flasher_args.json`` lists the files, ``project_description.json`` names the ELF file.

Written by ESP-IDF's ``components/esptool_py`` and ``tools/cmake``; versions 4 to 6 differ only in the spelling of
options that nothing here reads.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.firmware.build_listing import Listing, beside, chip_of, flash_size_of, offset_of, read_description
from harness.firmware.errors import BadBuild

LIST = "flasher_args.json"
DESCRIPTION = "project_description.json"


class _File(msgspec.Struct):
    offset: str
    file: str
    encrypted: str | bool = "false"


class _Settings(msgspec.Struct):
    flash_size: str = "detect"


class _Extra(msgspec.Struct):
    chip: str = "auto"


class _FlasherArgs(msgspec.Struct):
    flash_files: dict[str, str]
    app: _File
    flash_settings: _Settings = msgspec.field(default_factory=_Settings)
    extra_esptool_args: _Extra = msgspec.field(default_factory=_Extra)


class _Project(msgspec.Struct):
    app_elf: str = ""


def listed(folder: Path) -> Listing:
    """Read the folder.

    Raises:
        BadBuild: one of the files cannot be read, or says what cannot be.
    """
    source = folder / LIST
    args = read_description(source, _FlasherArgs)
    if str(args.app.encrypted).lower() == "true":
        raise BadBuild(source, "the application is to be encrypted; boards with flash encryption are not supported")
    return Listing(
        layout="esp-idf",
        path=folder,
        source=source,
        files=tuple(
            (offset_of(offset, source, file), beside(folder, file)) for offset, file in args.flash_files.items()
        ),
        application=offset_of(args.app.offset, source, args.app.file),
        chip=chip_of(args.extra_esptool_args.chip, source),
        flash_size=flash_size_of(args.flash_settings.flash_size, source),
        elf=_elf(folder),
    )


def _elf(folder: Path) -> Path | None:
    description = folder / DESCRIPTION
    if not description.exists():
        return None
    name = read_description(description, _Project).app_elf
    path = beside(folder, name)
    return path if name and path.is_file() else None
