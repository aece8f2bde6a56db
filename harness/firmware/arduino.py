"""A build folder of Arduino (``arduino-cli compile --build-path`` or ``--output-dir``), core for ESP32 2.0 or newer.

Newer cores write ``flash_args``: options in its first line, then an offset and a file in each. Where it is missing
(``--output-dir`` of older ones), the names of the files say what they are, and the partition table where they go.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.firmware.build_listing import Listing, beside, flash_size_of, offset_of, read_limited, read_text
from harness.firmware.chips import chip_with_image_id
from harness.firmware.errors import BadBuild
from harness.firmware.image import HEADER_BYTES, MAGIC
from harness.firmware.partition_table import TABLE_OFFSET
from harness.firmware.platformio import first_slot

LIST = "flash_args"
OPTIONS = "build.options.json"
_BOOTLOADER = ".bootloader.bin"
_TABLE = ".partitions.bin"


def is_one(folder: Path) -> bool:
    """Whether a folder looks like one; ESP-IDF's have a ``flash_args`` too, so they are to be asked first."""
    names = (folder / LIST, folder / OPTIONS)
    return any(name.is_file() for name in names) or any(folder.glob(f"*{_BOOTLOADER}"))


def listed(folder: Path) -> Listing:
    """Read the folder.

    Raises:
        BadBuild: one of the files cannot be read, or says what cannot be.
    """
    sketch = _sketch(folder)
    source = folder / LIST
    if source.is_file():
        files, flash_size = _flash_args(source, folder)
        application = next((offset for offset, path in files if path.name == f"{sketch}.bin"), None)
        if application is None:
            raise BadBuild(source, f"expected {sketch}.bin in the list, it is not there")
    else:
        bootloader, table = folder / (sketch + _BOOTLOADER), folder / (sketch + _TABLE)
        files = [(_bootloader_offset(bootloader), bootloader), (TABLE_OFFSET, table)]
        application, flash_size = first_slot(files, table), None
        files.append((application, folder / f"{sketch}.bin"))
    elf = folder / f"{sketch}.elf"
    return Listing(
        layout="arduino",
        path=folder,
        source=source if source.is_file() else folder,
        files=tuple(files),
        application=application,
        flash_size=flash_size,
        elf=elf if elf.is_file() else None,
    )


def _sketch(folder: Path) -> str:
    """Return the name that all files of the build begin with, for example ``blink.ino``."""
    names = sorted(path.name.removesuffix(_TABLE) for path in folder.glob(f"*{_TABLE}"))
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise BadBuild(folder, f"expected the files of one sketch (NAME.ino{_TABLE}, ...), there are {found}")
    return names[0]


def _flash_args(source: Path, folder: Path) -> tuple[list[tuple[int, Path]], int | None]:
    try:
        words = shlex.split(read_text(source))
    except ValueError as wrong:
        raise BadBuild(source, f"expected options, offsets and files: {wrong}") from None
    files: list[tuple[int, Path]] = []
    flash_size: int | None = None
    while words:
        word = words.pop(0)
        if not words:
            raise BadBuild(source, f"expected something behind {word!r}, it is the last word")
        following = words.pop(0)
        if word.startswith("-"):
            if word.replace("_", "-") == "--flash-size":
                flash_size = flash_size_of(following, source)
        else:
            files.append((offset_of(word, source, following), beside(folder, following)))
    return files, flash_size


def _bootloader_offset(path: Path) -> int:
    """Return where a boot loader goes, by the chip in its header: the older cores say it nowhere else."""
    header = read_limited(path)[:HEADER_BYTES]
    chip = chip_with_image_id(int.from_bytes(header[12:14], "little"))
    if len(header) < HEADER_BYTES or header[0] != MAGIC or chip is None:
        raise BadBuild(path, "expected a boot loader for a chip that is supported")
    return chip.bootloader_offset
