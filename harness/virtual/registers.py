"""The 32-bit address space of a chip as hosts reach it: RAM and registers alike, kept where something was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

PAGE = 4096
PAGES = 1024
"""Pages that are kept, 4 MiB: more than a chip has RAM. What is written past it is forgotten: a host that sprays the
whole address space must not take the machine's memory."""


class RegisterBus:
    """Words by address; what nobody has written reads 0. Addresses are rounded down to whole words.

    Args:
        words: what stands there to begin with.
    """

    def __init__(self, words: Mapping[int, int] | None = None) -> None:
        self._pages: dict[int, bytearray] = {}
        self._readers: dict[int, Callable[[], int]] = {}
        self._writers: dict[int, Callable[[int], None]] = {}
        for address, value in (words or {}).items():
            self.set(address, value)

    def on_read(self, address: int, reader: Callable[[], int]) -> None:
        """Have a register read what ``reader`` returns."""
        self._readers[address] = reader

    def on_write(self, address: int, writer: Callable[[int], None]) -> None:
        """Have ``writer`` called with each word written to a register, after it stands there."""
        self._writers[address] = writer

    def read(self, address: int) -> int:
        """Return a word."""
        address = address & 0xFFFFFFFC
        if reader := self._readers.get(address):
            return reader() & 0xFFFFFFFF
        page = self._pages.get(address // PAGE)
        return int.from_bytes(page[address % PAGE : address % PAGE + 4], "little") if page else 0

    def write(self, address: int, value: int) -> None:
        """Write a word, and let its register do what it does."""
        address = address & 0xFFFFFFFC
        self.set(address, value)
        if writer := self._writers.get(address):
            writer(value & 0xFFFFFFFF)

    def set(self, address: int, value: int) -> None:
        """Have a word stand in a register, without any effect."""
        self.load(address & 0xFFFFFFFC, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def load(self, address: int, data: bytes) -> None:
        """Put bytes into RAM; past the end of the address space they are lost."""
        while data and address < 1 << 32:
            offset = address % PAGE
            piece = data[: PAGE - offset]
            page = self._page(address // PAGE)
            if page is not None:
                page[offset : offset + len(piece)] = piece
            address, data = address + len(piece), data[len(piece) :]

    def _page(self, number: int) -> bytearray | None:
        page = self._pages.get(number)
        if page is None and len(self._pages) < PAGES:
            page = self._pages[number] = bytearray(PAGE)
        return page
