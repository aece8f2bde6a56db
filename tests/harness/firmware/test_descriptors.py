"""Descriptors and the device program stand first in an image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Misuse
from harness.firmware.chips import CHIPS
from harness.firmware.descriptors import AppDescriptor, BootloaderDescriptor, program_block, program_in
from harness.firmware.errors import BadImage
from harness.firmware.image import Image, Segment
from harness.firmware.image_writer import image_file

APP = AppDescriptor("gateway_device", "1.2.3", "v5.4", "Jan  1 2026", "12:34:56", "ab" * 32, 7)
BOOT = BootloaderDescriptor(3, "v5.4", "Jan  1 2026 12:34:56")


def image(constants: bytes) -> Image:
    """An image whose first segment has these bytes."""
    return Image.parse(image_file(CHIPS["esp32s3"], 0, [Segment(0x3C000020, constants)], flash_size=1 << 20))


def test_application():
    """An application's descriptor is written and read, with everything in its place."""
    data = APP.to_bytes()

    assert (len(data), data[:4], data[48:62], data[144:176]) == (
        256,
        b"\x32\x54\xcd\xab",
        b"gateway_device",
        b"\xab" * 32,
    )
    assert image(data).descriptor == APP
    assert image(data).bootloader_descriptor is None


def test_bootloader():
    """So is a boot loader's."""
    assert len(BOOT.to_bytes()) == 80
    assert image(BOOT.to_bytes()).bootloader_descriptor == BOOT
    assert image(BOOT.to_bytes()).descriptor is None


def test_longest_text():
    """Texts keep room for the NUL that ends them."""
    assert AppDescriptor("p" * 31, "v").to_bytes()[48 + 31] == 0
    with pytest.raises(Misuse, match="at most 31 bytes"):
        AppDescriptor("p" * 32, "v").to_bytes()


@pytest.mark.parametrize("size", [0, 4, 255])
def test_cut_off(size: int):
    """A part of a descriptor is none."""
    assert AppDescriptor.parse(APP.to_bytes()[:size]) is None
    assert BootloaderDescriptor.parse(BOOT.to_bytes()[: min(size, 79)]) is None


@given(st.binary(min_size=252, max_size=300))
def test_any_text(data: bytes):
    """A descriptor with any bytes in it can be read, and printed."""
    descriptor = AppDescriptor.parse(b"\x32\x54\xcd\xab" + data)

    assert descriptor is not None
    assert isinstance(descriptor.project, str)


class TestProgram:
    """The device program behind the descriptor."""

    @given(st.text(max_size=200))
    def test_any(self, text: str):
        """Any text comes back."""
        assert image(APP.to_bytes() + program_block(text)).program == text

    def test_none(self):
        """Real firmware has none: no descriptor, or something else behind it."""
        assert image(b"constants").program is None
        assert image(APP.to_bytes() + b"constants").program is None

    @pytest.mark.parametrize(
        "block", [b"WSDEVPRG", b"WSDEVPRG\x01\0\0", b"WSDEVPRG\x05\0\0\0four", b"WSDEVPRG\x02\0\0\0\xff\xff"]
    )
    def test_spoiled(self, block: bytes):
        """One that is cut off or no text is an error, not a board without a program."""
        with pytest.raises(BadImage) as bad:
            program_in(block)

        assert bad.value.kind == "program"
