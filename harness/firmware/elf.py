"""The smallest ELF file that can be turned into an image: sections with addresses, and no code but an endless loop.

Format: System V ABI, "Object Files"; 32 bits, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from harness.firmware.chips import Architecture

HEADER_BYTES = 52
SECTION_HEADER_BYTES = 40
MACHINES: dict[Architecture, int] = {"xtensa": 94, "riscv": 243}
"""``e_machine``."""
LOOPS: dict[Architecture, bytes] = {"xtensa": b"\x06\xff\xff\x00", "riscv": b"\x6f\x00\x00\x00"}
"""A jump to itself, 4 bytes."""

_EXECUTABLE = 2
_PROGBITS, _STRTAB = 1, 3
_WRITE_ALLOC, _ALLOC_EXECUTE = 3, 6


class Section(NamedTuple):
    """Bytes with an address.

    Attributes:
        name: begins with a point.
        address: where it is loaded or mapped.
        data: filled up with zeros to whole words in the file.
        executable: whether it is code.
    """

    name: str
    address: int
    data: bytes
    executable: bool = False


def elf_file(architecture: Architecture, entry: int, sections: Sequence[Section]) -> bytes:
    """Return an ELF file with these sections, in this order; the same bytes each time."""
    names = b"\0" + b"".join(section.name.encode() + b"\0" for section in sections) + b".shstrtab\0"
    headers = [bytes(SECTION_HEADER_BYTES)]
    body = b""
    for section in sections:
        data = _words(section.data)
        flags = _ALLOC_EXECUTE if section.executable else _WRITE_ALLOC
        headers.append(_header(names, section.name, _PROGBITS, flags, section.address, len(body), len(data), 4))
        body += data
    headers.append(_header(names, ".shstrtab", _STRTAB, 0, 0, len(body), len(names), 1))
    body += _words(names)
    head = struct.pack(
        "<16sHHIIIIIHHHHHH",
        b"\x7fELF\x01\x01\x01",
        _EXECUTABLE,
        MACHINES[architecture],
        1,
        entry,
        0,
        HEADER_BYTES + len(body),
        0,
        HEADER_BYTES,
        32,
        0,
        SECTION_HEADER_BYTES,
        len(headers),
        len(headers) - 1,
    )
    return head + body + b"".join(headers)


def _header(names: bytes, name: str, kind: int, flags: int, address: int, at: int, size: int, alignment: int) -> bytes:
    begin = names.index(b"\0" + name.encode() + b"\0") + 1
    return struct.pack("<10I", begin, kind, flags, address, HEADER_BYTES + at, size, 0, 0, alignment, 0)


def _words(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
