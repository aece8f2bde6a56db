"""Reads NVS partitions: pages of version 1 and 2, each check sum, strings and blobs in any number of chunks.

Format: ESP-IDF, "Non-Volatile Storage Library" (Storage API reference), "Internals". Encrypted partitions are not
read: every check in them fails.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from harness.firmware.errors import BadNvs

PAGE_BYTES = 0x1000
"""A sector of flash."""
ENTRIES = 126
"""In a page, behind its header and the map of which are written."""
ENTRY_BYTES = 32
NAME_CHARACTERS = 15
"""Of a key or a namespace, at most (``NVS_KEY_NAME_MAX_SIZE`` less the NUL)."""

NvsType: TypeAlias = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "str", "blob"]
NvsValue: TypeAlias = int | str | bytes

_INTEGERS: dict[int, tuple[NvsType, str]] = {
    0x01: ("u8", "<B"),
    0x11: ("i8", "<b"),
    0x02: ("u16", "<H"),
    0x12: ("i16", "<h"),
    0x04: ("u32", "<I"),
    0x14: ("i32", "<i"),
    0x08: ("u64", "<Q"),
    0x18: ("i64", "<q"),
}
_STRING = 0x21
_WHOLE_BLOB = 0x41
"""Of version 1; a blob of version 2 has chunks and an index."""
_CHUNK = 0x42
_INDEX = 0x48
_ANY_CHUNK = 0xFF
"""In the chunk number of whatever is no chunk."""

_USED = {0xFFFFFFFE: "active", 0xFFFFFFFC: "full", 0xFFFFFFF8: "freeing"}
_NEVER_USED = 0xFFFFFFFF
_VERSIONS = {0xFF: 1, 0xFE: 2}
_WRITTEN = 0b10
"""Of an entry's two bits in the map; 11 is empty, 00 erased."""


class NvsItem(msgspec.Struct, frozen=True):
    """One key with its value.

    Attributes:
        namespace, key: its names.
        type: that it was written as; firmware finds a key only with the type it asks for.
        value: int, str, or bytes for a blob.
    """

    namespace: str
    key: str
    type: NvsType
    value: NvsValue


class NvsContents(msgspec.Struct, frozen=True):
    """What is in a partition, faults included.

    Attributes:
        items: the last value of each key, in the order they were first written.
        faults: what fails a check, each with its place; ESP-IDF erases such entries without a word.
        pages: how many there are.
        empty_pages: how many were never used; firmware needs one to start at all (``ESP_ERR_NVS_NO_FREE_PAGES``).
    """

    items: tuple[NvsItem, ...]
    faults: tuple[str, ...]
    pages: int
    empty_pages: int

    @property
    def namespaces(self) -> dict[str, dict[str, NvsValue]]:
        """Values by namespace and key."""
        found: dict[str, dict[str, NvsValue]] = {}
        for item in self.items:
            found.setdefault(item.namespace, {})[item.key] = item.value
        return found


def read(data: bytes | memoryview) -> dict[str, dict[str, NvsValue]]:
    """Return values by namespace and key; of a partition that was never used: nothing.

    Raises:
        BadNvs: a check fails anywhere, or the size is not a multiple of a page.
    """
    contents = examine(data)
    if contents.faults:
        raise BadNvs(contents.faults)
    return contents.namespaces


def examine(data: bytes | memoryview) -> NvsContents:
    """Return what can be read, and what fails its check; never raises."""
    raw = bytes(data)
    whole = len(raw) - len(raw) % PAGE_BYTES
    faults: list[str] = []
    if len(raw) != whole or not raw:
        faults.append(f"expected whole pages of {PAGE_BYTES:#x} bytes, there are {len(raw):#x} bytes")
    starts = range(0, whole, PAGE_BYTES)
    pages = [page for at in starts if (page := _page(raw[at : at + PAGE_BYTES], at, faults))]
    entries = [entry for page in sorted(pages, key=lambda page: page.sequence) for entry in page.written(faults)]
    return NvsContents(
        items=_Values(faults).items(entries),
        faults=tuple(faults),
        pages=len(starts),
        empty_pages=sum(raw[at : at + 4] == b"\xff" * 4 for at in starts),
    )


class _Entry(msgspec.Struct, frozen=True):
    """A written entry with what belongs to it.

    Attributes:
        namespace: its number; 0: the entry names a namespace.
        kind: its type code.
        chunk: its number, in chunks.
        key: its name.
        inline: its 8 bytes of value, or of what describes the value.
        data: of the entries that follow, for strings and blobs.
        place: for a fault.
    """

    namespace: int
    kind: int
    chunk: int
    key: str
    inline: bytes
    data: bytes
    place: str


class _Page(msgspec.Struct, frozen=True):
    raw: bytes
    at: int
    sequence: int

    def written(self, faults: list[str]) -> Iterator[_Entry]:
        """Return its entries that are whole; add a fault for each that is not."""
        index = 0
        while index < ENTRIES:
            if self.raw[32 + index // 4] >> (index % 4 * 2) & 0b11 != _WRITTEN:
                index += 1
                continue
            place = f"entry {index} of the page at {self.at:#x}"
            at = 64 + index * ENTRY_BYTES
            entry = self.raw[at : at + ENTRY_BYTES]
            namespace, kind, span, chunk, crc = struct.unpack_from("<BBBBI", entry)
            if zlib.crc32(entry[:4] + entry[8:], 0xFFFFFFFF) != crc:
                faults.append(f"{place}: its CRC does not hold")
                span = 1
            elif not 1 <= span <= ENTRIES - index:
                faults.append(f"{place}: spans {span} entries, {ENTRIES - index} are left")
                span = 1
            else:
                data = self.raw[at + ENTRY_BYTES : at + span * ENTRY_BYTES]
                key = entry[8:24].split(b"\0", 1)[0].decode("utf-8", "replace")
                yield _Entry(namespace, kind, chunk, key, entry[24:32], data, place)
            index += span


def _page(raw: bytes, at: int, faults: list[str]) -> _Page | None:
    """Return a page that is in use and whole; None: it is not, with a fault where it ought to be."""
    state, sequence, version = struct.unpack_from("<IIB", raw)
    if state == _NEVER_USED:
        if raw.strip(b"\xff"):
            faults.append(f"the page at {at:#x} says that it was never used, but is not empty")
        return None
    if zlib.crc32(raw[4:28], 0xFFFFFFFF) != int.from_bytes(raw[28:32], "little"):
        faults.append(f"the page at {at:#x}: the CRC of its header does not hold")
    elif version not in _VERSIONS:
        faults.append(f"the page at {at:#x}: expected version 1 or 2, its code is {version:#04x}")
    elif state not in _USED:
        faults.append(f"the page at {at:#x}: its state {state:#010x} is none that can be read")
    else:
        return _Page(raw, at, sequence)
    return None


class _Values:
    """Joins entries to values; what is written later stands for what was there before."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults
        self._names: dict[int, str] = {}
        self._chunks: dict[tuple[int, str, int], bytes] = {}
        self._found: dict[tuple[int, str], tuple[NvsType, NvsValue]] = {}
        self._indices: dict[tuple[int, str], _Entry] = {}

    def items(self, entries: list[_Entry]) -> tuple[NvsItem, ...]:
        for entry in entries:
            self._take(entry)
        for (namespace, key), index in self._indices.items():
            self._join(namespace, key, index)
        return tuple(
            NvsItem(self._name(namespace), key, kind, value) for (namespace, key), (kind, value) in self._found.items()
        )

    def _take(self, entry: _Entry) -> None:
        place = entry.namespace, entry.key
        if entry.kind in _INTEGERS:
            kind, layout = _INTEGERS[entry.kind]
            (value,) = struct.unpack_from(layout, entry.inline)
            if entry.namespace == 0:
                self._names[value] = entry.key
            else:
                self._put(place, kind, value)
        elif entry.kind in {_STRING, _WHOLE_BLOB, _CHUNK}:
            data = self._checked(entry)
            if data is None:
                return
            if entry.kind == _CHUNK:
                self._chunks[*place, entry.chunk] = data
            elif entry.kind == _STRING:
                self._put(place, "str", data.split(b"\0", 1)[0].decode("utf-8", "replace"))
            else:
                self._put(place, "blob", data)
        elif entry.kind == _INDEX:
            self._put(place, "blob", b"")
            self._indices[place] = entry
        else:
            self._faults.append(f"{entry.place}: key {entry.key!r} has the unknown type {entry.kind:#04x}")

    def _put(self, place: tuple[int, str], kind: NvsType, value: NvsValue) -> None:
        self._indices.pop(place, None)
        self._found[place] = kind, value

    def _checked(self, entry: _Entry) -> bytes | None:
        size, _, crc = struct.unpack("<HHI", entry.inline)
        data = entry.data[:size]
        if len(data) < size:
            self._faults.append(f"{entry.place}: key {entry.key!r} has {len(data)} bytes of data of {size}")
        elif zlib.crc32(data, 0xFFFFFFFF) != crc:
            self._faults.append(f"{entry.place}: the CRC of the data of key {entry.key!r} does not hold")
        else:
            return data
        return None

    def _join(self, namespace: int, key: str, index: _Entry) -> None:
        size, count, first = struct.unpack_from("<IBB", index.inline)
        chunks = [self._chunks.get((namespace, key, first + number)) for number in range(count)]
        whole = b"".join(chunk for chunk in chunks if chunk is not None)
        if None in chunks or len(whole) != size:
            self._faults.append(f"{index.place}: the blob {key!r} has {len(whole)} bytes in its chunks, of {size}")
            del self._found[namespace, key]
        else:
            self._found[namespace, key] = "blob", whole

    def _name(self, namespace: int) -> str:
        return self._names.get(namespace, f"#{namespace}")
