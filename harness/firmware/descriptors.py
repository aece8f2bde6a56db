"""What stands first in an image: who it is, and, in builds for virtual boards, the device program it carries.

Formats: ESP-IDF, "App Image Format" and "Bootloader Image Format" (System API reference); ``esp_app_desc_t`` and
``esp_bootloader_desc_t``. Everything is little-endian.
"""

from __future__ import annotations

import struct

import msgspec

from harness.errors import Misuse
from harness.firmware.errors import BadImage

APP_DESCRIPTOR_BYTES = 256
APP_DESCRIPTOR_MAGIC = 0xABCD5432
BOOTLOADER_DESCRIPTOR_BYTES = 80
BOOTLOADER_DESCRIPTOR_MAGIC = 0x50
ELF_HASH_OFFSET = 144
"""Of the ELF file's SHA-256 in an application's descriptor."""

PROGRAM_MAGIC = b"WSDEVPRG"
"""Begins the device program that a virtual board's build carries behind its application descriptor (no format of
ESP-IDF): then its length in bytes, 32 bits, and its text in UTF-8."""

_ANY_REVISION = 0xFFFF
_MMU_PAGE_CODE = 16
"""Pages of 64 KiB, as a power of two."""
_APP = struct.Struct("<II8x32s32s16s16s32s32sHHB3x72x")
_BOOTLOADER = struct.Struct("<B3xI32s24s16x")


class AppDescriptor(msgspec.Struct, frozen=True):
    """What an application says of itself (``esp_app_desc_t``).

    Attributes:
        project, version, idf: of the application, and of the ESP-IDF it was built with; at most 31 bytes each.
        date, time: when it was compiled, as the compiler wrote them; empty in reproducible builds.
        elf_sha256: of the ELF file it was made from, 64 hexadecimal digits; zeros where the build left it out.
        secure_version: for the protection against rollback.
    """

    project: str
    version: str
    idf: str = ""
    date: str = ""
    time: str = ""
    elf_sha256: str = "00" * 32
    secure_version: int = 0

    @classmethod
    def parse(cls, data: bytes) -> AppDescriptor | None:
        """Return what these bytes begin with, or None where that is no descriptor."""
        if len(data) < APP_DESCRIPTOR_BYTES or int.from_bytes(data[:4], "little") != APP_DESCRIPTOR_MAGIC:
            return None
        _, secure_version, version, project, time, date, idf, elf_sha256, *_ = _APP.unpack_from(data)
        return cls(
            _text(project), _text(version), _text(idf), _text(date), _text(time), elf_sha256.hex(), secure_version
        )

    def to_bytes(self) -> bytes:
        """Return the descriptor as it stands in an image, for chips of any revision.

        Raises:
            Misuse: a text is too long.
        """
        return _APP.pack(
            APP_DESCRIPTOR_MAGIC,
            self.secure_version,
            _field(self.version, 32),
            _field(self.project, 32),
            _field(self.time, 16),
            _field(self.date, 16),
            _field(self.idf, 32),
            bytes.fromhex(self.elf_sha256),
            0,
            _ANY_REVISION,
            _MMU_PAGE_CODE,
        )


class BootloaderDescriptor(msgspec.Struct, frozen=True):
    """What a second-stage boot loader says of itself (``esp_bootloader_desc_t``).

    Attributes:
        version: a number the project gives; 0 where it gives none.
        idf: the version of ESP-IDF it was built with; at most 31 bytes.
        date: date and time of the compilation, at most 23 bytes; empty in reproducible builds.
    """

    version: int
    idf: str
    date: str = ""

    @classmethod
    def parse(cls, data: bytes) -> BootloaderDescriptor | None:
        """Return what these bytes begin with, or None where that is no descriptor."""
        if len(data) < BOOTLOADER_DESCRIPTOR_BYTES or data[0] != BOOTLOADER_DESCRIPTOR_MAGIC:
            return None
        _, version, idf, date = _BOOTLOADER.unpack_from(data)
        return cls(version, _text(idf), _text(date))

    def to_bytes(self) -> bytes:
        """Return the descriptor as it stands in an image.

        Raises:
            Misuse: a text is too long.
        """
        return _BOOTLOADER.pack(BOOTLOADER_DESCRIPTOR_MAGIC, self.version, _field(self.idf, 32), _field(self.date, 24))


def program_block(text: str) -> bytes:
    """Return the bytes that carry a device program: to stand right behind the application descriptor."""
    encoded = text.encode()
    return PROGRAM_MAGIC + struct.pack("<I", len(encoded)) + encoded


def program_in(data: bytes) -> str | None:
    """Return the device program these bytes begin with; None: there is none.

    Raises:
        BadImage: it is cut off or not UTF-8.
    """
    if not data.startswith(PROGRAM_MAGIC):
        return None
    begin = len(PROGRAM_MAGIC) + 4
    length = int.from_bytes(data[len(PROGRAM_MAGIC) : begin], "little")
    text = data[begin : begin + length]
    if len(data) < begin or len(text) < length:
        raise BadImage("program", f"expected a device program of {length} bytes, its segment ends after {len(text)}")
    try:
        return text.decode()
    except UnicodeDecodeError as broken:
        raise BadImage("program", f"expected a device program in UTF-8: {broken.reason} at {broken.start}") from None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def _field(text: str, size: int) -> bytes:
    """Return a text in a field that keeps room for its NUL."""
    encoded = text.encode()
    if len(encoded) >= size:
        raise Misuse(f"expected at most {size - 1} bytes, got {text!r}")
    return encoded.ljust(size, b"\0")
