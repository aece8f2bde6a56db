"""Makes an application and a boot loader without a compiler: ELF file and image of each, with genuine headers.

Code that runs is an endless loop; the rest is descriptors, and the text of a device program for a virtual board.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from harness.firmware.chips import Chip, ChipName
from harness.firmware.descriptors import ELF_HASH_OFFSET, AppDescriptor, BootloaderDescriptor, program_block
from harness.firmware.elf import LOOPS, Section, elf_file
from harness.firmware.image import Segment
from harness.firmware.image_writer import image_file, mapped_at

IDF = "none (virtual)"
"""The version of ESP-IDF, as descriptors and boot logs name it: no ESP-IDF was there."""
FIRST_MAPPED = 0x20
"""Of the first segment's bytes within the file, and so within its page of memory."""
ELF_HASH_IN_IMAGE = FIRST_MAPPED + ELF_HASH_OFFSET
"""Where an application's image has the SHA-256 of its ELF file."""


class MadeImage(NamedTuple):
    """An image, and the ELF file it is made of."""

    elf: bytes
    image: bytes


class MemoryMap(msgspec.Struct, frozen=True):
    """Where the segments of an image lie in a chip's address space (the linker scripts of ESP-IDF)."""

    drom: int
    irom: int
    dram: int
    iram: int
    bootloader_dram: int
    bootloader_iram: int


MEMORY: dict[ChipName, MemoryMap] = {
    "esp32": MemoryMap(0x3F400000, 0x400D0000, 0x3FFB0000, 0x40080000, 0x3FFF0030, 0x40078000),
    "esp32s3": MemoryMap(0x3C000000, 0x42000000, 0x3FC90000, 0x40374000, 0x3FCE3818, 0x403C9700),
    "esp32c3": MemoryMap(0x3C000000, 0x42000000, 0x3FC90000, 0x40380000, 0x3FCD5820, 0x403CC710),
}


def application(
    chip: Chip, descriptor: AppDescriptor, program: str, *, flash_size: int, least_bytes: int = 0
) -> MadeImage:
    """Return an application that carries a device program.

    Args:
        chip: that it is for.
        descriptor: who it is; its ELF hash is replaced by the right one.
        program: text of the device program.
        flash_size: in bytes, for the header.
        least_bytes: the image gets at least so large, filled up with zeros behind the program.
    """
    memory = MEMORY[chip.name]
    loop = LOOPS[chip.architecture]
    blank = msgspec.structs.replace(descriptor, elf_sha256="00" * 32).to_bytes()
    constants = (blank + program_block(program)).ljust(least_bytes, b"\0")
    code = mapped_at(memory.irom, [len(constants)])
    sections = [
        Section(".flash.appdesc", memory.drom + FIRST_MAPPED, constants),
        Section(".flash.text", code, loop * 4, executable=True),
        Section(".dram0.data", memory.dram, b"data"),
        Section(".iram0.text", memory.iram, loop * 4, executable=True),
    ]
    elf = elf_file(chip.architecture, code, sections)
    named = msgspec.structs.replace(descriptor, elf_sha256=hashlib.sha256(elf).hexdigest()).to_bytes()
    segments = [Segment(section.address, section.data) for section in sections]
    segments[0] = Segment(sections[0].address, named + constants[len(named) :])
    return MadeImage(elf, image_file(chip, code, segments, flash_size=flash_size))


def bootloader(chip: Chip, *, flash_size: int) -> MadeImage:
    """Return a second-stage boot loader; it lies in RAM only."""
    memory = MEMORY[chip.name]
    sections = [
        Section(".dram0.bootdesc", memory.bootloader_dram, BootloaderDescriptor(1, IDF).to_bytes()),
        Section(".iram.text", memory.bootloader_iram, LOOPS[chip.architecture] * 4, executable=True),
    ]
    entry = memory.bootloader_iram
    segments = [Segment(section.address, section.data) for section in sections]
    return MadeImage(
        elf_file(chip.architecture, entry, sections), image_file(chip, entry, segments, flash_size=flash_size)
    )
