"""A courier with devices that do as a test says, on virtual time; and a mailbox that is slow or fails on command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway.config import PeerConfig
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.events import Event, MessageRejected, Observers
from gateway.peer.courier import Courier
from gateway.peer.intake import MayWrite
from gateway.peer.mailbox import Depth, Letter, Mailbox, Notice, Stored
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.protocol.decoding import decode_object, parse
from gateway.protocol.messages import Error, Hello, Peer, encode
from tests.virtual_time import timers, wall

Frame = dict[str, Any]


async def turns(count: int = 8) -> None:
    """Let everything run that is ready, without moving the clock."""
    for _ in range(count):
        await asyncio.sleep(0)


QUIET = {"take_expired"}  # what an idle courier asks of its mailbox


def now() -> float:
    """Loop time."""
    return round(asyncio.get_running_loop().time(), 6)


def redelivered(to: str, count: int) -> Frame:
    """The event a sender gets."""
    return {"type": "peer", "event": "redelivered", "to": to, "count": count}


# --- devices ----------------------------------------------------------------------------------------------------------


class Wire:
    """The connection below a channel: what was written and the peer's TCP has not taken; as much as couriers look at.

    Attributes:
        is_open: no Close is on its way, in either direction.
        stalled: the peer's TCP takes nothing.
        unknown: the system cannot tell how much it has taken.
        on_the_way: frames it has not taken yet.
    """

    def __init__(self) -> None:
        self.opened_at = asyncio.get_running_loop().time()
        self.is_open = True
        self.stalled = False
        self.unknown = False
        self.on_the_way: list[Frame] = []

    def unsent(self) -> int | None:
        """As `Connection.unsent`."""
        return None if self.unknown else self.queued

    @property
    def queued(self) -> int:
        """As `Connection.queued`."""
        return sum(len(encode(frame)) for frame in self.on_the_way)


class FakeChannel:
    """One connection of a device; frames reach the device at once, unless the wire is stalled."""

    def __init__(self, device: FakeDevice, features: dict[str, Any] | None) -> None:
        self.device = device
        self.hello = Hello(features=features or {})
        self.introduced = features is not None
        self.connection = Wire()
        self.retired = False

    def send_json(self, message: Any) -> Sent:
        """As `Channel.send_json`."""
        frame = json.loads(encode(message))
        if self.retired or not self.connection.is_open:
            return Sent.FAILED
        self.connection.on_the_way.append(frame)
        if not self.connection.stalled:
            self.arrive()
        return Sent.WRITTEN

    def send_error(self, code: str, reason: str, ref: str | None = None, answer: Any = None) -> Sent:
        """As `Channel.send_error`."""
        self.device.office.observers.emit(MessageRejected(device=self.device.id, code=code, reason=reason))
        return self.send_json(Error(code, reason) if answer is None else answer)

    def arrive(self, most: int | None = None) -> None:
        """The peer's TCP takes what is on the way, and the device reads it."""
        on_the_way = self.connection.on_the_way
        for _ in range(len(on_the_way) if most is None else min(most, len(on_the_way))):
            self.device.take(self, on_the_way.pop(0))


class FakeDevice:
    """A device of the office; it is there from `Office.device` on.

    Attributes:
        inbox: (loop time, frame) of all it got, over all connections.
        acks: it acknowledges each message that has an id, one turn of the loop after it came.
        stalled: the wire of its next connection is stalled from the beginning.
    """

    def __init__(self, office: Office, name: str, *, peer_ack: bool, acks: bool) -> None:
        self.office = office
        self.id = DeviceId(name)
        self.features: dict[str, Any] = {"peer_ack": True} if peer_ack else {}
        self.acks = acks
        self.stalled = False
        self.inbox: list[tuple[float, Frame]] = []
        self.session: Session | None = None

    # --- connections ---

    def connect(self, *, hello: bool = True) -> FakeChannel:
        """Connect, or connect anew, in which case the older channel is retired and returned."""
        channel = FakeChannel(self, self.features if hello else None)
        channel.connection.stalled = self.stalled
        if self.session is None:
            now = asyncio.get_running_loop().time()
            self.session = Session(self.id, channel, self.office.observers, now)  # type: ignore[arg-type]
            self.office.courier.on_online(self.session)
            if hello:
                self.office.courier.on_hello(self.session)
            return channel
        old: Any = self.session.channel
        self.session.channel = channel  # type: ignore[assignment]
        old.retired = True
        self.office.courier.on_replaced(self.session)
        if hello:
            self.office.courier.on_hello(self.session)
        return old

    def disconnect(self) -> None:
        """Lose the connection, with all that is on the way."""
        assert self.session is not None
        self.wire.is_open = False
        session, self.session = self.session, None
        self.office.courier.on_offline(session)
        session.tasks.cancel()

    @property
    def channel(self) -> FakeChannel:
        """The present channel."""
        assert self.session is not None
        return self.session.channel  # type: ignore[return-value]

    @property
    def wire(self) -> Wire:
        """The connection of the present channel."""
        return self.channel.connection

    # --- what it says ---

    def say(self, **fields: Any) -> None:
        """Say something of type ``peer``."""
        assert self.session is not None
        (handler,) = self.office.courier.handlers()
        message = decode_object(encode({"type": "peer", **fields}))
        handler.handle(self.session, parse(message, Peer))

    def send(self, to: Any, id: str | None = None, **fields: Any) -> None:  # noqa: A002 - the wire's word
        """Send a message whose text is its id."""
        self.say(to=to, payload={"text": id}, **({} if id is None else {"id": id}), **fields)

    def ack(self, *ids: str) -> None:
        """Acknowledge messages."""
        self.say(event="ack", ids=list(ids))

    # --- what it gets ---

    def take(self, channel: FakeChannel, frame: Frame) -> None:
        """A frame has come."""
        loop = asyncio.get_running_loop()
        self.inbox.append((loop.time(), frame))
        if self.acks and self.features.get("peer_ack") and "id" in frame and "status" not in frame:
            loop.call_soon(self._ack_if_there, channel, frame["id"])

    def _ack_if_there(self, channel: FakeChannel, wire_id: str) -> None:
        if self.session is not None and self.acks and channel.connection.is_open:
            self.ack(wire_id)

    @property
    def frames(self) -> list[Frame]:
        """All frames it got."""
        return [frame for _, frame in self.inbox]

    @property
    def messages(self) -> list[Frame]:
        """The messages of other devices."""
        return [frame for frame in self.frames if "from" in frame]

    @property
    def texts(self) -> list[str]:
        """The texts of these."""
        return [frame["payload"]["text"] for frame in self.messages]

    @property
    def receipts(self) -> list[Frame]:
        """The receipts and errors."""
        return [frame for frame in self.frames if "status" in frame]

    @property
    def events(self) -> list[Frame]:
        """What it was told later; without the ids that make these acknowledgeable."""
        events = [frame for frame in self.frames if "event" in frame]
        return [{k: v for k, v in frame.items() if k != "id" or frame["event"] == "delivered"} for frame in events]

    def times(self, kind: str) -> list[float]:
        """When frames came that have a field of this name."""
        return [round(time, 6) for time, frame in self.inbox if kind in frame]

    def outcome(self, id: str | None = None) -> dict[str, list[str]]:  # noqa: A002 - the wire's word
        """The lists of a receipt, by default of the last one, that are not empty."""
        *_, receipt = [frame for frame in self.receipts if id is None or frame.get("id") == id]
        if receipt["status"] == "error":
            return {"error": [receipt["code"]]}
        return {name: receipt[name] for name in ("delivered", "enqueued", "failed") if receipt[name]}


# --- a mailbox --------------------------------------------------------------------------------------------------------


class MoodyMailbox(Mailbox):
    """A mailbox that does one thing after the other, slowly or not at all if it is told so.

    Attributes:
        inner: keeps the letters; not touched by what fails.
        seconds: how long each operation takes.
        failing: names of operations that fail; ``*``: all.
        error: what these raise.
        calls: names of the operations that were called, in order.
    """

    def __init__(self, inner: Mailbox) -> None:
        self.inner = inner
        self.seconds = 0.0
        self.failing: set[str] = set()
        self.error: Exception = MailboxFailed("disk full")
        self.calls: list[str] = []
        self._turn = asyncio.Lock()

    @property
    def failed(self) -> str | None:
        """As `Mailbox.failed`."""
        return "moody" if self.failing else None

    async def open(self) -> None:
        """As `Mailbox.open`."""
        await self.inner.open()

    async def close(self) -> None:
        """As `Mailbox.close`."""
        await self._do("close", self.inner.close)

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        """As `Mailbox.store`."""
        return await self._do("store", self.inner.store, letters)

    async def add_event(self, letter: Letter, *, sent: bool = False) -> None:
        """As `Mailbox.add_event`."""
        await self._do("add_event", partial(self.inner.add_event, sent=sent), letter)

    async def waiting(self, recipient: DeviceId, limit: int) -> list[Letter]:
        """As `Mailbox.waiting`."""
        return await self._do("waiting", self.inner.waiting, recipient, limit)

    async def settle(self, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        """As `Mailbox.settle`."""
        return await self._do("settle", self.inner.settle, recipient, letters)

    async def set_aside(self, recipient: DeviceId, sender: str, id: str, notice: Letter | None = None) -> bool:  # noqa: A002
        """As `Mailbox.set_aside`."""
        return await self._do("set_aside", self.inner.set_aside, recipient, sender, id, notice)

    async def take_expired(self, limit: int, notice: Notice | None = None) -> list[Letter]:
        """As `Mailbox.take_expired`."""
        return await self._do("take_expired", self.inner.take_expired, limit, notice)

    async def note_acknowledger(self, device: DeviceId, *, acknowledges: bool) -> None:
        """As `Mailbox.note_acknowledger`."""
        note = partial(self.inner.note_acknowledger, acknowledges=acknowledges)
        await self._do("note_acknowledger", note, device)

    async def acknowledgers(self) -> list[DeviceId]:
        """As `Mailbox.acknowledgers`."""
        return await self._do("acknowledgers", self.inner.acknowledgers)

    async def purge(self, recipient: DeviceId) -> int:
        """As `Mailbox.purge`."""
        return await self._do("purge", self.inner.purge, recipient)

    async def depth(self) -> Depth:
        """As `Mailbox.depth`."""
        return await self.inner.depth()

    async def _do(self, name: str, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        self.calls.append(name)
        async with self._turn:
            if self.seconds:
                await asyncio.sleep(self.seconds)
            if self.failing & {name, "*"}:
                raise self.error
            return await work(*args)


# --- the office -------------------------------------------------------------------------------------------------------


class Office:
    """A started courier; make it in a running `VirtualTimeLoop`, with `open_office`.

    Attributes:
        records: what observers saw.
    """

    def __init__(
        self,
        config: PeerConfig,
        *,
        per_device: int = 100,
        mailbox: MoodyMailbox | None = None,
        may_write: MayWrite | None = None,
    ) -> None:
        self.config = config
        self.records: list[Event] = []
        self.observers = Observers([self.records.append])
        self.mailbox = mailbox or MoodyMailbox(
            MemoryMailbox(per_device=per_device, total=100_000, dedupe=config.dedupe, wall_clock=wall)
        )
        self.may_write = may_write
        self.courier = Courier(config, self.mailbox, self.observers, wall, may_write)
        self.devices: dict[str, FakeDevice] = {}

    def device(self, name: str, *, peer_ack: bool = True, acks: bool = True, online: bool = True) -> FakeDevice:
        """Make a device."""
        device = self.devices[name] = FakeDevice(self, name, peer_ack=peer_ack, acks=acks)
        if online:
            device.connect()
        return device

    def of(self, kind: type[Event]) -> list[Any]:
        """The records of one kind."""
        return [event for event in self.records if type(event) is kind]

    async def waiting(self, name: str) -> list[Letter]:
        """What the mailbox has for a device, whatever the mailbox's mood."""
        return await self.mailbox.inner.waiting(DeviceId(name), 1000)

    async def texts(self, name: str) -> list[str]:
        """The texts of the messages among these."""
        return [json.loads(letter.body)["text"] for letter in await self.waiting(name) if letter.kind == "peer"]

    async def restart(self) -> None:
        """Stop, and begin anew with the same mailbox; all devices are offline then."""
        await self.close()
        self.courier = Courier(self.config, self.mailbox, self.observers, wall, self.may_write)
        await self.courier.start()

    async def close(self) -> None:
        """Let all devices go and stop; nothing may be left in memory."""
        for device in self.devices.values():
            if device.session is not None:
                device.disconnect()
        await self.courier.stop()
        courier = self.courier
        assert courier.in_memory == 0
        assert courier.unconfirmed == 0
        assert not courier._everywhere
        assert not courier._intake.turns
        assert not courier._settling.pending
        assert not courier._tasks
        assert not courier._clerk
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        assert timers() == []


async def open_office(config: PeerConfig | None = None, **settings: Any) -> Office:
    """Open the mailbox and start the courier."""
    office = Office(config or PeerConfig(), **settings)
    await office.mailbox.open()
    await office.courier.start()
    return office


def changed(config: PeerConfig | None = None, **settings: Any) -> PeerConfig:
    """Return a configuration with some settings changed."""
    return msgspec.structs.replace(config or PeerConfig(), **settings)
