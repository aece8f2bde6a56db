"""Writes into an NVS partition as firmware does: entries are added, old ones struck out, full pages made room in.

Format and order of writes: ESP-IDF, "Non-Volatile Storage Library" (Storage API reference), "Internals", and
``components/nvs_flash/src``. Power may go between any two writes: what was there before, or what was to be written,
can be read afterwards, and nothing else of the partition is touched. `harness.firmware.nvs` reads what is written here.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from harness.errors import Misuse
from harness.firmware.nvs import ENTRIES, ENTRY_BYTES, NAME_CHARACTERS, PAGE_BYTES, NvsType, NvsValue
from harness.virtual.errors import NvsFull
from harness.virtual.machine import FlashMemory

_ACTIVE, _FULL, _FREEING, _NEVER_USED = 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8, 0xFFFFFFFF
_VERSION_2 = 0xFE
_MAP, _FIRST = 32, 64  # where the map of a page begins, and its first entry
_EMPTY, _WRITTEN, _STRUCK_OUT = 0b11, 0b10, 0b00
_INTEGERS: dict[NvsType, tuple[int, str]] = {
    "u8": (0x01, "<B"),
    "i8": (0x11, "<b"),
    "u16": (0x02, "<H"),
    "i16": (0x12, "<h"),
    "u32": (0x04, "<I"),
    "i32": (0x14, "<i"),
    "u64": (0x08, "<Q"),
    "i64": (0x18, "<q"),
}
_STRING, _CHUNK, _INDEX, _ANY = 0x21, 0x42, 0x48, 0xFF
_LONGEST = (ENTRIES - 1) * ENTRY_BYTES
"""Bytes of a string or blob: what one page holds behind its first entry. Longer blobs are not written by this."""


class _Entry(NamedTuple):
    """An entry with what belongs to it, and where it is."""

    page: int
    at: int
    namespace: int
    kind: int
    span: int
    chunk: int
    key: str
    raw: bytes


class NvsStore:
    """One NVS partition; not to be used from two threads at a time.

    Args:
        flash: that it lies on.
        offset, size: of the partition.
    """

    def __init__(self, flash: FlashMemory, offset: int, size: int) -> None:
        self._flash = flash
        self._pages = range(offset, offset + size - size % PAGE_BYTES, PAGE_BYTES)

    # --- what firmware can do -----------------------------------------------------------------------------------

    def put(self, namespace: str, key: str, kind: NvsType, value: NvsValue) -> None:
        """Write a value; in force when this returns, and where power goes before, the old one is.

        Raises:
            Misuse: a name, type or value that NVS does not have.
            NvsFull: there is no room left.
        """
        for name in (namespace, key):
            if not (1 <= len(name) <= NAME_CHARACTERS and name.isascii() and name.isprintable()):
                raise Misuse(f"expected an NVS name of 1 to {NAME_CHARACTERS} printable ASCII characters, got {name!r}")
        parts = _parts(kind, value)  # before anything is written
        self._recover()
        number = self._namespace(namespace, make=True)
        raws = [_entry(number, code, chunk, key, inline, data) for code, chunk, inline, data in parts]
        old = self._found(number, key)
        if [entry.raw for entry in old] == raws:
            return
        for raw in raws:
            self._write(raw)
        for entry in self._found(number, key)[: -len(raws)]:
            self._strike_out(entry)

    def erase(self, namespace: str, key: str | None = None) -> None:
        """Strike out a key, or all of a namespace; what is not there is no error."""
        self._recover()
        number = self._namespace(namespace, make=False)
        for entry in self._entries():
            if entry.namespace == number and number and key in {None, entry.key}:
                self._strike_out(entry)

    def erase_all(self) -> None:
        """Erase the partition (``nvs_flash_erase``)."""
        for page in self._pages:
            self._flash.erase(page, PAGE_BYTES)

    # --- entries ------------------------------------------------------------------------------------------------

    def _namespace(self, name: str, *, make: bool) -> int:
        """Return the number of a namespace; 0: there is none."""
        names = {entry.key: entry.raw[24] for entry in self._entries() if entry.namespace == 0}
        if name in names or not make:
            return names.get(name, 0)
        number = next((number for number in range(1, _ANY) if number not in names.values()), None)
        if number is None:
            raise NvsFull("expected at most 254 namespaces")
        self._write(_entry(0, _INTEGERS["u8"][0], _ANY, name, bytes([number]), b""))
        return number

    def _found(self, namespace: int, key: str) -> list[_Entry]:
        """Return the entries of a key, oldest first."""
        return [entry for entry in self._entries() if entry.namespace == namespace and entry.key == key]

    def _entries(self) -> list[_Entry]:
        """Return what is written, oldest first."""
        return [entry for page in self._used() for entry in self._on(page)]

    def _on(self, page: int) -> list[_Entry]:
        raw = self._flash.read(page, PAGE_BYTES)
        found: list[_Entry] = []
        index = 0
        while index < ENTRIES:
            head = raw[_FIRST + index * ENTRY_BYTES :][:ENTRY_BYTES]
            if _bits(raw, index) != _WRITTEN or _crc(head[:4] + head[8:]) != head[4:8]:
                index += 1
                continue
            span = max(1, min(head[2], ENTRIES - index))
            key = head[8:24].split(b"\0", 1)[0].decode("ascii", "replace")
            found.append(_Entry(page, index, head[0], head[1], span, head[3], key, head + _data(raw, index, span)))
            index += span
        return found

    def _write(self, raw: bytes) -> None:
        span = len(raw) // ENTRY_BYTES
        page, index = self._room(span)
        self._flash.program(page + _FIRST + index * ENTRY_BYTES, raw)
        self._mark(page, range(index, index + span), _WRITTEN)

    def _strike_out(self, entry: _Entry) -> None:
        self._mark(entry.page, range(entry.at + entry.span - 1, entry.at - 1, -1), _STRUCK_OUT)

    def _mark(self, page: int, indices: range, state: int) -> None:
        """Write the state of entries into the map: the first of an entry as the first when it is written, else last.

        So it is whole at any moment at which it counts.
        """
        for number in indices:
            at, shift = page + _MAP + number // 4, number % 4 * 2
            self._flash.program(at, bytes([0xFF & ~(0b11 << shift) | state << shift]))

    # --- pages --------------------------------------------------------------------------------------------------

    def _used(self) -> list[int]:
        """Return the pages that hold something, oldest first."""
        found: list[tuple[int, int]] = []
        for page in self._pages:
            header = self._flash.read(page, _MAP)
            if self._state(page) in {_ACTIVE, _FULL, _FREEING} and _crc(header[4:28]) == header[28:32]:
                found.append((int.from_bytes(header[4:8], "little"), page))
        return [page for _, page in sorted(found)]

    def _state(self, page: int) -> int:
        return int.from_bytes(self._flash.read(page, 4), "little")

    def _set_state(self, page: int, state: int) -> None:
        self._flash.program(page, state.to_bytes(4, "little"))

    def _free(self) -> list[int]:
        return [page for page in self._pages if self._state(page) == _NEVER_USED]

    def _room(self, span: int) -> tuple[int, int]:
        """Return page and index where so many entries have room."""
        used = self._used()
        if used and self._state(used[-1]) == _ACTIVE:
            index = self._next(used[-1])
            if index + span <= ENTRIES:
                return used[-1], index
            self._set_state(used[-1], _FULL)
        if used and len(self._free()) <= 1:
            self._make_room(span)
            page = self._used()[-1]
            return page, self._next(page)
        return self._begin_page(), 0

    def _next(self, page: int) -> int:
        """Return the first entry behind all that were ever written to."""
        raw = self._flash.read(page, PAGE_BYTES)
        last = len(raw[_FIRST:].rstrip(b"\xff"))
        touched = -(-last // ENTRY_BYTES)
        marked = [index + 1 for index in range(ENTRIES) if _bits(raw, index) != _EMPTY]
        return max([touched, *marked])

    def _begin_page(self) -> int:
        free = self._free()
        if not free:
            raise NvsFull("expected a free page of NVS, there is none")
        used = self._used()
        last = int.from_bytes(self._flash.read(used[-1] + 4, 4), "little") if used else -1
        header = struct.pack("<IB19s", last + 1, _VERSION_2, b"\xff" * 19)
        self._flash.program(free[0], _ACTIVE.to_bytes(4, "little") + header + _crc(header))
        return free[0]

    def _make_room(self, span: int) -> None:
        """Move what is valid on the page that has least of it to the last free page, and erase that page."""
        live = {page: sum(entry.span for entry in self._on(page)) for page in self._used()}
        page = min(live, key=lambda page: live[page])
        if live[page] + span > ENTRIES:
            raise NvsFull(f"expected room for {span} entries in NVS, the emptiest page has {ENTRIES - live[page]}")
        self._set_state(page, _FREEING)
        self._empty(page)

    def _empty(self, page: int) -> None:
        entries = self._on(page)
        target = self._begin_page()
        for entry in entries:
            index = self._next(target)
            self._flash.program(target + _FIRST + index * ENTRY_BYTES, entry.raw)
            self._mark(target, range(index, index + entry.span), _WRITTEN)
        self._flash.erase(page, PAGE_BYTES)

    def _recover(self) -> None:
        """Finish, or do again, what power has interrupted; ESP-IDF does this when it opens the partition."""
        used = self._used()
        for page in self._pages:
            if page not in used and self._flash.read(page, PAGE_BYTES).strip(b"\xff"):
                self._flash.erase(page, PAGE_BYTES)
        for page in used:
            if self._state(page) == _FREEING:
                if used[-1] != page and self._state(used[-1]) == _ACTIVE:
                    self._flash.erase(used[-1], PAGE_BYTES)
                self._empty(page)
        latest = {(entry.namespace, entry.key, entry.kind, entry.chunk): entry for entry in self._entries()}
        for entry in self._entries():
            if entry not in latest.values():
                self._strike_out(entry)


def _parts(kind: NvsType, value: NvsValue) -> list[tuple[int, int, bytes, bytes]]:
    """Return type code, chunk number, inline value and data of each entry that a value becomes."""
    if kind in _INTEGERS:
        code, layout = _INTEGERS[kind]
        try:
            return [(code, _ANY, struct.pack(layout, value), b"")]
        except struct.error:
            raise Misuse(f"expected an integer that fits into {kind} of NVS, got another") from None
    if kind == "str" and isinstance(value, str) and "\0" not in value:
        data = value.encode() + b"\0"
        return [(_STRING, _ANY, _described(data), data)]
    if kind == "blob" and isinstance(value, bytes):
        index = struct.pack("<IBBH", len(value), 1, 0, 0xFFFF)
        return [(_CHUNK, 0, _described(value), value), (_INDEX, _ANY, index, b"")]
    raise Misuse(f"expected a value of NVS type {kind!r}, got {type(value).__name__}")


def _entry(namespace: int, kind: int, chunk: int, key: str, inline: bytes, data: bytes) -> bytes:
    span = 1 + -(-len(data) // ENTRY_BYTES)
    head = bytes([namespace, kind, span, chunk])
    rest = key.encode().ljust(16, b"\0") + inline.ljust(8, b"\xff")
    return head + _crc(head + rest) + rest + data.ljust((span - 1) * ENTRY_BYTES, b"\xff")


def _described(data: bytes) -> bytes:
    if len(data) > _LONGEST:
        raise NvsFull(f"expected a string or blob of at most {_LONGEST} bytes, got {len(data)}")
    return struct.pack("<HH", len(data), 0xFFFF) + _crc(data)


def _data(raw: bytes, index: int, span: int) -> bytes:
    return raw[_FIRST + (index + 1) * ENTRY_BYTES : _FIRST + (index + span) * ENTRY_BYTES]


def _bits(raw: bytes, index: int) -> int:
    return raw[_MAP + index // 4] >> (index % 4 * 2) & 0b11


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data, 0xFFFFFFFF).to_bytes(4, "little")
