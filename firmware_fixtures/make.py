#!/usr/bin/env python3
"""Makes the builds in this folder anew: for each chip and version a build folder as ESP-IDF leaves it.

    python firmware_fixtures/make.py [--into FOLDER] [--spoiled FOLDER]

The images are made by ``esptool elf2image``, which runs as a separate program; the ELF files, the partition table and
the JSON files by `harness.firmware.made_builds`. The same versions of both give the same bytes, and a test sees to it.
``--spoiled`` makes one copy of the build for ESP32-C3 for each way to spoil it, in folders named after it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from harness.firmware.chips import CHIPS, Chip
from harness.firmware.made_builds import make_build
from harness.firmware.made_images import ELF_HASH_IN_IMAGE
from harness.firmware.spoiled_builds import SPOILINGS, spoil

VERSIONS = ("1.0.0", "1.1.0")
SPOILED_CHIP = CHIPS["esp32c3"]
SECONDS = 60.0
"""For one run of esptool, which takes less than one."""


def main() -> None:
    """Make what the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path(__file__).parent, help="default: the folder of this script")
    parser.add_argument("--spoiled", type=Path, help="make the spoiled builds in this folder instead")
    arguments = parser.parse_args()
    if arguments.spoiled:
        make_spoiled(arguments.spoiled)
    else:
        make_builds(arguments.into)


def make_builds(folder: Path) -> None:
    """Make each chip's builds in folders below."""
    for chip in CHIPS.values():
        for version in VERSIONS:
            make_build(folder / f"{chip.name}-{version}", chip, version=version, to_image=elf2image)


def make_spoiled(folder: Path) -> None:
    """Make one spoiled build for each way to spoil it."""
    for name in SPOILINGS:
        make_build(folder / name, SPOILED_CHIP)
        spoil(folder / name, name)


def elf2image(elf: Path, chip: Chip, flash_size: int) -> bytes:
    """Return the image that esptool makes of an ELF file; those with a descriptor get the ELF file's hash in it."""
    elf = elf.resolve()
    image = elf.with_suffix(".elf2image")
    command = [sys.executable, "-m", "esptool", "--chip", chip.name, "elf2image", "--output", str(image)]
    command += ["--flash-mode", "dio", "--flash-freq", "80m", "--flash-size", f"{flash_size >> 20}MB"]
    if elf.stem != "bootloader":
        command += ["--elf-sha256-offset", hex(ELF_HASH_IN_IMAGE)]
    # its own folder: esptool reads settings from the one it is started in
    done = subprocess.run(  # noqa: S603 - a list of our own
        [*command, str(elf)], cwd=elf.parent, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    made = image.read_bytes()
    image.unlink()
    return made


if __name__ == "__main__":
    main()
