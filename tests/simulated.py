"""A whole gateway on virtual time: its network is a list of peers in the same loop, which behave as they are told.

::

    @virtual_time
    async def test_something():
        async with simulated() as house:
            device = await house.device("aa")
            device.say({"type": "ping"})
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig
from gateway.device.kernel_queue import UNSENT_BYTES
from gateway.listening import Network
from tests.fake_session import Records
from tests.raw_peer import CLOSE, TEXT, Received, frame, say, upgrade
from tests.virtual_time import wall

IN_MEMORY = MailboxConfig(path=":memory:")


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


async def turns(count: int = 10) -> None:
    """Let everything run that is ready, without moving the clock."""
    for _ in range(count):
        await asyncio.sleep(0)


class Peer(asyncio.Transport):
    """One connection, seen from both sides: the gateway's transport, and the peer behind it.

    Attributes:
        answers_close: it answers a Close frame with one of its own; the firmware does not.
        ends: it closes its socket when the gateway has closed its side; the firmware does.
        reads: it reads. One that does not has full buffers soon.
        frames: (loop time, frame) of all that it has read.
        gone_at: when the socket was gone; None as long as it is there.
        aborted: the gateway gave it up.
    """

    def __init__(self, *, answers_close: bool = False, ends: bool = True, reads: bool = True) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000), UNSENT_BYTES: self.get_write_buffer_size})
        self.answers_close = answers_close
        self.ends = ends
        self.reads = reads
        self.frames: list[tuple[float, Received]] = []
        self.status = b""
        self.gone_at: float | None = None
        self.aborted = False
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._protocol: Any = None
        self._high = 65536
        self._unsent = bytearray()
        self._unread = b""
        self._paused = False
        self._closing = False
        self._upgraded = False

    def meet(self, protocol: Any) -> None:
        """Be accepted."""
        self._protocol = protocol
        protocol.connection_made(self)

    # --- the peer's side ------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes; the gateway reads them at once, if it is still there."""
        while data and self.gone_at is None and not self._closing:
            buffer = self._protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self._protocol.buffer_updated(size)
            data = data[size:]

    def say(self, message: Any) -> None:
        """Send one JSON message."""
        self.send(say(message))

    def cut(self) -> None:
        """Close the socket."""
        if self.gone_at is None and not self._closing and not self._protocol.eof_received():
            self.close()

    def read_again(self) -> None:
        """Read what has piled up, and from now on."""
        self.reads = True
        waiting, self._unsent = bytes(self._unsent), bytearray()
        self._read(waiting)
        if self._paused:
            self._paused = False
            self._protocol.resume_writing()

    @property
    def messages(self) -> list[Any]:
        """The JSON messages that were read, in order."""
        return [found.message for _, found in self.frames if found.opcode == TEXT]

    @property
    def close_code(self) -> int | None:
        """Of the Close frame that was read."""
        return next((found.code for _, found in self.frames if found.opcode == CLOSE), None)

    def of(self, kind: str) -> list[Any]:
        """The messages of one type, in order."""
        return [message for message in self.messages if message["type"] == kind]

    def times(self, opcode: int = TEXT) -> list[float]:
        """When frames of this kind came."""
        return [when for when, found in self.frames if found.opcode == opcode]

    async def gone(self, timeout: float = 60.0) -> float:
        """Wait until the socket is gone; return when that was."""
        async with asyncio.timeout(timeout):
            await self._gone.wait()
        assert self.gone_at is not None
        return self.gone_at

    # --- the gateway's side: asyncio.Transport ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:  # type: ignore[override]
        """Take bytes from the gateway."""
        assert not self._closing, "written after the end"
        if self.reads:
            self._read(bytes(data))
            return
        self._unsent += data
        if len(self._unsent) > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def _read(self, data: bytes) -> None:
        self._unread += data
        if not self._upgraded:
            if b"\r\n\r\n" not in self._unread:
                return
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            self.status = head.split(b" ")[1]
            self._upgraded = self.status == b"101"
        while self._upgraded and (found := self._cut_frame()) is not None:
            self.frames.append((now(), found))
            if found.opcode == CLOSE and self.answers_close:
                self._loop.call_soon(self.send, frame(CLOSE, found.payload))

    def _cut_frame(self) -> Received | None:
        data = self._unread
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + size:
            return None
        self._unread = data[start + size :]
        return Received(data[0] & 15, data[start : start + size])

    def write_eof(self) -> None:
        """The gateway says that no more will come."""
        if self.ends and self.reads:
            self._loop.call_soon(self.cut)

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def close(self) -> None:
        """Close after what is unsent."""
        self._closing = True
        if not self._unsent:
            self._loop.call_soon(self._lose)

    def abort(self) -> None:
        """Close at once."""
        self.aborted = True
        self._closing = True
        self._unsent.clear()
        self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        if self.gone_at is None:
            self.gone_at = now()
            self._gone.set()
            self._protocol.connection_lost(None)

    def is_closing(self) -> bool:
        """Whether it is on its way out."""
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take the high-water mark."""
        self._high = 65536 if high is None else high

    def get_write_buffer_size(self) -> int:
        """What the peer has not read."""
        return len(self._unsent)

    def pause_reading(self) -> None:
        """Nothing is fed while the gateway does not want it; no test here goes that far."""

    def resume_reading(self) -> None:
        """As above."""


class SimulatedNetwork(Network):
    """A network of peers in the same loop."""

    def __init__(self) -> None:
        self.warnings = ()
        self.closed = False
        self.factories: dict[str, Any] = {}

    def addresses(self, what: str) -> list[str]:
        """An address of documentation."""
        return ["192.0.2.2:8000" if what == "websocket" else "192.0.2.2:8003"]

    def port(self, what: str) -> int:
        """Its port."""
        return 8000 if what == "websocket" else 8003

    async def serve(self, what: str, factory: Any) -> None:
        """Take peers from now on."""
        self.factories[what] = factory

    def close(self) -> None:
        """Take no more."""
        self.closed = True


class House:
    """A gateway that runs, and whoever connects to it."""

    def __init__(self, gateway: Gateway, network: SimulatedNetwork, records: Records) -> None:
        self.gateway = gateway
        self.network = network
        self.records = records

    def connect(self, device: str = "", **behaviour: Any) -> Peer:
        """Open a connection and ask for the upgrade, as a device or, without a name, as a client that gives none.

        Headers are given with underscores for dashes; what `Peer` knows is taken out before.
        """
        manners = {name: behaviour.pop(name) for name in ("answers_close", "ends", "reads") if name in behaviour}
        reads = manners.pop("reads", True)
        headers = {"Device_Id": device, **behaviour} if device else behaviour
        peer = Peer(**manners)
        peer.meet(self.network.factories["websocket"]())
        peer.send(upgrade(**headers))
        peer.reads = reads
        return peer

    async def ask(self, device: str = "", **behaviour: Any) -> Peer:
        """Open a connection and ask for the upgrade; returns when it was answered."""
        peer = self.connect(device, **behaviour)
        await turns()
        assert peer.status
        return peer

    async def device(self, device: str, *, features: dict[str, Any] | None = None, **behaviour: Any) -> Peer:
        """Connect and say hello; returns when it was answered."""
        reads = behaviour.pop("reads", True)
        peer = self.connect(device, **behaviour)
        peer.say({"type": "hello", "version": 1, "features": features or {}, "transport": "websocket"})
        await turns()
        assert peer.of("hello"), (peer.status, peer.messages)
        peer.reads = reads
        return peer


@contextlib.asynccontextmanager
async def simulated(config: Config | None = None, **settings: Any) -> AsyncIterator[House]:
    """Run a gateway on a simulated network, by default without a disk."""
    network, records = SimulatedNetwork(), Records()
    gateway = Gateway(
        config or Config(mailbox=IN_MEMORY), network=network, observers=[records.all.append], clock=wall, **settings
    )
    async with gateway:
        yield House(gateway, network, records)
