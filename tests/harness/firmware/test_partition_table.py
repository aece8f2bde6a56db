"""Partition tables are read, checked, asked and written."""

from __future__ import annotations

import contextlib
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.firmware.errors import BadPartitionTable, NoSuchPartition
from harness.firmware.partition_table import APP, DATA, OTA_0, Partition, PartitionTable

NVS = Partition("nvs", DATA, 0x02, 0x9000, 0x4000)
OTADATA = Partition("otadata", DATA, 0x00, 0xD000, 0x2000)
FACTORY = Partition("factory", APP, 0x00, 0x10000, 0x100000)
SLOT_0 = Partition("ota_0", APP, OTA_0, 0x110000, 0x100000)
SLOT_1 = Partition("ota_1", APP, OTA_0 + 1, 0x210000, 0x100000)
KEYS = Partition("keys", DATA, 0x04, 0x310000, 0x1000, encrypted=True)
PAGES = Partition("pages", 0x40, 0x07, 0x311000, 0x1000, read_only=True)
TABLE = PartitionTable((NVS, OTADATA, FACTORY, SLOT_1, SLOT_0, KEYS, PAGES))

partitions = st.builds(
    Partition,
    label=st.text("abcdefghijklmnop_0123456789", min_size=1, max_size=16),
    type=st.integers(0, 0xFE),
    subtype=st.integers(0, 0xFE),
    offset=st.integers(0, 0xFFFFFFFF),
    size=st.integers(0, 0xFFFFFFFF),
    encrypted=st.booleans(),
    read_only=st.booleans(),
)


class TestBinary:
    """The form on the flash."""

    @given(st.lists(partitions, min_size=1, max_size=94).map(tuple))
    def test_round_trip(self, entries: tuple[Partition, ...]):
        """Whatever can be written is read as it was."""
        table = PartitionTable(entries)

        assert PartitionTable.parse(table.to_bytes()) == table

    def test_bytes(self):
        """Entries, MD5, and FF to the end: as ESP-IDF's own tool lays them out."""
        data = PartitionTable((NVS,)).to_bytes()

        entry = bytes.fromhex("aa500102 00900000 00400000") + b"nvs".ljust(16, b"\0") + bytes(4)
        assert data[:32] == entry
        assert data[32:48] == b"\xeb\xeb" + b"\xff" * 14
        assert data[48:64] == hashlib.md5(entry).digest()
        assert data[64:] == b"\xff" * (0xC00 - 64)

    def test_longer_input(self):
        """A whole sector, or a whole flash from there, does as well."""
        assert PartitionTable.parse(memoryview(TABLE.to_bytes() + b"\xff" * 0x400 + b"data")) == TABLE

    def test_without_md5(self):
        """Old tables have none."""
        rows = TABLE.to_bytes()[: 32 * len(TABLE.entries)]

        assert PartitionTable.parse(rows.ljust(0xC00, b"\xff")) == TABLE
        assert PartitionTable.parse(rows) == TABLE

    def test_too_many(self):
        """There is room for 94 partitions beside the MD5 and the end."""
        PartitionTable((NVS,) * 94).to_bytes()
        with pytest.raises(Misuse, match="at most 94 partitions, got 95"):
            PartitionTable((NVS,) * 95).to_bytes()

    def test_long_label(self):
        """A label has 16 bytes; one with all of them has no NUL."""
        table = PartitionTable((Partition("sixteen_letters_", DATA, 2, 0x9000, 0x1000),))
        assert PartitionTable.parse(table.to_bytes()) == table

        with pytest.raises(Misuse, match="at most 16 bytes"):
            PartitionTable((Partition("seventeen_letters", DATA, 2, 0x9000, 0x1000),)).to_bytes()


class TestRefused:
    """Tables that no boot loader would take."""

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "at least one entry"),
            (b"\xff" * 0xC00, "at least one entry"),
            (b"\0" * 0xC00, "entry 0 to begin with aa50, it does with 0000"),
            (TABLE.to_bytes()[:40], "entry 1 to have 32 bytes, there are 8"),
            (TABLE.to_bytes()[: 32 * 7 + 20], "it is cut off"),
            (TABLE.to_bytes()[: 32 * 8] + TABLE.to_bytes()[:32], "nothing behind the MD5"),
        ],
    )
    def test_form(self, data: bytes, why: str):
        """What is wrong is said."""
        with pytest.raises(BadPartitionTable, match=why):
            PartitionTable.parse(data)

    def test_every_byte_of_the_entries_counts(self):
        """No byte can change unnoticed: that is what the MD5 is for."""
        data = TABLE.to_bytes()
        for position in range(32 * len(TABLE.entries)):
            with pytest.raises(BadPartitionTable):
                PartitionTable.parse(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes):
        """Whatever the bytes are: a table, or a reason."""
        for raw in (data, b"\xaa\x50" + data):
            with contextlib.suppress(BadPartitionTable):
                PartitionTable.parse(raw)


class TestAsking:
    """What is in a table."""

    def test_by_label(self):
        """A partition is found by its label, wherever it lies."""
        assert TABLE.labelled("keys") == KEYS
        with pytest.raises(NoSuchPartition, match="expected a partition 'spiffs', there are nvs, otadata, factory"):
            TABLE.labelled("spiffs")

    def test_by_kind_and_offset(self):
        """Or by what it is, or where it begins."""
        assert TABLE.find("data/nvs") == NVS
        assert TABLE.find("data/fat") is None
        assert TABLE.at(0x110000) == SLOT_0
        assert TABLE.at(0x110001) is None

    def test_applications(self):
        """Factory comes first, then the slots by number, not by place."""
        assert TABLE.applications == (FACTORY, SLOT_0, SLOT_1)
        assert TABLE.ota_slots == (SLOT_0, SLOT_1)
        assert PartitionTable((NVS, SLOT_0)).applications == (SLOT_0,)
        assert TABLE.otadata == OTADATA

    @pytest.mark.parametrize(
        ("partition", "kind"),
        [
            (NVS, "data/nvs"),
            (SLOT_1, "app/ota_1"),
            (PAGES, "0x40/0x07"),
            (Partition("x", DATA, 0x70, 0, 0), "data/0x70"),
        ],
    )
    def test_kind(self, partition: Partition, kind: str):
        """Kinds are named as in a table's CSV; unknown ones by their numbers."""
        assert partition.kind == kind

    def test_in_words(self):
        """A partition says all that matters of it."""
        assert str(NVS) == "nvs (data/nvs, 0x9000, 0x4000 bytes)"


class TestComplaints:
    """What is wrong with where partitions lie."""

    def test_none(self):
        """A good table has nothing wrong, up to the last byte of flash."""
        assert TABLE.complaints(0x312000) == []
        assert TABLE.complaints() == []

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            ((Partition("a", DATA, 2, 0x8000, 0x1000),), "a .* overlaps the partition table, which ends at 0x9000"),
            ((NVS, Partition("a", DATA, 2, 0xC000, 0x1000)), "a .* overlaps nvs, which ends at 0xd000"),
            # not only its neighbour
            ((Partition("all", DATA, 2, 0x9000, 0x9000), NVS, OTADATA), "otadata .* overlaps all"),
            ((Partition("a", APP, 0, 0x11000, 0x1000),), "does not begin on a multiple of 0x10000"),
            ((Partition("a", DATA, 2, 0x9800, 0x1000),), "does not begin on a multiple of 0x1000"),
            ((Partition("a", APP, 0, 0x10000, 0x1800),), "does not have a size of whole sectors"),
            ((Partition("a", DATA, 2, 0x9000, 0),), "does not have a size of whole sectors"),
            ((NVS, Partition("nvs", DATA, 2, 0xD000, 0x1000)), "there are two partitions 'nvs'"),
        ],
    )
    def test_each(self, entries: tuple[Partition, ...], said: str):
        """Each fault is said, with the partitions it is about."""
        assert re.search(said, "\n".join(PartitionTable(entries).complaints()))

    def test_end_of_flash(self):
        """Past the last byte of flash by one."""
        (said,) = TABLE.complaints(0x312000 - 1)

        assert said.startswith("pages")
        assert "ends behind the flash of 0x311fff bytes" in said

    def test_table_elsewhere(self):
        """Where the table lies can be configured."""
        assert PartitionTable((NVS,)).complaints(table_offset=0x9000) != []

    def test_boot_loader_in_its_own_table(self):
        """Newer tables may list boot loader and table themselves, where they are."""
        entries = (Partition("boot", 2, 0, 0, 0x8000), Partition("table", 3, 0, 0x8000, 0x1000), NVS)

        assert PartitionTable(entries).complaints() == []
