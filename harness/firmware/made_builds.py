"""Makes builds of firmware that no compiler made: genuine formats around a device program for a virtual board.

What is made is a build folder as ESP-IDF leaves it, small, and the same bytes for the same arguments. It needs nothing
but this package, and takes milliseconds. Real chips would accept its images, and then run an endless loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from harness.errors import Misuse
from harness.firmware.build import Build, find_build
from harness.firmware.chips import Chip
from harness.firmware.descriptors import AppDescriptor
from harness.firmware.esp_idf import DESCRIPTION, LIST
from harness.firmware.made_images import IDF, application, bootloader
from harness.firmware.otadata import OtaData
from harness.firmware.partition_table import APP, DATA, OTA_0, TABLE_OFFSET, Partition, PartitionTable

PROJECT = "gateway_device"
DEFAULT_PROGRAM = "#!builtin firmware"
"""Names the built-in device program that is a complete device; any other text is the Python source of one."""
FLASH_SIZE = 4 << 20
TABLE = PartitionTable(
    (
        Partition("nvs", DATA, 0x02, 0x9000, 0x4000),
        Partition("otadata", DATA, 0x00, 0xD000, 0x2000),
        Partition("phy_init", DATA, 0x01, 0xF000, 0x1000),
        Partition("ota_0", APP, OTA_0, 0x20000, 0x1D0000),
        Partition("ota_1", APP, OTA_0 + 1, 0x1F0000, 0x1D0000),
        Partition("storage", DATA, 0x83, 0x3C0000, 0x40000),
    )
)
"""For 4 MiB of flash: begins like the tables of the xiaozhi firmware; two slots of equal size, and a littlefs."""

ToImage: TypeAlias = Callable[[Path, Chip, int], bytes]
"""Turns an ELF file into an image for a chip and a flash size, for example with ``esptool elf2image``."""


def make_build(
    folder: Path,
    chip: Chip,
    *,
    version: str = "1.0.0",
    project: str = PROJECT,
    program: str = DEFAULT_PROGRAM,
    table: PartitionTable = TABLE,
    flash_size: int = FLASH_SIZE,
    contents: Mapping[str, bytes] | None = None,
    least_bytes: int = 0,
    to_image: ToImage | None = None,
) -> Build:
    """Make a build in a folder, which may exist, and return what `find_build` finds in it.

    Args:
        folder: its files are overwritten.
        chip: that it is for.
        version: what its application says of itself, at most 31 bytes.
        project: likewise; the files are named after it.
        program: the device program it carries.
        table: its partitions; the application goes into the first for applications.
        flash_size: in bytes, a power of two.
        contents: what else is flashed, by the label of its partition, for example a littlefs for ``storage``.
        least_bytes: the application's image gets at least so large.
        to_image: makes the images out of the ELF files; None: this package does, with the same result.

    Raises:
        Misuse: an argument that cannot be.
    """
    files = _Files(folder)
    descriptor = AppDescriptor(project, version, IDF)
    app = application(chip, descriptor, program, flash_size=flash_size, least_bytes=least_bytes)
    boot = bootloader(chip, flash_size=flash_size)
    if not table.applications:
        raise Misuse("expected a partition table with a partition for an application, there is none")
    files.elf_and_image(f"{project}.elf", app.elf, app.image, to_image, chip, flash_size)
    files.elf_and_image("bootloader/bootloader.elf", boot.elf, boot.image, to_image, chip, flash_size)
    files.flash("bootloader", chip.bootloader_offset, "bootloader/bootloader.bin")
    files.write("partition_table/partition-table.bin", table.to_bytes())
    files.flash("partition-table", TABLE_OFFSET, "partition_table/partition-table.bin")
    if table.otadata:
        files.write("ota_data_initial.bin", OtaData().to_bytes())
        files.flash("otadata", table.otadata.offset, "ota_data_initial.bin")
    files.flash("app", table.applications[0].offset, f"{project}.bin")
    for label, content in (contents or {}).items():
        files.write(f"{label}.bin", content)
        files.flash(label, table.labelled(label).offset, f"{label}.bin")
    _describe(files, chip, project, version, flash_size)
    return find_build(folder)


class _Files:
    """Writes the files of a build, and keeps the list of those to be flashed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.flashed: dict[str, tuple[int, str]] = {}

    def write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def write_json(self, name: str, value: object) -> None:
        self.write(name, json.dumps(value, indent=4).encode() + b"\n")

    def flash(self, key: str, offset: int, name: str) -> None:
        self.flashed[key] = offset, name

    def elf_and_image(
        self, name: str, elf: bytes, image: bytes, to_image: ToImage | None, chip: Chip, flash_size: int
    ) -> None:
        self.write(name, elf)
        made = to_image(self._folder / name, chip, flash_size) if to_image else image
        self.write(str(Path(name).with_suffix(".bin")), made)


def _describe(files: _Files, chip: Chip, project: str, version: str, flash_size: int) -> None:
    """Write the JSON files that ESP-IDF writes, with the members that tools read."""
    settings = {"flash_mode": "dio", "flash_size": f"{flash_size >> 20}MB", "flash_freq": "80m"}
    entries = {
        key: {"offset": hex(offset), "file": name, "encrypted": "false"}
        for key, (offset, name) in files.flashed.items()
    }
    args = {
        "write_flash_args": [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", value)],
        "flash_settings": settings,
        "flash_files": {entry["offset"]: entry["file"] for entry in entries.values()},
        **entries,
        "extra_esptool_args": {"after": "hard-reset", "before": "default-reset", "stub": True, "chip": chip.name},
    }
    description = {
        "version": "1.3",
        "project_name": project,
        "project_version": version,
        "config_file": "config/sdkconfig.json",
        "bootloader_elf": "bootloader/bootloader.elf",
        "app_elf": f"{project}.elf",
        "app_bin": f"{project}.bin",
        "target": chip.name,
    }
    config = {
        "IDF_TARGET": chip.name,
        "ESPTOOLPY_FLASHSIZE": settings["flash_size"],
        "PARTITION_TABLE_OFFSET": TABLE_OFFSET,
    }
    files.write_json(LIST, args)
    files.write_json(DESCRIPTION, description)
    files.write_json("config/sdkconfig.json", config)
