"""Images as the ROM and the boot loader take them: header, segments, checksum, hash, and who they say they are.

Format: ESP-IDF, "App Image Format" (System API reference) and ``esp_image_header_t``. Everything is little-endian.
Boot loaders are images, too.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

import msgspec

from harness.firmware.chips import Chip, chip_with_image_id
from harness.firmware.descriptors import APP_DESCRIPTOR_BYTES, AppDescriptor, BootloaderDescriptor, program_in
from harness.firmware.errors import BadImage

MAGIC = 0xE9
"""First byte of each image (``ESP_IMAGE_HEADER_MAGIC``)."""
HEADER_BYTES = 24
SEGMENT_HEADER_BYTES = 8
SEGMENTS = 16
"""At most, in one image (``ESP_IMAGE_MAX_SEGMENTS``)."""
HASH_BYTES = 32
CHECKSUM_SEED = 0xEF
"""What all bytes of the segments are XORed onto (``ESP_ROM_CHECKSUM_INITIAL``)."""
CHECKSUM_ROW = 16
"""The checksum is the last byte of a row of sixteen."""


class Segment(NamedTuple):
    """Bytes of an image, and the address they are loaded or mapped at."""

    address: int
    data: bytes


class Image(msgspec.Struct, frozen=True):
    """One image whose checksum and hash hold.

    Attributes:
        chip: that it is for; None: one this package does not know, number ``chip_id``.
        chip_id: as the header has it.
        entry: the address that is jumped to.
        segments: in the order of the file.
        hash_appended: whether a SHA-256 follows, and was checked.
        sha256: of everything before the appended hash, 64 hexadecimal digits; what ``esp_partition_get_sha256`` and
            the OTA endpoints call the image's hash where one is appended.
        size: of the image in bytes, hash included; what follows in the file is not its own.
        flash_mode, flash_frequency, flash_size: codes of the header, which esptool rewrites when it flashes a boot
            loader: mode 0 to 3 = QIO, QOUT, DIO, DOUT; frequency per chip; size 1 MiB << code.
    """

    chip: Chip | None
    chip_id: int
    entry: int
    segments: tuple[Segment, ...]
    hash_appended: bool
    sha256: str
    size: int
    flash_mode: int
    flash_frequency: int
    flash_size: int

    @classmethod
    def parse(cls, data: bytes | memoryview, chip: Chip | None = None) -> Image:
        """Read the image these bytes begin with; what follows it, as in a partition, is not looked at.

        Args:
            data: at least the whole image.
            chip: that it has to be for; None: any.

        Raises:
            BadImage: it fails one of the checks that the boot loader makes.
        """
        raw = bytes(data)
        count = _checked_header(raw, chip)
        segments, end = _segments(raw, count)
        checksum_at = end + CHECKSUM_ROW - end % CHECKSUM_ROW - 1
        _check_checksum(raw, segments, checksum_at)
        body = raw[: checksum_at + 1]
        digest = hashlib.sha256(body).digest()
        hash_appended = raw[23] == 1
        if hash_appended:
            _check_hash(raw, len(body), digest)
        chip_id = int.from_bytes(raw[12:14], "little")
        return cls(
            chip=chip_with_image_id(chip_id),
            chip_id=chip_id,
            entry=int.from_bytes(raw[4:8], "little"),
            segments=segments,
            hash_appended=hash_appended,
            sha256=digest.hex(),
            size=len(body) + HASH_BYTES * hash_appended,
            flash_mode=raw[2],
            flash_frequency=raw[3] & 0xF,
            flash_size=raw[3] >> 4,
        )

    @property
    def descriptor(self) -> AppDescriptor | None:
        """What the application says of itself; None: it is none, or an old one."""
        return AppDescriptor.parse(self.segments[0].data)

    @property
    def bootloader_descriptor(self) -> BootloaderDescriptor | None:
        """What the boot loader says of itself; None: it is none, or an old one."""
        return BootloaderDescriptor.parse(self.segments[0].data)

    @property
    def program(self) -> str | None:
        """The device program stored behind the application descriptor; None: there is none, as in real firmware.

        Raises:
            BadImage: there is one, but it is cut off or not UTF-8.
        """
        if self.descriptor is None:
            return None
        return program_in(self.segments[0].data[APP_DESCRIPTOR_BYTES:])


# --- checks, in the order of the boot loader ------------------------------------------------------------------------


def _checked_header(raw: bytes, chip: Chip | None) -> int:
    """Return the number of segments."""
    if not raw:
        raise BadImage("truncated", "expected an image, it is empty")
    if raw[0] != MAGIC:
        raise BadImage("magic", f"expected the first byte {MAGIC:#04x}, it is {raw[0]:#04x}: no image")
    if len(raw) < HEADER_BYTES:
        raise BadImage("truncated", f"expected a header of {HEADER_BYTES} bytes, there are {len(raw)}")
    chip_id = int.from_bytes(raw[12:14], "little")
    if chip is not None and chip_id != chip.image_id:
        other = chip_with_image_id(chip_id)
        raise BadImage(
            "chip", f"expected an image for {chip.name}, it is for {other.name if other else f'chip number {chip_id}'}"
        )
    if not 1 <= raw[1] <= SEGMENTS:
        raise BadImage("segments", f"expected 1 to {SEGMENTS} segments, the header says {raw[1]}")
    return raw[1]


def _segments(raw: bytes, count: int) -> tuple[tuple[Segment, ...], int]:
    """Return the segments, and where the last one ends."""
    found: list[Segment] = []
    at = HEADER_BYTES
    for number in range(count):
        address, length = (
            struct.unpack_from("<II", raw, at) if at + SEGMENT_HEADER_BYTES <= len(raw) else (0, SEGMENT_HEADER_BYTES)
        )
        begin = at + SEGMENT_HEADER_BYTES
        if begin + length > len(raw):
            raise BadImage(
                "truncated",
                f"expected segment {number} of {count} to end at {begin + length:#x}, the image ends at {len(raw):#x}",
            )
        found.append(Segment(address, raw[begin : begin + length]))
        at = begin + length
    return tuple(found), at


def _check_checksum(raw: bytes, segments: tuple[Segment, ...], at: int) -> None:
    if at >= len(raw):
        raise BadImage("truncated", f"expected the checksum at {at:#x}, the image ends at {len(raw):#x}")
    checksum = CHECKSUM_SEED
    for segment in segments:
        checksum ^= xor_of(segment.data)
    if raw[at] != checksum:
        raise BadImage("checksum", f"expected the checksum {checksum:#04x} at {at:#x}, it is {raw[at]:#04x}")


def _check_hash(raw: bytes, at: int, digest: bytes) -> None:
    stored = raw[at : at + HASH_BYTES]
    if len(stored) < HASH_BYTES:
        raise BadImage("truncated", f"expected a SHA-256 at {at:#x}, the image ends at {len(raw):#x}")
    if stored != digest:
        raise BadImage("hash", f"expected the SHA-256 {digest.hex()} at {at:#x}, it is {stored.hex()}")


def xor_of(data: bytes) -> int:
    """Return the XOR of all bytes: by folding one long integer, since images have megabytes."""
    folded, length = int.from_bytes(data, "little"), len(data)
    while length > 1:
        half = (length + 1) // 2
        folded = (folded >> 8 * half) ^ (folded & ((1 << 8 * half) - 1))
        length = half
    return folded
