"""Writes images: what ``esptool elf2image`` makes of the same segments, byte for byte, without a process of its own.

For builds that are made while tests run; images of real firmware come from its own build.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from harness.errors import Misuse
from harness.firmware.chips import Chip
from harness.firmware.image import (
    CHECKSUM_ROW,
    CHECKSUM_SEED,
    HEADER_BYTES,
    MAGIC,
    SEGMENT_HEADER_BYTES,
    SEGMENTS,
    Segment,
    xor_of,
)

MODE_DIO = 2
FREQUENCY_80M = 0xF
"""On all three chips."""
NO_WRITE_PROTECT_PIN = 0xEE
"""In the header of every image that esptool makes."""
ANY_REVISION = 0xFFFF


def image_file(chip: Chip, entry: int, segments: Sequence[Segment], *, flash_size: int) -> bytes:
    """Return an image with these segments, in this order, with checksum and SHA-256.

    Args:
        chip: that it is for.
        entry: the address that is jumped to.
        segments: filled up with zeros to whole words.
        flash_size: in bytes: a power of two from 1 MiB.

    Raises:
        Misuse: a flash size or a number of segments that the header cannot have.
    """
    code = (flash_size >> 20).bit_length() - 1
    if (1 << 20) << max(code, 0) != flash_size or code > 0xF:
        raise Misuse(f"expected a flash of 1, 2, 4, ... MiB, got {flash_size} bytes")
    if not 1 <= len(segments) <= SEGMENTS:
        raise Misuse(f"expected 1 to {SEGMENTS} segments, got {len(segments)}")
    header = struct.pack(
        "<BBBBIB3xHBHH4xB",
        MAGIC,
        len(segments),
        MODE_DIO,
        code << 4 | FREQUENCY_80M,
        entry,
        NO_WRITE_PROTECT_PIN,
        chip.image_id,
        0,
        0,
        ANY_REVISION,
        1,
    )
    checksum = CHECKSUM_SEED
    body = header
    for segment in segments:
        data = segment.data + bytes(-len(segment.data) % 4)
        body += struct.pack("<II", segment.address, len(data)) + data
        checksum ^= xor_of(data)
    body += bytes(CHECKSUM_ROW - 1 - len(body) % CHECKSUM_ROW) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def mapped_at(base: int, before: Sequence[int]) -> int:
    """Return the address for a segment that is mapped, and follows others of so many bytes in the file.

    The MMU maps whole pages: within its page it has to lie in memory as it does in the file.

    Args:
        base: where the mapped memory begins.
        before: sizes of the segments before it, in bytes.
    """
    offset = HEADER_BYTES + sum(SEGMENT_HEADER_BYTES + size + -size % 4 for size in before) + SEGMENT_HEADER_BYTES
    return base + offset
