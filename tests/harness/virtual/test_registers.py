"""The address space: words, hooks, and an end to what it keeps."""

from __future__ import annotations

from harness.virtual.registers import PAGE, PAGES, RegisterBus


def test_words():
    """What was written is read; everything else reads 0; addresses within a word mean the word."""
    bus = RegisterBus({0x3FF00000: 0x12345678})
    bus.write(0x60000004, 0x1FFFFFFFF)

    assert bus.read(0x3FF00000) == bus.read(0x3FF00003) == 0x12345678
    assert bus.read(0x60000004) == 0xFFFFFFFF
    assert bus.read(0x60000000) == bus.read(0x50000000) == 0


def test_hooks():
    """A register can read what it likes, and do something when it is written, after the word stands there."""
    bus, seen = RegisterBus(), []
    bus.on_read(0x100, lambda: 0x1_0000_0007)
    bus.on_write(0x200, lambda value: seen.append((value, bus.read(0x200))))
    bus.write(0x203, 5)
    bus.set(0x200, 6)

    assert bus.read(0x100) == 7
    assert seen == [(5, 5)]
    assert bus.read(0x200) == 6


def test_ram_across_pages():
    """Bytes are loaded where they belong, over the ends of pages."""
    bus = RegisterBus()
    bus.load(PAGE - 2, b"abcdef")

    assert bus.read(PAGE - 4) == int.from_bytes(b"\0\0ab", "little")
    assert bus.read(PAGE) == int.from_bytes(b"cdef", "little")


def test_end_of_the_address_space():
    """What is loaded past it is lost."""
    bus = RegisterBus()
    bus.load(0xFFFFFFFC, b"abcdefgh")

    assert bus.read(0xFFFFFFFC) == int.from_bytes(b"abcd", "little")
    assert bus.read(0) == 0


def test_pages_have_an_end():
    """A host that writes everywhere fills no more than the memory that is granted; what was there stays."""
    bus = RegisterBus()
    for page in range(PAGES + 1):
        bus.write(page * PAGE, 1)

    assert bus.read((PAGES - 1) * PAGE) == 1
    assert bus.read(PAGES * PAGE) == 0
    bus.write(0, 2)
    assert bus.read(0) == 2
