"""Applications that no boot loader starts, and what it says of each."""

from __future__ import annotations

import pytest

from harness.firmware.chips import CHIPS
from harness.virtual.boot_log import BootLog
from harness.virtual.image_check import check
from tests.harness.virtual.flashed import SLOT_0, image
from tests.harness.virtual.memory import Memory

CHIP = CHIPS["esp32s3"]


def checked(content: bytes) -> tuple[bool, list[str]]:
    """Whether an application can be started, and what is logged, without level and time."""
    memory = Memory()
    memory.put(SLOT_0.offset, content)
    sent: list[bytes] = []
    found = check(memory, SLOT_0, CHIP, BootLog(sent.append))
    return found is not None, [line.decode().split(") ", 1)[1].strip() for line in sent]


def changed(at: int, value: int) -> bytes:
    """An application with one byte changed."""
    content = bytearray(image())
    content[at] = value
    return bytes(content)


def test_good():
    """Its segments are listed: where they lie, where they go, and whether they are loaded or mapped."""
    good, said = checked(image())

    assert good
    assert said[0] == "esp_image: segment 0: paddr=00020020 vaddr=3c000020 size=00120h (   288) map"
    assert [line.rsplit(" ", 1)[1] for line in said] == ["map", "map", "load", "load"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff" * 100, "esp_image: image at 0x20000 has invalid magic byte (nothing flashed here?)"),
        (image("esp32c3"), "boot_comm: mismatch chip ID, expected 9, found 5"),
        (changed(1, 17), "esp_image: image at 0x20000 segment count 17 exceeds max 16"),
        (changed(1, 0), "esp_image: Checksum failed. Calculated 0xef read 0x1"),
        (changed(0x30, 0xAA), "esp_image: Checksum failed. Calculated 0x"),
        (changed(len(image()) - 1, 0), "esp_image: Image hash failed - image is corrupt"),
        (changed(28, 0x21), "esp_image: invalid segment length 0x121"),
        (changed(30, 0x1C), "esp_image: invalid segment length 0xffffffff"),
        (changed(31, 0x01), "esp_image: invalid segment length 0x1000120"),
    ],
)
def test_bad(content: bytes, said: str):
    """Each check that fails is told in the boot loader's own words, as the last line."""
    good, lines = checked(content)

    assert not good
    assert lines[-1].startswith(said.partition(" read ")[0])


def test_behind_the_end_of_the_partition():
    """An image that is longer than its partition does not fit, wherever its bytes lie."""
    content = bytearray(image())
    content[24 + 4 : 24 + 8] = (0x1D0000).to_bytes(4, "little")
    _, lines = checked(bytes(content))

    assert lines == ["esp_image: Image length 1900576 doesn't fit in partition length 1900544"]
