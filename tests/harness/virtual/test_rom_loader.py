"""What only the loader in ROM does."""

from __future__ import annotations

import hashlib

import pytest

from harness.virtual.loader import NotKnown, Restart
from harness.virtual.rom_loader import UNTOLD_FLASH_SIZE
from harness.virtual.serial_protocol import Op
from tests.harness.virtual.loader_host import FINE, LoaderHost, words


@pytest.fixture
def host():
    """A host, with the flash attached."""
    made = LoaderHost()
    made.ask(Op.SPI_ATTACH, words(0, 0))
    return made


def test_digest_is_spelled_out(host):
    """32 hexadecimal digits, before the status."""
    host.flash.program(0, b"abc")
    body = host.ask(Op.SPI_FLASH_MD5, words(0, 3, 0, 0))

    assert body == hashlib.md5(b"abc").hexdigest().encode() + b"\0\0\0\0"


def test_slow_read(host):
    """64 bytes are in each answer, however few were asked for; more cannot be."""
    host.flash.program(0x100, b"abcdef")

    assert host.ask(Op.READ_FLASH_SLOW, words(0x100, 4)) == b"abcd".ljust(64, b"\0") + b"\0\0\0\0"
    assert host.ask(Op.READ_FLASH_SLOW, words(0x100, 64))[:8] == b"abcdef\xff\xff"
    assert host.ask(Op.READ_FLASH_SLOW, words(0x100, 65))[:2] == b"\x01\x0a"


def test_untold_flash_size(host):
    """It takes the flash for 2 MiB until it is told better, and fails beyond."""
    assert host.ask(Op.READ_FLASH_SLOW, words(UNTOLD_FLASH_SIZE - 4, 4))[:2] == b"\xff\xff"
    assert host.ask(Op.READ_FLASH_SLOW, words(UNTOLD_FLASH_SIZE, 4))[:2] == b"\x01\x06"

    host.ask(Op.SPI_SET_PARAMS, words(0, 4 << 20, 0x10000, 0x1000, 0x100, 0xFFFF))

    assert host.ask(Op.READ_FLASH_SLOW, words(UNTOLD_FLASH_SIZE, 4))[:2] == b"\xff\xff"


@pytest.mark.parametrize("op", [Op.FLASH_END, Op.FLASH_DEFL_END])
@pytest.mark.parametrize("stays", [0, 1])
def test_end_of_a_write(host, op, stays):
    """It leaves download mode, by a reset or by a start of what is flashed: a host sees no difference."""
    host.ask(Op.FLASH_BEGIN, words(0, 0, 0x400, 0, 0))

    assert host.ask(op, words(stays))[:2] == FINE
    assert host.effects == [Restart("software")]


@pytest.mark.parametrize(
    ("chip", "op"), [("esp32s3", Op.ERASE_FLASH), ("esp32s3", Op.READ_FLASH), ("esp32", Op.GET_SECURITY_INFO)]
)
def test_unknown_command(chip, op):
    """It complains eight times under another number, each in 14 bytes, as hosts expect and drain it."""
    host = LoaderHost(chip)
    answers = host.answers(op)

    assert answers == [(0, 0, b"\x01\x05\0\0")] * 8
    assert host.effects == [NotKnown(op)]
