"""Images for updates, made of a build's own."""

import pytest

from harness.errors import Misuse
from harness.firmware.chips import CHIPS
from harness.firmware.descriptors import AppDescriptor
from harness.firmware.errors import BadImage
from harness.firmware.image import Image
from harness.firmware.made_images import application
from harness.validation.changed_images import crashing, damaged, version_after, with_version
from harness.virtual.firmware.ota import is_newer

CHIP = CHIPS["esp32s3"]
IMAGE = application(CHIP, AppDescriptor("kettle", "1.4.2"), "#!builtin firmware", flash_size=4 << 20).image


def test_version():
    """Only the version is another; the boot loader's checks hold."""
    image = Image.parse(with_version(IMAGE, "2.0.10"), CHIP)

    assert image.descriptor.version == "2.0.10"
    assert image.descriptor.project == "kettle"
    assert image.program == "#!builtin firmware"
    assert with_version(with_version(IMAGE, "9"), "1.4.2") == IMAGE


def test_version_too_long():
    """There is room for 31 bytes."""
    assert Image.parse(with_version(IMAGE, "1" * 31)).descriptor.version == "1" * 31
    with pytest.raises(Misuse):
        with_version(IMAGE, "1" * 32)


def test_damaged():
    """No boot loader takes it."""
    with pytest.raises(BadImage):
        Image.parse(damaged(IMAGE))


def test_crashing():
    """It passes all checks, and has another program on a virtual board, another entry on a chip."""
    virtual = Image.parse(crashing(IMAGE, CHIP, "3.0.0"), CHIP)
    assert (virtual.descriptor.version, "panic" in virtual.program) == ("3.0.0", True)

    plain = IMAGE.replace(b"WSDEVPRG", b"________")
    with pytest.raises(BadImage):
        crashing(plain, CHIP, "3.0.0")  # its checksum is none any more
    real = Image.parse(crashing(_right(plain), CHIP, "3.0.0"), CHIP)
    assert (real.descriptor.version, real.entry) == ("3.0.0", 0)


def test_version_after():
    """Every firmware holds it for newer."""
    assert version_after("1.4.2") == "2.4.2"
    assert is_newer(version_after("9.9", 3), version_after("9.9", 2))
    with pytest.raises(Misuse):
        version_after("v1")


def _right(image):
    from harness.firmware.image_writer import image_file

    parsed = Image.parse(IMAGE)
    first = parsed.segments[0]
    segments = [type(first)(first.address, first.data.replace(b"WSDEVPRG", b"________")), *parsed.segments[1:]]
    return image_file(CHIP, parsed.entry, segments, flash_size=4 << 20)
