"""Checks an application as the second-stage boot loader does, and says what it says, in its words.

Texts and their order: ESP-IDF, ``components/bootloader_support/src/esp_image_format.c`` and
``bootloader_common_loader.c``. What decides is `harness.firmware.image.Image.parse`; here is only how it is said.
"""

from __future__ import annotations

import struct

from harness.firmware.chips import Chip, ChipName
from harness.firmware.errors import BadImage
from harness.firmware.image import (
    CHECKSUM_ROW,
    CHECKSUM_SEED,
    HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    SEGMENTS,
    Image,
    xor_of,
)
from harness.firmware.partition_table import Partition
from harness.virtual.boot_log import BootLog
from harness.virtual.machine import FlashMemory

_TAG = "esp_image"
_LONGEST_SEGMENT = 0x1000000  # ESP_IMAGE_MAX_FLASH_ADDR_SIZE

# What is mapped rather than loaded: DROM and IROM of each chip (soc/<chip>/include/soc/soc.h).
_MAPPED: dict[ChipName, tuple[range, ...]] = {
    "esp32": (range(0x3F400000, 0x3F800000), range(0x400D0000, 0x40400000)),
    "esp32s3": (range(0x3C000000, 0x3E000000), range(0x42000000, 0x44000000)),
    "esp32c3": (range(0x3C000000, 0x3C800000), range(0x42000000, 0x42800000)),
}


def check(flash: FlashMemory, partition: Partition, chip: Chip, log: BootLog) -> Image | None:
    """Read and check the application in a partition, and log what the boot loader does; None: it cannot be started."""
    raw = flash.read(partition.offset, max(min(partition.size, flash.size - partition.offset), 0))
    try:
        image = Image.parse(raw, chip)
    except BadImage as bad:
        tag, text = complaint(raw, partition, chip, bad)
        if bad.kind not in {"magic", "chip", "segments"}:
            _log_segments(whole_segments(raw), partition.offset, chip, log)
        log("E", tag, text)
        return None
    _log_segments([(segment.address, len(segment.data)) for segment in image.segments], partition.offset, chip, log)
    return image


def complaint(raw: bytes, partition: Partition, chip: Chip, bad: BadImage) -> tuple[str, str]:
    """Return tag and text of what the boot loader says of an image that fails a check."""
    at = partition.offset
    if bad.kind == "magic" or len(raw) < HEADER_BYTES:
        return _TAG, f"image at {at:#x} has invalid magic byte (nothing flashed here?)"
    if bad.kind == "chip":
        found = int.from_bytes(raw[12:14], "little")
        return "boot_comm", f"mismatch chip ID, expected {chip.image_id}, found {found}"
    if bad.kind == "segments" and raw[1] > SEGMENTS:
        return _TAG, f"image at {at:#x} segment count {raw[1]} exceeds max {SEGMENTS}"
    if bad.kind == "truncated":
        return _TAG, _too_long(raw, partition)
    if bad.kind == "hash":
        return _TAG, "Image hash failed - image is corrupt"
    calculated, stored = checksums(raw)
    return _TAG, f"Checksum failed. Calculated {calculated:#x} read {stored:#x}"


def _too_long(raw: bytes, partition: Partition) -> str:
    length = HEADER_BYTES
    for _ in range(raw[1]):
        if length + SEGMENT_HEADER_BYTES > len(raw):
            break
        size = int.from_bytes(raw[length + 4 : length + 8], "little")
        if size % 4 or size >= _LONGEST_SEGMENT:
            return f"invalid segment length {size:#x}"
        length += SEGMENT_HEADER_BYTES + size
    return f"Image length {length} doesn't fit in partition length {partition.size}"


def whole_segments(raw: bytes) -> list[tuple[int, int]]:
    """Return address and length of each segment that ends where its data does."""
    found: list[tuple[int, int]] = []
    at = HEADER_BYTES
    for _ in range(raw[1]):
        if at + SEGMENT_HEADER_BYTES > len(raw):
            break
        address, size = struct.unpack_from("<II", raw, at)
        at += SEGMENT_HEADER_BYTES + size
        if at > len(raw):
            break
        found.append((address, size))
    return found


def checksums(raw: bytes) -> tuple[int, int]:
    """Return the checksum of the segments, and the one that is stored behind them."""
    calculated, at = CHECKSUM_SEED, HEADER_BYTES
    for _, size in whole_segments(raw):
        begin = at + SEGMENT_HEADER_BYTES
        calculated ^= xor_of(raw[begin : begin + size])
        at = begin + size
    return calculated, raw[at + CHECKSUM_ROW - at % CHECKSUM_ROW - 1]


def _log_segments(segments: list[tuple[int, int]], offset: int, chip: Chip, log: BootLog) -> None:
    at = offset + HEADER_BYTES
    for number, (address, size) in enumerate(segments):
        at += SEGMENT_HEADER_BYTES
        how = "map" if any(address in mapped for mapped in _MAPPED[chip.name]) else "load"
        log("I", _TAG, f"segment {number}: paddr={at:08x} vaddr={address:08x} size={size:05x}h ({size:6}) {how}")
        at += size
