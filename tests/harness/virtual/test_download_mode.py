"""Download mode as a whole: who answers, and that nothing a host can send brings it down."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.virtual.loader import StartStub
from harness.virtual.serial_protocol import Op, command_frame
from harness.virtual.slip import encode
from tests.harness.virtual.loader_host import LoaderHost, words

STUB = {"esp32": (0x400BE000, 0x400A8000), "esp32s3": (0x40378000,), "esp32c3": (0x40380000,)}
SESSION = b"".join(
    (
        command_frame(Op.SYNC, b"\x07\x07\x12\x20" + b"\x55" * 32),
        command_frame(Op.READ_REG, words(0x40001000)),
        command_frame(Op.SPI_ATTACH, words(0, 0)),
        command_frame(Op.FLASH_BEGIN, words(8, 1, 0x400, 0xC0DB, 0)),
        command_frame(0xEE),
        command_frame(Op.SPI_FLASH_MD5, words(0, 0xC0DB, 0, 0)),
    )
)


@pytest.mark.parametrize(("chip", "address"), [(chip, at) for chip, places in STUB.items() for at in places])
def test_stub_starts(chip, address):
    """It says so after the answer of the ROM, and from then on it is the one that answers."""
    host = LoaderHost(chip)
    assert host.mode.is_rom

    assert host.upload(address, b"code", address)[1:] == [b"OHAI"]
    assert host.effects == [StartStub()]
    assert not host.mode.is_rom


def test_stub_on_a_stub():
    """A second one takes the place of the first."""
    host = LoaderHost()
    host.start_stub()
    host.start_stub()

    assert host.effects == [StartStub(), StartStub()]


def test_effects_come_in_their_place():
    """The answer of the ROM, the start, the stub's greeting: in this order."""
    host = LoaderHost("esp32c3")
    host.ask(Op.MEM_BEGIN, words(4, 1, 4, 0x40380000))
    host.block(Op.MEM_DATA, 0, b"code")
    outputs = list(host.mode.feed(command_frame(Op.MEM_END, words(0, 0x40380000))))

    assert [type(output).__name__ for output in outputs] == ["bytes", "StartStub", "bytes"]
    assert outputs[2] == encode(b"OHAI")


@given(st.lists(st.integers(0, len(SESSION)), max_size=20))
def test_any_split(cuts):
    """The answers are the same, whatever pieces the commands come in."""
    host, whole = LoaderHost(), LoaderHost().send(SESSION)
    ends = [*sorted(cuts), len(SESSION)]
    got = [frame for start, end in zip([0, *ends], ends, strict=False) for frame in host.send(SESSION[start:end])]

    assert got == whole


@settings(max_examples=200)
@given(
    stub=st.booleans(),
    attached=st.booleans(),
    commands=st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda op, arguments, rest, total: command_frame(op, words(*arguments) + rest, total),
                st.one_of(st.sampled_from(list(Op)), st.integers(0, 255)),
                st.lists(st.one_of(st.integers(0, 64), st.integers(0, 2**32 - 1)), max_size=6),
                st.binary(max_size=20),
                st.integers(0, 255),
            ),
            st.integers(0, 4096).map(lambda size: encode(words(size))),
        ),
        max_size=12,
    ),
)
def test_any_bytes(stub, attached, commands):
    """No bytes bring it down, and each answer is well-formed."""
    host = LoaderHost(flash_size=1 << 20)
    if stub:
        host.start_stub()
    if attached:
        host.spi.attach(0)
    for command in commands:
        for frame in host.send(command):
            if frame[:1] == b"\x01" and len(frame) >= 8:
                assert struct.unpack_from("<H", frame, 2)[0] == len(frame) - 8
