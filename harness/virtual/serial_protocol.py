"""The packets of Espressif's serial protocol, which ROM loaders and flasher stubs speak.

A command is ``00 op length(2) checksum(4) data``, an answer ``01 op length(2) value(4) data status``, each in a SLIP
frame, and all little-endian. It is described in esptool's documentation, "Serial Protocol".
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from harness.virtual import slip

OHAI = b"OHAI"
"""What a stub says, in a frame of its own, when it starts."""

_HEAD = struct.Struct("<BBHI")
_CHECKSUM_SEED = 0xEF


class Op(IntEnum):
    """The commands that a host can give."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2
    RUN_USER_CODE = 0xD3


class Command(msgspec.Struct, frozen=True):
    """One command as it came in; ``length`` is what its head says, which need not be true."""

    op: int
    length: int
    checksum: int
    data: bytes


class CommandFailed(Exception):
    """A command cannot be done.

    Attributes:
        rom: the code of the ROM for it.
        stub: the code of the stub for it.
    """

    def __init__(self, rom: int, stub: int) -> None:
        super().__init__(rom, stub)
        self.rom = rom
        self.stub = stub


# The ROM's codes are in esptool's documentation; the stub's are those its esptool turns into sentences.
BAD_LENGTH = 0x05, 0xC0
BAD_CHECKSUM = 0x07, 0xC1
UNKNOWN_COMMAND = 0x05, 0xC3
FLASH_FAILED = 0x06, 0xC4
NOT_WRITING = 0x06, 0xC6
CANNOT_INFLATE = 0x0B, 0xC7
NOT_ENOUGH_DATA = 0x06, 0xC8
TOO_MUCH_DATA = 0x06, 0xC9
TOO_LONG_A_READ = 0x0A, 0xC0
NOT_IMPLEMENTED = 0x05, 0xFF


def parse(frame: bytes) -> Command | None:
    """Return the command in a frame; None: it is none, but noise."""
    if len(frame) < _HEAD.size or frame[0] != 0:
        return None
    _, op, length, checksum = _HEAD.unpack_from(frame)
    return Command(op, length, checksum, frame[_HEAD.size :])


def command_frame(op: int, data: bytes = b"", checksum: int = 0) -> bytes:
    """Return the frame of a command, as a host sends it."""
    return slip.encode(_HEAD.pack(0, op, len(data), checksum) + data)


def answer(op: int, value: int = 0, body: bytes = b"") -> bytes:
    """Return the frame of an answer; ``body`` ends with the status."""
    return slip.encode(_HEAD.pack(1, op, len(body), value & 0xFFFFFFFF) + body)


def checksum(payload: bytes) -> int:
    """Return what the head of a data packet must say of its payload."""
    return _CHECKSUM_SEED ^ exclusive_or(payload)


def exclusive_or(data: bytes) -> int:
    """Return all bytes XORed; halves at a time, as a loop over 16 KiB takes a millisecond."""
    while len(data) > 1:
        half = -(-len(data) // 2)
        upper = int.from_bytes(data[:half], "little")
        data = (upper ^ int.from_bytes(data[half:], "little")).to_bytes(half, "little")
    return data[0] if data else 0


def payload_of(command: Command) -> tuple[int, bytes]:
    """Return sequence number and payload of a data packet (size, sequence, 0, 0, payload).

    Raises:
        CommandFailed: the size is another than the payload's, or the checksum is.
        struct.error: it is too short for a data packet.
    """
    size, sequence = struct.unpack_from("<II8x", command.data)
    payload = command.data[16:]
    if size != len(payload):
        raise CommandFailed(*TOO_MUCH_DATA)
    if checksum(payload) != command.checksum & 0xFF:
        raise CommandFailed(*BAD_CHECKSUM)
    return sequence, payload
