"""A host at a chip in download mode, without a wire between them."""

from __future__ import annotations

import struct

from harness.firmware.chips import CHIPS
from harness.virtual.chips import SILICON
from harness.virtual.download_mode import DownloadMode
from harness.virtual.flash import NorFlash
from harness.virtual.loader import Chipset, Effect, Output
from harness.virtual.registers import RegisterBus
from harness.virtual.serial_protocol import Op, checksum, command_frame
from harness.virtual.slip import SlipDecoder
from harness.virtual.spi import SpiController

FINE = b"\0\0"


class LoaderHost:
    """Gives commands and keeps the answers.

    Attributes:
        mode: the download mode it talks to.
        flash, bus, spi: what that works on.
        effects: that came of the commands so far.
    """

    def __init__(self, chip: str = "esp32s3", flash_size: int = 4 << 20) -> None:
        silicon = SILICON[chip]
        self.flash = NorFlash(flash_size)
        self.bus = RegisterBus(silicon.registers(b"\x02SE\x01\x02\x03"))
        self.spi = SpiController(self.bus, silicon.spi, self.flash)
        self.mode = DownloadMode(Chipset(CHIPS[chip], silicon, self.bus, self.spi))
        self.effects: list[Effect] = []
        self._stub = silicon.stub_addresses[0]

    def send(self, data: bytes) -> list[bytes]:
        """Send bytes; return the frames that come back."""
        outputs = list(self.mode.feed(data))
        self.effects += [output for output in outputs if not isinstance(output, bytes)]
        return frames(outputs)

    def answers(self, op: int, data: bytes = b"", payload: bytes | None = None) -> list[tuple[int, int, bytes]]:
        """Give a command; return op, value and body of each answer. A payload is put behind the data, and summed up."""
        total = data if payload is None else data + payload
        got = self.send(command_frame(op, total, 0 if payload is None else checksum(payload)))
        return [(*struct.unpack_from("<xB2xI", frame), frame[8:]) for frame in got]

    def ask(self, op: int, data: bytes = b"", payload: bytes | None = None) -> bytes:
        """Give a command that has one answer; return its body, status included."""
        ((op_back, _, body),) = self.answers(op, data, payload)
        assert op_back == op
        return body

    def value(self, op: int, data: bytes = b"") -> int:
        """Give a command that has one answer and succeeds; return its value."""
        ((_, value, body),) = self.answers(op, data)
        assert body[:2] == FINE
        return value

    def block(self, op: int, sequence: int, payload: bytes) -> bytes:
        """Send a block of data; return the body of the answer."""
        return self.ask(op, struct.pack("<IIII", len(payload), sequence, 0, 0), payload)

    def upload(self, address: int, data: bytes, entry: int) -> list[bytes]:
        """Load a program and start it; return the frames that come of the start."""
        assert self.ask(Op.MEM_BEGIN, words(len(data), 1, 0x1800, address))[:2] == FINE
        assert self.block(Op.MEM_DATA, 0, data)[:2] == FINE
        return self.send(command_frame(Op.MEM_END, words(0, entry)))

    def start_stub(self) -> None:
        """Upload what has the looks of a stub."""
        assert self.upload(self._stub, b"stub code", self._stub + 4)[-1] == b"OHAI"


def words(*values: int) -> bytes:
    """Arguments of a command."""
    return struct.pack(f"<{len(values)}I", *values)


def frames(outputs: list[Output]) -> list[bytes]:
    """The frames in what a loader sent."""
    decoder = SlipDecoder()
    return [frame for output in outputs if isinstance(output, bytes) for frame in decoder.feed(output)]
