"""Commands and answers as packets."""

from __future__ import annotations

import struct
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.virtual import serial_protocol, slip
from harness.virtual.serial_protocol import BAD_CHECKSUM, TOO_MUCH_DATA, Command, CommandFailed, payload_of


def test_command():
    """A host's frame is read as what it says."""
    (frame,) = slip.SlipDecoder().feed(serial_protocol.command_frame(0x08, b"abc", 0x1234))

    assert frame == b"\x00\x08\x03\x00\x34\x12\x00\x00abc"
    assert serial_protocol.parse(frame) == Command(op=8, length=3, checksum=0x1234, data=b"abc")


def test_length_is_taken_as_it_is():
    """What the head says of it need not be true; a loader looks."""
    assert serial_protocol.parse(b"\x00\x08\xff\x00\0\0\0\0abc") == Command(8, 255, 0, b"abc")


@pytest.mark.parametrize("frame", [b"", b"\x00\x08\x00\x00\0\0\0", b"\x01\x08\x00\x00\0\0\0\0", b"OHAI"])
def test_noise(frame):
    """What is too short, or an answer, is no command."""
    assert serial_protocol.parse(frame) is None


def test_answer():
    """An answer has its value and its body, status included."""
    (frame,) = slip.SlipDecoder().feed(serial_protocol.answer(0x0A, 0x1_0000_0002, b"\0\0"))

    assert frame == b"\x01\x0a\x02\x00\x02\x00\x00\x00\0\0"


@given(st.binary(max_size=300))
def test_checksum(payload):
    """All bytes XORed, and EF."""
    assert serial_protocol.checksum(payload) == reduce(xor, payload, 0xEF)


def data_packet(payload: bytes, *, size: int | None = None, checksum: int | None = None) -> Command:
    """A data packet with number 7."""
    data = struct.pack("<IIII", len(payload) if size is None else size, 7, 0, 0) + payload
    return Command(3, len(data), serial_protocol.checksum(payload) if checksum is None else checksum, data)


def test_payload():
    """Of the checksum only the lowest byte counts, as the others are not sent by all hosts."""
    assert payload_of(data_packet(b"abc")) == (7, b"abc")
    assert payload_of(data_packet(b"abc", checksum=serial_protocol.checksum(b"abc") | 0xAB00)) == (7, b"abc")


@pytest.mark.parametrize(
    ("packet", "failure"),
    [
        (data_packet(b"abc", size=2), TOO_MUCH_DATA),
        (data_packet(b"abc", size=4), TOO_MUCH_DATA),
        (data_packet(b"abc", checksum=0), BAD_CHECKSUM),
    ],
)
def test_bad_payload(packet, failure):
    """A size or a checksum that does not fit is told by its code."""
    with pytest.raises(CommandFailed) as failed:
        payload_of(packet)
    assert (failed.value.rom, failed.value.stub) == failure


def test_packet_without_its_head():
    """What is too short for size and number is an error of its own."""
    with pytest.raises(struct.error):
        payload_of(Command(3, 8, 0, bytes(8)))
