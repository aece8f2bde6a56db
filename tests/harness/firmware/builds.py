"""Builds in the layouts of other build systems, made of one in ESP-IDF's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from harness.firmware.build import Build
from harness.firmware.chips import CHIPS, Chip
from harness.firmware.made_builds import make_build

C3 = CHIPS["esp32c3"]
FLASH = 4 << 20


def build_in(folder: Path, chip: Chip = C3, **arguments: object) -> Build:
    """A small build for 4 MiB of flash."""
    return make_build(folder, chip, **arguments)  # type: ignore[arg-type]


def as_platformio(build: Build, folder: Path, *, application_offset: bool = True) -> Path:
    """The folder of an environment of PlatformIO."""
    folder.mkdir(parents=True)
    names = {"bootloader": "bootloader.bin", "partition_table": "partitions.bin", "data": "boot_app0.bin"}
    images = []
    for part in build.parts:
        if part.role != "application":
            (folder / names[part.role]).write_bytes(part.data)
            images.append({"offset": hex(part.offset), "path": str(folder / names[part.role])})
    (folder / "firmware.bin").write_bytes(build.application.data)
    shutil.copy(str(build.elf), folder / "firmware.elf")
    extra: dict[str, object] = {"flash_images": images}
    if application_offset:
        extra["application_offset"] = hex(build.application.offset)
    (folder / "idedata.json").write_text(json.dumps({"prog_path": str(folder / "firmware.elf"), "extra": extra}))
    return folder


def as_arduino(build: Build, folder: Path, *, flash_args: bool = True) -> Path:
    """The folder that ``arduino-cli compile --build-path`` fills."""
    folder.mkdir(parents=True)
    names = {
        "bootloader": "blink.ino.bootloader.bin",
        "partition_table": "blink.ino.partitions.bin",
        "application": "blink.ino.bin",
        "data": "boot_app0.bin",
    }
    lines = ["--flash_mode dio --flash_freq 80m --flash_size 4MB"]
    for part in build.parts:
        if flash_args or part.role != "data":
            (folder / names[part.role]).write_bytes(part.data)
        lines.append(f"{part.offset:#x} {names[part.role]}")
    shutil.copy(str(build.elf), folder / "blink.ino.elf")
    (folder / "build.options.json").write_text('{"fqbn": "esp32:esp32:esp32c3"}')
    if flash_args:
        (folder / "flash_args").write_text("\n".join(lines) + "\n")
    return folder


def merged(build: Build, size: int = FLASH) -> bytes:
    """What ``esptool merge-bin`` makes of the build: its parts, and FF between them."""
    flash = bytearray(b"\xff" * size)
    for part in build.parts:
        flash[part.offset : part.end] = part.data
    return bytes(flash[: max(part.end for part in build.parts)])
