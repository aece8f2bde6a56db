"""Flash memories as a host would leave them: boot loader, table, application, NVS."""

from __future__ import annotations

from collections.abc import Mapping

from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.descriptors import AppDescriptor
from harness.firmware.littlefs import build
from harness.firmware.made_builds import DEFAULT_PROGRAM, FLASH_SIZE, TABLE
from harness.firmware.made_images import IDF, application, bootloader
from harness.firmware.nvs_image import Value, generate
from harness.firmware.partition_table import APP, FACTORY, TABLE_OFFSET, Partition, PartitionTable
from tests.harness.virtual.memory import Memory

SLOT_0, SLOT_1 = TABLE.labelled("ota_0"), TABLE.labelled("ota_1")
OTADATA, NVS, STORAGE = TABLE.labelled("otadata"), TABLE.labelled("nvs"), TABLE.labelled("storage")
WITH_FACTORY = PartitionTable((*TABLE.entries[:-1], Partition("factory", APP, FACTORY, 0x3C0000, 0x40000)))
"""The same table, with a factory application in the place of the littlefs."""


def image(chip: ChipName = "esp32s3", version: str = "1.0.0", program: str = DEFAULT_PROGRAM) -> bytes:
    """An application."""
    descriptor = AppDescriptor("gateway_device", version, IDF)
    return application(CHIPS[chip], descriptor, program, flash_size=FLASH_SIZE).image


def flashed(
    chip: ChipName = "esp32s3",
    *,
    table: PartitionTable = TABLE,
    apps: Mapping[str, bytes] | None = None,
    nvs: Mapping[str, Mapping[str, Value]] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Memory:
    """A flash with a boot loader, a table, and what else is given; by default an application in ota_0."""
    memory = Memory(FLASH_SIZE)
    memory.put(CHIPS[chip].bootloader_offset, bootloader(CHIPS[chip], flash_size=FLASH_SIZE).image)
    memory.put(TABLE_OFFSET, table.to_bytes())
    for label, content in ({"ota_0": image(chip)} if apps is None else apps).items():
        memory.put(table.labelled(label).offset, content)
    if nvs is not None:
        memory.put(NVS.offset, generate(nvs, NVS.size))
    if files is not None:
        memory.put(STORAGE.offset, build(files, STORAGE.size))
    return memory
