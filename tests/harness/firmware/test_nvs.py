"""NVS partitions are read with all their checks."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.firmware import nvs, nvs_image
from harness.firmware.errors import BadNvs
from harness.firmware.nvs_image import I8, I32, INTEGERS, U8, U64

PAGE = 0x1000

names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789.", min_size=1, max_size=15)
integers = st.one_of(
    *(st.integers(kind.least, kind.greatest).map(kind) for kind in INTEGERS.values()),
)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
values = st.dictionaries(
    names, st.dictionaries(names, texts | integers | st.binary(max_size=5000), max_size=6), max_size=4
)


def entry(namespace: int, kind: int, key: str, inline: bytes, *, span: int = 1, chunk: int = 0xFF) -> bytes:
    """One entry with the CRC that holds."""
    head = struct.pack("<BBBB", namespace, kind, span, chunk)
    tail = key.encode().ljust(16, b"\0") + inline.ljust(8, b"\xff")
    return head + struct.pack("<I", zlib.crc32(head + tail, 0xFFFFFFFF)) + tail


def data_entry(namespace: int, kind: int, key: str, data: bytes, *, chunk: int = 0xFF) -> bytes:
    """An entry with data behind it."""
    inline = struct.pack("<HHI", len(data), 0xFFFF, zlib.crc32(data, 0xFFFFFFFF))
    rows = data + b"\xff" * (-len(data) % 32)
    return entry(namespace, kind, key, inline, span=1 + len(rows) // 32, chunk=chunk) + rows


def page(
    *entries: bytes, sequence: int = 0, state: int = 0xFFFFFFFE, version: int = 0xFE, erased: tuple[int, ...] = ()
) -> bytes:
    """One page with these entries; those whose place is in ``erased`` are marked so."""
    head = struct.pack("<IB19s", sequence, version, b"\xff" * 19)
    body = b"".join(entries)
    written = len(body) // 32
    bits = [0b00 if index in erased else 0b10 if index < written else 0b11 for index in range(126)] + [0b11, 0b11]
    bitmap = bytes(sum(bits[at + n] << 2 * n for n in range(4)) for at in range(0, 128, 4))
    header = struct.pack("<I", state) + head + struct.pack("<I", zlib.crc32(head, 0xFFFFFFFF))
    return (header + bitmap + body).ljust(PAGE, b"\xff")


NAMESPACE = entry(0, 0x01, "wifi", b"\x01")
EMPTY = b"\xff" * PAGE


class TestGenerated:
    """What Espressif's generator writes is read as it was meant."""

    @settings(max_examples=60)
    @given(values, st.sampled_from([1, 2]))
    def test_round_trip(self, written: dict[str, dict[str, nvs_image.Value]], version: int):
        """Any values, in both versions of the format, with their types."""
        if version == 1:  # whose blobs end with the page
            written = {
                space: {key: value[:1984] if isinstance(value, bytes) else value for key, value in members.items()}
                for space, members in written.items()
            }
        data = nvs_image.generate(written, 0x20000, version=version)

        contents = nvs.examine(data)

        assert contents.faults == ()
        assert nvs_image.typed(contents.items) == {space: members for space, members in written.items() if members}
        assert nvs.read(data) == contents.namespaces

    def test_blob_over_pages(self):
        """A blob in several chunks, each on its own page."""
        blob = random.Random(1).randbytes(9000)

        assert nvs.read(nvs_image.generate({"a": {"blob": blob, "after": "x"}}, 0x6000)) == {
            "a": {"blob": blob, "after": "x"}
        }

    def test_against_idftool(self):
        """An independent reader says the same, where one is installed."""
        parser = pytest.importorskip("idftool.nvs.parser")
        written = {
            "wifi": {"ssid": "x", "password": "y" * 60, "power": I8(-3)},
            "b": {"n": U64(2**63), "blob": random.Random(2).randbytes(5000), "m": I32(-1)},
        }
        data = nvs_image.generate(written, 0x5000)

        read = {(entry.namespace, entry.key): entry.value for entry in parser.parse(data).entries}

        assert read == {
            (space, key): value for space, members in nvs.read(data).items() for key, value in members.items()
        }


class TestPages:
    """What a device leaves behind, which no generator writes."""

    def test_never_used(self):
        """An erased partition has nothing in it."""
        contents = nvs.examine(EMPTY * 4)

        assert contents == nvs.NvsContents(items=(), faults=(), pages=4, empty_pages=4)
        assert nvs.read(EMPTY * 4) == {}

    def test_overwritten(self):
        """Of two values of a key the later one stands: a power cut came before the first was erased."""
        first = page(NAMESPACE, data_entry(1, 0x21, "ssid", b"old\0"), sequence=5, state=0xFFFFFFFC)
        second = page(data_entry(1, 0x21, "ssid", b"new\0"), sequence=6)

        assert nvs.read(first + second) == {"wifi": {"ssid": "new"}}
        # the order of the pages in the partition does not matter, only their sequence
        assert nvs.read(second + EMPTY + first) == {"wifi": {"ssid": "new"}}

    def test_erased(self):
        """What is marked as erased is not there, whatever it says."""
        ssid = data_entry(1, 0x21, "ssid", b"old\0")

        assert nvs.read(page(NAMESPACE, ssid, erased=(1, 2))) == {}

    def test_freeing(self):
        """A page that was being freed when power went still counts."""
        data = page(NAMESPACE, entry(1, 0x14, "n", b"\x05\0\0\0"), state=0xFFFFFFF8)

        assert nvs.read(data) == {"wifi": {"n": 5}}

    def test_new_version_of_a_blob(self):
        """A blob that was written again has chunks from 0x80; the index says which count."""
        rows = [
            NAMESPACE,
            data_entry(1, 0x42, "blob", b"old", chunk=0),
            data_entry(1, 0x42, "blob", b"new!", chunk=0x80),
            entry(1, 0x48, "blob", struct.pack("<IBB", 4, 1, 0x80)),
        ]

        assert nvs.read(page(*rows)) == {"wifi": {"blob": b"new!"}}

    def test_blob_of_version_1(self):
        """Blobs in one piece, as old firmware wrote them."""
        data = page(NAMESPACE, data_entry(1, 0x41, "blob", b"whole"), version=0xFF)

        assert nvs.read(data) == {"wifi": {"blob": b"whole"}}

    def test_blob_replaced_by_a_string(self):
        """A key that was a blob and is a string now."""
        rows = [
            NAMESPACE,
            data_entry(1, 0x42, "k", b"blob", chunk=0),
            entry(1, 0x48, "k", struct.pack("<IBB", 4, 1, 0)),
            data_entry(1, 0x21, "k", b"text\0"),
        ]

        assert nvs.read(page(*rows)) == {"wifi": {"k": "text"}}

    def test_nameless_namespace(self):
        """Values whose namespace's name is lost are kept under its number."""
        assert nvs.read(page(entry(7, 0x01, "n", b"\x02"))) == {"#7": {"n": 2}}

    def test_free_pages(self):
        """Firmware needs a free page; how many there are is counted."""
        assert nvs.examine(page(NAMESPACE) + EMPTY * 2).empty_pages == 2


class TestFaults:
    """Checks that do not hold are told, with their place."""

    @pytest.mark.parametrize(
        ("data", "fault"),
        [
            (b"", "expected whole pages of 0x1000 bytes, there are 0x0 bytes"),
            (EMPTY + b"\xff", "there are 0x1001 bytes"),
            (EMPTY + b"\xff\xff\xff\xff\0".ljust(PAGE, b"\xff"), "page at 0x1000 says that it was never used"),
            (page(version=0xFD), "page at 0x0: expected version 1 or 2, its code is 0xfd"),
            (page(state=0), "page at 0x0: its state 0x00000000 is none that can be read"),
            (page(NAMESPACE)[:8] + b"\xff" + page(NAMESPACE)[9:], "page at 0x0: the CRC of its header"),
            (page(NAMESPACE, entry(1, 0x01, "n", b"\1", span=0)), "entry 1 of the page at 0x0: spans 0 entries"),
            (page(NAMESPACE, entry(1, 0x01, "n", b"\1", span=126)), "spans 126 entries, 125 are left"),
            (page(NAMESPACE, entry(1, 0x33, "n", b"\1")), "key 'n' has the unknown type 0x33"),
            (
                page(NAMESPACE, entry(1, 0x21, "s", struct.pack("<HHI", 40, 0, 0), span=2) + b"x" * 32),
                "key 's' has 32 bytes of data of 40",
            ),
            (
                page(NAMESPACE, entry(1, 0x48, "b", struct.pack("<IBB", 9, 1, 0))),
                "the blob 'b' has 0 bytes in its chunks, of 9",
            ),
        ],
    )
    def test_each(self, data: bytes, fault: str):
        """What is wrong, and where."""
        with pytest.raises(BadNvs) as bad:
            nvs.read(data)

        assert fault in str(bad.value)

    def test_every_byte_counts(self):
        """A damaged byte in what is written never goes unnoticed, and never gives another value."""
        written = {"wifi": {"ssid": "network", "blob": b"\x01\x02", "n": U8(3)}}
        data = nvs_image.generate(written, 0x3000)
        used = 64 + 32 * 7
        for position in [*range(4, 9), *range(28, 32), *range(64, used)]:
            spoiled = data[:position] + bytes([data[position] ^ 0x20]) + data[position + 1 :]
            contents = nvs.examine(spoiled)
            if not contents.faults:
                # the filling behind a string or blob is in no CRC
                assert contents.namespaces == written
                assert data[position] == 0xFF

    def test_many(self):
        """Of many faults the first few are shown; all of them are there."""
        data = page(*(entry(1, 0x33, f"k{n}", b"") for n in range(20)))
        with pytest.raises(BadNvs) as bad:
            nvs.read(data)

        assert len(bad.value.faults) == 20
        assert str(bad.value).endswith("; and 15 more")

    def test_the_rest_is_read(self):
        """One damaged entry does not hide the others."""
        good = entry(1, 0x01, "good", b"\x07")
        bad = bytearray(entry(1, 0x01, "bad", b"\x07"))
        bad[10] ^= 1

        contents = nvs.examine(page(NAMESPACE, bytes(bad), good))

        assert contents.namespaces == {"wifi": {"good": 7}}
        assert contents.faults == ("entry 1 of the page at 0x0: its CRC does not hold",)

    @given(st.binary(max_size=4096), st.integers(0, 4095))
    def test_any_bytes(self, data: bytes, at: int):
        """Whatever is on the flash, it can be looked at."""
        good = nvs_image.generate({"a": {"b": "c", "d": I32(-1)}}, 0x3000)

        nvs.examine(data)
        nvs.examine(data.ljust(4096, b"\xff"))
        nvs.examine(good[:at] + data + good[at + len(data) :])
