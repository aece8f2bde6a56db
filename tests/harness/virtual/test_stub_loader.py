"""What only the flasher stub does."""

from __future__ import annotations

import hashlib

import pytest

from harness.virtual.flash import SECTOR
from harness.virtual.loader import LeaveStub, Restart
from harness.virtual.serial_protocol import Op, command_frame
from harness.virtual.slip import encode
from tests.harness.virtual.loader_host import FINE, LoaderHost, words


@pytest.fixture
def host():
    """A host at a running stub."""
    made = LoaderHost()
    made.start_stub()
    made.effects.clear()
    return made


def test_flash_is_attached(host):
    """A stub finds it by itself, whole."""
    host.flash.program((4 << 20) - 4, b"abcd")

    digest = hashlib.md5(b"abcd").digest()
    assert host.ask(Op.SPI_FLASH_MD5, words((4 << 20) - 4, 4, 0, 0)) == digest + FINE


def test_erase_all(host):
    """All of it."""
    host.flash.program(0, b"\0")
    host.flash.program((4 << 20) - 1, b"\0")

    assert host.ask(Op.ERASE_FLASH) == FINE
    assert host.flash.read(0, 4 << 20) == b"\xff" * (4 << 20)


def test_erase_region(host):
    """Whole sectors; anything else is a bad length."""
    host.flash.program(0, b"\0" * 3 * SECTOR)

    assert host.ask(Op.ERASE_REGION, words(SECTOR, SECTOR)) == FINE
    assert host.flash.read(0, 3 * SECTOR) == b"\0" * SECTOR + b"\xff" * SECTOR + b"\0" * SECTOR
    assert host.ask(Op.ERASE_REGION, words(1, SECTOR)) == b"\xc0\0"
    assert host.ask(Op.ERASE_REGION, words(0, 1)) == b"\xc0\0"
    assert host.ask(Op.ERASE_REGION, words(4 << 20, SECTOR)) == b"\xc4\0"


def test_read(host):
    """One packet, one acknowledgement, and so on; the digest comes last, after the last acknowledgement."""
    content = bytes(range(250)) * 4
    host.flash.program(0x100, content)

    frames = host.send(command_frame(Op.READ_FLASH, words(0x100, 1000, 400, 64)))
    assert frames[0][8:] == FINE
    assert frames[1:] == [content[:400]]
    assert host.send(encode(words(400))) == [content[400:800]]
    assert host.send(encode(words(800))) == [content[800:]]
    assert host.send(encode(words(1000))) == [hashlib.md5(content).digest()]
    assert host.send(encode(words(1000))) == []


def test_read_of_nothing(host):
    """Its digest follows at once: a host that has got all acknowledges nothing."""
    frames = host.send(command_frame(Op.READ_FLASH, words(0, 0, 400, 64)))

    assert frames[1:] == [hashlib.md5(b"").digest()]


@pytest.mark.parametrize("packet", [0, 4097])
def test_read_in_packets_that_cannot_be(host, packet):
    """Of no bytes, or of more than a sector."""
    assert host.ask(Op.READ_FLASH, words(0, 4, packet, 64)) == b"\xc0\0"


def test_acknowledgement_of_nothing(host):
    """Without a read it is noise."""
    assert host.send(encode(words(400))) == []


def test_end_of_a_write(host):
    """The stub stays, or gives way to the ROM loader; what was begun has to be complete."""
    assert host.ask(Op.FLASH_END, words(1)) == b"\xc6\0"
    host.ask(Op.FLASH_BEGIN, words(8, 2, 4, 0, 0))
    host.block(Op.FLASH_DATA, 0, b"abcd")
    assert host.ask(Op.FLASH_END, words(1)) == b"\xc8\0"

    host.ask(Op.FLASH_BEGIN, words(0, 0, 0x4000, 0, 0))
    assert host.ask(Op.FLASH_END, words(1)) == FINE
    assert host.effects == []
    assert not host.mode.is_rom

    host.ask(Op.FLASH_BEGIN, words(0, 0, 0x4000, 0, 0))
    assert host.ask(Op.FLASH_END, words(0)) == FINE
    assert host.effects == [LeaveStub()]
    assert host.mode.is_rom


def test_run(host):
    """There is no answer: the chip is reset."""
    assert host.send(command_frame(Op.RUN_USER_CODE)) == []
    assert host.effects == [Restart("software")]


def test_unknown_command(host):
    """One answer; security info is none of an ESP32's, whose hosts tell by the code."""
    assert host.ask(0xEE) == b"\xc3\0"
    old = LoaderHost("esp32")
    old.start_stub()
    assert old.ask(Op.GET_SECURITY_INFO) == b"\xff\0"
