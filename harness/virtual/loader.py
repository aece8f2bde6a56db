"""What the ROM loader and the flasher stub have in common: a table of commands, each with its handler.

Nothing here does I/O. A loader is fed commands and yields what is to happen, in order: bytes to send, and `Effect`s
that are the board's to bring about. Whoever takes them may stop at any: a reset leaves the rest undone, as in silicon.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeAlias

import msgspec

from harness.firmware.chips import Chip
from harness.virtual.chips import Silicon
from harness.virtual.flash import SECTOR, BadRange, NorFlash
from harness.virtual.flash_write import DeflatedWrite, PlainWrite
from harness.virtual.machine import ResetCause
from harness.virtual.registers import RegisterBus
from harness.virtual.serial_protocol import (
    BAD_LENGTH,
    FLASH_FAILED,
    NOT_IMPLEMENTED,
    NOT_WRITING,
    TOO_MUCH_DATA,
    Command,
    CommandFailed,
    Op,
    payload_of,
)
from harness.virtual.spi import SpiController

SEGMENTS = 64
"""Of one program in RAM: more than an image can have (16), and an end to what a host can pile up."""


class SetBaud(msgspec.Struct, frozen=True):
    """The UART of the chip changes to another baud rate."""

    baud: int


class Restart(msgspec.Struct, frozen=True):
    """The chip resets itself, into run mode."""

    cause: ResetCause


class StartStub(msgspec.Struct, frozen=True):
    """What was uploaded is a flasher stub, and it starts."""


class StartProgram(msgspec.Struct, frozen=True):
    """What was uploaded is another program, and it starts at ``entry``."""

    entry: int


class LeaveStub(msgspec.Struct, frozen=True):
    """The stub ends, and the ROM loader answers again."""


class NotKnown(msgspec.Struct, frozen=True):
    """The command ``op`` is not known; its answer follows."""

    op: int


Effect: TypeAlias = SetBaud | Restart | StartStub | StartProgram | LeaveStub | NotKnown
Output: TypeAlias = bytes | Effect


class Chipset(msgspec.Struct, frozen=True):
    """What of the chip a loader reaches.

    Attributes:
        chip: which one it is.
        silicon: its registers' places.
        bus: its registers and RAM.
        spi: its flash controller.
    """

    chip: Chip
    silicon: Silicon
    bus: RegisterBus
    spi: SpiController


class _Segment(msgspec.Struct):
    """A part of a program on its way into RAM."""

    address: int
    size: int
    loaded: int = 0

    def holds(self, address: int) -> bool:
        return self.address <= address < self.address + self.loaded


class Loader(ABC):
    """One life of a loader, from its start to the next reset.

    Args:
        chipset: what it works on.

    Attributes:
        handlers: what does each command that is known; a handler yields what is to happen.
    """

    SYNC_VALUE: ClassVar[int]
    """In the answers to SYNC: hosts tell by it who answers."""

    def __init__(self, chipset: Chipset) -> None:
        self.chipset = chipset
        self._segments: list[_Segment] = []
        self._write: PlainWrite | DeflatedWrite | None = None
        self.handlers: dict[int, Callable[[Command], Iterator[Output]]] = {
            Op.SYNC: self._sync,
            Op.READ_REG: self._read_register,
            Op.WRITE_REG: self._write_registers,
            Op.MEM_BEGIN: self._begin_segment,
            Op.MEM_DATA: self._segment_data,
            Op.MEM_END: self._end_of_program,
            Op.SPI_ATTACH: self._attach,
            Op.SPI_SET_PARAMS: self._set_parameters,
            Op.CHANGE_BAUDRATE: self._change_baud,
            Op.FLASH_BEGIN: self._begin_plain,
            Op.FLASH_DATA: self._flash_data,
            Op.FLASH_END: self._end_write,
            Op.FLASH_DEFL_BEGIN: self._begin_deflated,
            Op.FLASH_DEFL_DATA: self._flash_data,
            Op.FLASH_DEFL_END: self._end_write,
            Op.SPI_FLASH_MD5: self._md5,
        }
        if chipset.silicon.has_security_info:
            self.handlers[Op.GET_SECURITY_INFO] = self._security_info

    def handle(self, command: Command) -> Iterator[Output]:
        """Do one command; yield what is to happen.

        Raises:
            PowerCut: the supply went off in the middle of it.
        """
        handler = self.handlers.get(command.op)
        if handler is None:
            yield NotKnown(command.op)
            yield from self.unknown(command)
            return
        try:
            if command.length != len(command.data):
                raise CommandFailed(*BAD_LENGTH)
            yield from handler(command)
        except CommandFailed as failed:
            yield self.complain(command.op, failed)
        except struct.error:  # too few arguments, or too many
            yield self.complain(command.op, CommandFailed(*BAD_LENGTH))
        except BadRange:
            yield self.complain(command.op, CommandFailed(*FLASH_FAILED))

    # --- what differs -------------------------------------------------------------------------------------------

    @abstractmethod
    def reply(self, op: int, value: int = 0, data: bytes = b"") -> bytes:
        """Return the answer that says all went well."""

    @abstractmethod
    def complain(self, op: int, failed: CommandFailed) -> bytes:
        """Return the answer that says what went wrong."""

    @abstractmethod
    def unknown(self, command: Command) -> Iterator[Output]:
        """Answer a command that is not in the table."""

    def flash(self, address: int, size: int) -> NorFlash:
        """Return the flash that is attached, if this loader can reach so far.

        Raises:
            CommandFailed: there is none, or it cannot.
        """
        if self.chipset.spi.flash is None or address + size > self.chipset.spi.flash.size:
            raise CommandFailed(*FLASH_FAILED)
        return self.chipset.spi.flash

    # --- the link -----------------------------------------------------------------------------------------------

    def _sync(self, command: Command) -> Iterator[Output]:
        if len(command.data) != 36:
            raise CommandFailed(*BAD_LENGTH)
        for _ in range(8):
            yield self.reply(command.op, self.SYNC_VALUE)

    def _change_baud(self, command: Command) -> Iterator[Output]:
        baud, _old = struct.unpack("<II", command.data)
        yield self.reply(command.op)
        if baud:
            yield SetBaud(baud)

    def _security_info(self, command: Command) -> Iterator[Output]:
        # flags, FLASH_CRYPT_CNT and key purposes of a chip with nothing burnt; its number; version of the ROM's API
        yield self.reply(command.op, data=struct.pack("<IB7xII", 0, 0, self.chipset.chip.image_id, 0))

    # --- memory -------------------------------------------------------------------------------------------------

    def _read_register(self, command: Command) -> Iterator[Output]:
        (address,) = struct.unpack("<I", command.data)
        yield self.reply(command.op, self.chipset.bus.read(address))

    def _write_registers(self, command: Command) -> Iterator[Output]:
        if not command.data or len(command.data) % 16:
            raise CommandFailed(*BAD_LENGTH)
        bus = self.chipset.bus
        for address, value, mask, _microseconds in struct.iter_unpack("<IIII", command.data):
            kept = 0 if mask == 0xFFFFFFFF else bus.read(address) & ~mask
            bus.write(address, value & mask | kept)
        yield self.reply(command.op)

    def _begin_segment(self, command: Command) -> Iterator[Output]:
        size, _blocks, _block_size, address = struct.unpack("<IIII", command.data)
        if len(self._segments) == SEGMENTS:
            raise CommandFailed(*TOO_MUCH_DATA)
        self._segments.append(_Segment(address, size))
        yield self.reply(command.op)

    def _segment_data(self, command: Command) -> Iterator[Output]:
        _sequence, payload = payload_of(command)
        if not self._segments:
            raise CommandFailed(*NOT_WRITING)
        segment = self._segments[-1]
        if segment.loaded + len(payload) > segment.size:
            raise CommandFailed(*TOO_MUCH_DATA)
        self.chipset.bus.load(segment.address + segment.loaded, payload)
        segment.loaded += len(payload)
        yield self.reply(command.op)

    def _end_of_program(self, command: Command) -> Iterator[Output]:
        stays, entry = struct.unpack("<II", command.data)
        segments, self._segments = self._segments, []
        yield self.reply(command.op)
        if not stays:
            yield StartStub() if self._is_stub(segments, entry) else StartProgram(entry)

    def _is_stub(self, segments: list[_Segment], entry: int) -> bool:
        # its code is linked to the same address in each of its versions, and it is entered there
        places = self.chipset.silicon.stub_addresses
        return any(segment.address in places and segment.holds(entry) for segment in segments)

    # --- flash --------------------------------------------------------------------------------------------------

    def _attach(self, command: Command) -> Iterator[Output]:
        if len(command.data) not in (4, 8):  # to the stub, to the ROM; the second word is always 0
            raise CommandFailed(*BAD_LENGTH)
        (pins,) = struct.unpack_from("<I", command.data)
        self.chipset.spi.attach(pins)
        yield self.reply(command.op)

    def _set_parameters(self, command: Command) -> Iterator[Output]:
        struct.unpack("<IIIIII", command.data)
        yield self.reply(command.op)

    def _begin_plain(self, command: Command) -> Iterator[Output]:
        size, block_size, offset = self._begin(command)
        self._write = PlainWrite(self._erased(offset, size), offset, size, block_size)
        yield self.reply(command.op)

    def _begin_deflated(self, command: Command) -> Iterator[Output]:
        size, _block_size, offset = self._begin(command)
        self._write = DeflatedWrite(self._erased(offset, size), offset, size)
        yield self.reply(command.op)

    def _begin(self, command: Command) -> tuple[int, int, int]:
        size, _blocks, block_size, offset = struct.unpack_from("<IIII", command.data)
        (encrypted,) = struct.unpack_from("<I", command.data, 16) if len(command.data) >= 20 else (0,)
        if encrypted:
            raise CommandFailed(*NOT_IMPLEMENTED)
        return size, block_size, offset

    def _erased(self, offset: int, size: int) -> NorFlash:
        """Return the flash with all sectors erased that hold a byte of this range."""
        flash = self.flash(offset, size)
        begin, end = offset // SECTOR * SECTOR, -(-(offset + size) // SECTOR) * SECTOR
        if size:
            flash.erase(begin, end - begin)
        return flash

    def _flash_data(self, command: Command) -> Iterator[Output]:
        kind = DeflatedWrite if command.op == Op.FLASH_DEFL_DATA else PlainWrite
        if not isinstance(self._write, kind):
            raise CommandFailed(*NOT_WRITING)
        self._write.block(*payload_of(command))
        yield self.reply(command.op)

    @abstractmethod
    def _end_write(self, command: Command) -> Iterator[Output]: ...

    def _md5(self, command: Command) -> Iterator[Output]:
        address, size, _, _ = struct.unpack("<IIII", command.data)
        digest = self.flash(address, size).md5(address, size)
        yield self.reply(command.op, data=self.digest_as_sent(digest))

    @abstractmethod
    def digest_as_sent(self, digest: bytes) -> bytes:
        """Return an MD5 digest in this loader's spelling."""
