"""What ROM loader and stub have in common: each command with its answers, and arguments that are none."""

from __future__ import annotations

import struct
import zlib

import pytest

from harness.virtual.flash import SECTOR, PowerCut
from harness.virtual.loader import SEGMENTS, SetBaud, StartProgram, StartStub
from harness.virtual.serial_protocol import Op, command_frame
from tests.harness.virtual.loader_host import FINE, LoaderHost, words

CODES = {"length": (b"\x01\x05", b"\xc0\0"), "flash": (b"\x01\x06", b"\xc4\0"), "not_writing": (b"\x01\x06", b"\xc6\0")}


@pytest.fixture(params=["rom", "stub"])
def host(request):
    """A host at each of the loaders, before anything is attached."""
    made = LoaderHost("esp32c3")
    if request.param == "stub":
        made.start_stub()
        made.effects.clear()
    made.spi.detach()
    return made


def refused(host: LoaderHost, body: bytes, code: str) -> bool:
    """The answer is this failure, in the spelling of who gives it."""
    return body[:2] == CODES[code][0 if host.mode.is_rom else 1]


def test_sync(host):
    """Eight answers; hosts tell ROM and stub apart by their value."""
    answers = host.answers(Op.SYNC, b"\x07\x07\x12\x20" + b"\x55" * 32)

    assert [op for op, _, _ in answers] == [Op.SYNC] * 8
    assert {value for _, value, _ in answers} == ({0x20120707} if host.mode.is_rom else {0})


def test_length_of_the_status(host):
    """Four bytes from ROM, two from the stub."""
    assert len(host.ask(Op.READ_REG, words(0))) == (4 if host.mode.is_rom else 2)


def test_registers(host):
    """Several are written with one command, under a mask each, and read one by one."""
    both = words(0x60000100, 0x11111111, 0xFFFFFFFF, 0) + words(0x60000104, 0x22222222, 0x0000FFFF, 10)

    assert host.ask(Op.WRITE_REG, both)[:2] == FINE
    assert host.value(Op.READ_REG, words(0x60000100)) == 0x11111111
    assert host.value(Op.READ_REG, words(0x60000104)) == 0x00002222
    host.ask(Op.WRITE_REG, words(0x60000100, 0, 0xFF, 0))
    assert host.value(Op.READ_REG, words(0x60000100)) == 0x11111100


def test_baud_changes_after_the_answer(host):
    """The answer is sent at the old rate."""
    outputs = list(host.mode.feed(command_frame(Op.CHANGE_BAUDRATE, words(921600, 0))))

    assert isinstance(outputs[0], bytes)
    assert outputs[1:] == [SetBaud(921600)]


def test_baud_of_zero(host):
    """It is answered, and changes nothing."""
    assert host.ask(Op.CHANGE_BAUDRATE, words(0, 0))[:2] == FINE
    assert host.effects == []


def test_program_in_ram(host):
    """It is loaded where it belongs, and started; its blocks may not be more than was said."""
    assert host.ask(Op.MEM_BEGIN, words(6, 2, 4, 0x40010000))[:2] == FINE
    assert host.block(Op.MEM_DATA, 0, b"abcd")[:2] == FINE
    assert host.block(Op.MEM_DATA, 1, b"ef")[:2] == FINE
    assert host.block(Op.MEM_DATA, 2, b"g")[:2] != FINE
    assert host.ask(Op.MEM_END, words(0, 0x40010000))[:2] == FINE

    assert host.effects == [StartProgram(0x40010000)]
    assert host.bus.read(0x40010000) == int.from_bytes(b"abcd", "little")
    assert host.bus.read(0x40010004) == int.from_bytes(b"ef", "little")


def test_upload_without_a_start(host):
    """MEM_END can say that nothing is to be started."""
    host.ask(Op.MEM_BEGIN, words(4, 1, 4, 0x40380000))
    host.block(Op.MEM_DATA, 0, b"abcd")

    assert host.ask(Op.MEM_END, words(1, 0))[:2] == FINE
    assert host.effects == []


@pytest.mark.parametrize(
    ("address", "entry", "effect"),
    [
        (0x40380000, 0x40380008, StartStub()),
        (0x40380000, 0x40380009, StartProgram(0x40380009)),
        (0x40380000, 0x40010000, StartProgram(0x40010000)),
        (0x40380004, 0x40380008, StartProgram(0x40380008)),
    ],
)
def test_stubs_are_told_by_their_place(address, entry, effect):
    """A stub's code lies at the address it is linked to, and is entered within what was loaded."""
    host = LoaderHost("esp32c3")
    host.upload(address, b"123456789", entry)

    assert host.effects == [effect]


def test_data_without_a_begin(host):
    """There is nowhere for it to go."""
    assert refused(host, host.block(Op.MEM_DATA, 0, b"abcd"), "not_writing")
    assert refused(host, host.block(Op.FLASH_DATA, 0, b"abcd"), "not_writing")
    assert refused(host, host.block(Op.FLASH_DEFL_DATA, 0, b"abcd"), "not_writing")


def test_segments_have_an_end(host):
    """What a host piles up without ever starting it is refused at last."""
    for _ in range(SEGMENTS):
        assert host.ask(Op.MEM_BEGIN, words(4, 1, 4, 0x40010000))[:2] == FINE

    assert host.ask(Op.MEM_BEGIN, words(4, 1, 4, 0x40010000))[:2] != FINE


def test_nothing_is_attached(host):
    """Without SPI_ATTACH there is no flash to write to, or to sum up."""
    for op, arguments in (
        (Op.FLASH_BEGIN, words(4, 1, 4, 0, 0)),
        (Op.FLASH_DEFL_BEGIN, words(4, 1, 4, 0, 0)),
        (Op.SPI_FLASH_MD5, words(0, 4, 0, 0)),
    ):
        assert refused(host, host.ask(op, arguments), "flash")


def test_plain_write(host):
    """The sectors it touches are erased, and the data is written."""
    host.ask(Op.SPI_ATTACH, words(0, 0))
    host.flash.program(0, b"\0" * 3 * SECTOR)

    assert host.ask(Op.FLASH_BEGIN, words(8, 2, 4, SECTOR + 16, 0))[:2] == FINE
    assert host.block(Op.FLASH_DATA, 0, b"abcd")[:2] == FINE
    assert host.block(Op.FLASH_DATA, 1, b"efgh")[:2] == FINE

    assert host.flash.read(SECTOR, 26) == b"\xff" * 16 + b"abcdefgh\xff\xff"
    assert host.flash.read(SECTOR - 1, 1) == host.flash.read(2 * SECTOR, 1) == b"\0"


def test_deflated_write(host):
    """As the plain one; a block of the other kind does not belong to it."""
    host.ask(Op.SPI_ATTACH, words(0, 0))
    assert host.ask(Op.FLASH_DEFL_BEGIN, words(8, 1, 0x400, 0x100, 0))[:2] == FINE

    assert refused(host, host.block(Op.FLASH_DATA, 0, b"abcd"), "not_writing")
    assert host.block(Op.FLASH_DEFL_DATA, 0, zlib.compress(b"abcdefgh"))[:2] == FINE
    assert host.flash.read(0x100, 9) == b"abcdefgh\xff"


def test_encrypted_write(host):
    """It is refused: this chip has no key."""
    host.ask(Op.SPI_ATTACH, words(0, 0))

    assert host.ask(Op.FLASH_BEGIN, words(8, 2, 4, 0, 1))[:2] in (b"\x01\x05", b"\xff\0")


def test_begin_of_four_words(host):
    """The oldest chips' ROM knows no fifth, and esptool leaves it out."""
    host.ask(Op.SPI_ATTACH, words(0, 0))

    assert host.ask(Op.FLASH_BEGIN, words(8, 2, 4, 0))[:2] == FINE


def test_past_the_end_of_flash(host):
    """A write or a sum that goes past it is refused as the flash's failure."""
    host.ask(Op.SPI_ATTACH, words(0, 0))
    host.ask(Op.SPI_SET_PARAMS, words(0, 16 << 20, 0x10000, 0x1000, 0x100, 0xFFFF))

    assert refused(host, host.ask(Op.FLASH_BEGIN, words(8, 2, 4, (4 << 20) - 4, 0)), "flash")
    assert refused(host, host.ask(Op.SPI_FLASH_MD5, words((4 << 20) - 4, 8, 0, 0)), "flash")


def test_security_info(host):
    """Nothing is burnt; the chip's number is the one of its images."""
    body = host.ask(Op.GET_SECURITY_INFO)

    assert struct.unpack_from("<IB7xII", body) == (0, 0, 5, 0)
    assert body[20:22] == FINE


@pytest.mark.parametrize("op", [op for op in Op if op not in {Op.GET_SECURITY_INFO, Op.ERASE_FLASH, Op.RUN_USER_CODE}])
@pytest.mark.parametrize("size", [0, 3, 7])
def test_arguments_that_are_none(host, op, size):
    """Each command that has arguments refuses what cannot be them."""
    if op in host.mode._loader.handlers:
        assert host.ask(op, bytes(size))[0] != 0
    assert host.effects == []


def test_length_that_is_not_true(host):
    """A packet that is not as long as it says has lost something on its way."""
    (frame,) = host.send(b"\xc0\x00\x0a\x05\x00\0\0\0\0" + words(0) + b"\xc0")

    assert refused(host, frame[8:], "length")


def test_power_cut(host):
    """It comes out in the middle of the write, and there is no answer."""
    host.ask(Op.SPI_ATTACH, words(0, 0))
    host.ask(Op.FLASH_BEGIN, words(8, 1, 8, 0, 0))
    host.flash.cut_after(3)

    with pytest.raises(PowerCut):
        host.block(Op.FLASH_DATA, 0, b"abcdefgh")
    assert host.flash.read(0, 8) == b"abc\xff\xff\xff\xff\xff"
