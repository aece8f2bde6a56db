"""The chips that are supported, by the facts that images and boot loaders state of them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from harness.errors import Misuse

ChipName: TypeAlias = Literal["esp32", "esp32s3", "esp32c3"]
Architecture: TypeAlias = Literal["xtensa", "riscv"]


class Chip(msgspec.Struct, frozen=True):
    """One kind of chip.

    Attributes:
        name: as ``--chip`` of esptool and ``IDF_TARGET`` spell it.
        title: as people, and the ROM, write it.
        image_id: in the header of its images (ESP-IDF, ``esp_chip_id_t``).
        architecture: of its cores; decides how a panic looks.
        bootloader_offset: where its ROM looks for the second-stage boot loader, in bytes from the start of flash.
    """

    name: ChipName
    title: str
    image_id: int
    architecture: Architecture
    bootloader_offset: int


# ESP-IDF: components/esp_rom/*/esp_image_format, esp_chip_id_t; CONFIG_BOOTLOADER_OFFSET_IN_FLASH of each target.
CHIPS: dict[ChipName, Chip] = {
    chip.name: chip
    for chip in (
        Chip("esp32", "ESP32", 0, "xtensa", 0x1000),
        Chip("esp32s3", "ESP32-S3", 9, "xtensa", 0x0),
        Chip("esp32c3", "ESP32-C3", 5, "riscv", 0x0),
    )
}


def chip_named(name: str) -> Chip:
    """Return the chip with this name; dashes and capitals do not matter.

    Raises:
        Misuse: there is none, with those there are.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    for chip in CHIPS.values():
        if chip.name == plain:
            return chip
    raise Misuse(f"expected one of {', '.join(CHIPS)}, got {name!r}")


def chip_with_image_id(image_id: int) -> Chip | None:
    """Return the chip that images with this number are for; None: not a supported one."""
    return next((chip for chip in CHIPS.values() if chip.image_id == image_id), None)
