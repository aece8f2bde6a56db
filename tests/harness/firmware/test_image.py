"""Images are read as the boot loader reads them, and refused for its reasons."""

from __future__ import annotations

import contextlib
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.firmware.chips import CHIPS, Chip
from harness.firmware.errors import BadImage
from harness.firmware.image import Image, Segment, xor_of
from harness.firmware.image_writer import image_file

C3 = CHIPS["esp32c3"]
SEGMENTS = [Segment(0x3C000020, b"constants, 20 bytes."), Segment(0x40380000, b"code")]


def image(chip: Chip = C3) -> bytes:
    """A small image with two segments."""
    return image_file(chip, 0x40380000, SEGMENTS, flash_size=4 << 20)


def refused(data: bytes, chip: Chip | None = None) -> BadImage:
    """Why these bytes are no image."""
    with pytest.raises(BadImage) as bad:
        Image.parse(data, chip)
    return bad.value


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_what_it_says(chip: Chip):
    """Header, segments, size and hash come out as they went in."""
    data = image(chip)

    read = Image.parse(data, chip)

    assert (read.chip, read.chip_id, read.entry) == (chip, chip.image_id, 0x40380000)
    assert list(read.segments) == SEGMENTS
    assert (read.size, read.hash_appended, read.sha256) == (len(data), True, hashlib.sha256(data[:-32]).hexdigest())
    assert (read.flash_mode, read.flash_frequency, 1 << 20 << read.flash_size) == (2, 0xF, 4 << 20)
    assert read.descriptor is None
    assert read.program is None


def test_in_a_partition():
    """What follows an image in its partition does not matter, and a memoryview does as well."""
    data = image()

    assert Image.parse(memoryview(data + b"\xff" * 5000)) == Image.parse(data)


def test_without_hash():
    """An image that says it has no hash ends with its checksum."""
    data = image()
    bare = data[:23] + b"\0" + data[24:-32]

    read = Image.parse(bare)

    assert (read.hash_appended, read.size) == (False, len(bare))


def test_unknown_chip():
    """An image for a chip that is not supported can be read, and says its number."""
    data = image()
    body = data[:12] + struct.pack("<H", 23) + data[14:-32]

    read = Image.parse(body + hashlib.sha256(body).digest())

    assert (read.chip, read.chip_id) == (None, 23)
    assert "chip number 23" in str(refused(body, C3))


class TestRefused:
    """One reason for each check."""

    def test_empty(self):
        """Nothing is no image."""
        assert refused(b"").kind == "truncated"

    def test_erased(self):
        """Flash without an image has FF where its first byte would be."""
        bad = refused(b"\xff" * 100)

        assert bad.kind == "magic"
        assert str(bad) == "bad image: expected the first byte 0xe9, it is 0xff: no image"

    def test_other_chip(self):
        """The chips are named."""
        bad = refused(image(CHIPS["esp32"]), C3)

        assert bad.kind == "chip"
        assert str(bad) == "bad image: expected an image for esp32c3, it is for esp32"

    @pytest.mark.parametrize("count", [0, 17, 255])
    def test_number_of_segments(self, count: int):
        """None, or more than sixteen, cannot be."""
        data = image()

        assert refused(data[:1] + bytes([count]) + data[2:]).kind == "segments"

    def test_cut_off_anywhere(self):
        """An image that ends too early is truncated, wherever it ends."""
        data = image()

        kinds = {refused(data[:size], C3).kind for size in range(len(data))}

        assert kinds == {"truncated"}

    def test_segment_too_long(self):
        """A length that reaches behind the image is one, too."""
        data = bytearray(image())
        data[28:32] = b"\xff\xff\xff\x7f"

        assert "segment 0 of 2" in str(refused(bytes(data)))

    def test_every_bit_counts(self):
        """No bit can be flipped unnoticed, but for the one that says that there is a hash."""
        data = image()
        for position in set(range(len(data))) - {23}:
            assert refused(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :], C3)

    def test_checksum(self):
        """The checksum is looked at before the hash: the boot loader does so."""
        data = image()
        body = data[:-33] + bytes([data[-33] ^ 0x40])

        bad = refused(body + hashlib.sha256(body).digest())

        assert bad.kind == "checksum"
        assert f"expected the checksum {data[-33]:#04x}" in str(bad)

    def test_hash(self):
        """A hash that does not hold."""
        assert refused(image()[:-1] + b"\0").kind == "hash"


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes):
    """Whatever the bytes are: an image, or a reason."""
    with contextlib.suppress(BadImage):
        Image.parse(data)


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header(data: bytes):
    """The same where the first byte is right."""
    with contextlib.suppress(BadImage):
        Image.parse(b"\xe9\x02" + data)


@given(st.binary(max_size=100))
def test_xor(data: bytes):
    """Folding is the same as going byte by byte."""
    expected = 0
    for byte in data:
        expected ^= byte

    assert xor_of(data) == expected
