"""Images made of a build's own, for updates: with another version, damaged, or one that crashes. Pure.

Checksum and SHA-256 are put right again, as every boot loader checks them; a signature would not be.
"""

from __future__ import annotations

import hashlib

from harness.errors import Misuse
from harness.firmware.chips import Chip
from harness.firmware.descriptors import AppDescriptor
from harness.firmware.image import (
    CHECKSUM_ROW,
    CHECKSUM_SEED,
    HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Image,
    xor_of,
)
from harness.firmware.made_images import application

_VERSION_AT = HEADER_BYTES + SEGMENT_HEADER_BYTES + 16  # esp_app_desc_t: magic, secure version, 8 reserved bytes
_VERSION_BYTES = 32
_ENTRY_AT = 4


def with_version(image: bytes, version: str) -> bytes:
    """Return an application's image that says it is of another version.

    Raises:
        Misuse: the version is too long, or the image has no descriptor.
        BadImage: it is no image.
    """
    encoded = version.encode()
    if len(encoded) >= _VERSION_BYTES:
        raise Misuse(f"expected a version of at most {_VERSION_BYTES - 1} bytes, got {version!r}")
    if Image.parse(image).descriptor is None:
        raise Misuse("expected an image that says which version it is, it does not")
    return _put_right(image, _VERSION_AT, encoded.ljust(_VERSION_BYTES, b"\0"))


def damaged(image: bytes) -> bytes:
    """Return an image whose SHA-256, or checksum, is wrong."""
    size = Image.parse(image).size
    return image[: size - 1] + bytes([image[size - 1] ^ 1])


def crashing(image: bytes, chip: Chip, version: str) -> bytes:
    """Return an image that passes all checks, says it is of this version, and crashes as soon as it runs.

    On a chip by its entry, which leads nowhere; on a virtual board by the device program it carries.
    """
    parsed = Image.parse(image)
    if parsed.program is not None:
        descriptor = parsed.descriptor or AppDescriptor("", version)
        about = AppDescriptor(descriptor.project, version, descriptor.idf)
        program = "#!builtin firmware panic_after_seconds=0"
        return application(chip, about, program, flash_size=(1 << 20) << parsed.flash_size).image
    return _put_right(with_version(image, version), _ENTRY_AT, bytes(4))


def version_after(version: str, steps: int = 1) -> str:
    """Return a version that every firmware holds for newer: its first number is greater.

    Raises:
        Misuse: it does not begin with a number, on which the firmware would abort.
    """
    first, dot, rest = version.partition(".")
    if not (first.isascii() and first.isdecimal()):
        raise Misuse(f"expected a version of numbers, got {version!r}")
    return f"{int(first) + steps}{dot}{rest}"


def _put_right(image: bytes, at: int, data: bytes) -> bytes:
    """Put bytes into an image, with the right checksum and hash for them."""
    parsed = Image.parse(image)
    changed = bytearray(image[: parsed.size])
    changed[at : at + len(data)] = data
    end = HEADER_BYTES
    checksum = CHECKSUM_SEED
    for segment in parsed.segments:
        begin = end + SEGMENT_HEADER_BYTES
        end = begin + len(segment.data)
        checksum ^= xor_of(bytes(changed[begin:end]))
    checksum_at = end + CHECKSUM_ROW - end % CHECKSUM_ROW - 1
    changed[checksum_at] = checksum
    body = bytes(changed[: checksum_at + 1])
    return body + (hashlib.sha256(body).digest() if parsed.hash_appended else b"")
