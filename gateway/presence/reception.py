"""Who may come in, who is in, and who has left: the decisions about upgrades, arrivals and departures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec
from websockets.http11 import Request

from gateway.device.channel import Channel, State
from gateway.device.channel import Desk as ChannelDesk
from gateway.device.connection import Connection
from gateway.device.session import Session
from gateway.errors import HandshakeRefused
from gateway.feature import Feature
from gateway.identity import DeviceId
from gateway.observe.events import DeviceFlapping, DeviceOffline, DeviceOnline
from gateway.observe.events import HandshakeRefused as HandshakeRefusedEvent
from gateway.presence.admission import Admission
from gateway.presence.flapping import FlappingGuard
from gateway.presence.handover import Handover
from gateway.presence.registry import Registry
from gateway.protocol import limits
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.handshake import Connect, Terms, VerifyToken, read_request
from gateway.tasks import Tasks


class Desk(ChannelDesk, Protocol):
    """What the reception needs of the desk, beyond what channels do."""

    def tell(self, hook: Callable[[Feature], Callable[[Session], None]], session: Session) -> None:
        """Call a hook of every feature; never raises."""


class Reception:
    """Decides about upgrades (before any state exists), and keeps the registry as channels come alive and end.

    A connection that is refused, or ends before it counts as alive, never disturbs the device's present one. Nor does
    one that was accepted before it: whoever comes alive has those closed that were accepted earlier and have not.
    """

    def __init__(
        self,
        desk: Desk,
        verify: VerifyToken,
        registry: Registry,
        handover: Handover,
        admission: Admission,
        departures: Tasks,
    ) -> None:
        self._desk = desk
        self._verify = verify
        self._registry = registry
        self._handover = handover
        self._admission = admission
        self._departures = departures
        self._guard = FlappingGuard(desk.config.handover)
        self._terms = Terms.of(desk.config)
        self._loop = asyncio.get_running_loop()
        self._coming: dict[DeviceId, list[Channel]] = {}  # upgraded, not alive yet, in order

    # --- upgrades -----------------------------------------------------------------------------------------------

    def receive(self, connection: Connection, request: Request, address: str) -> Channel:
        """Take an upgrade request that RFC 6455 allows.

        Raises:
            HandshakeRefused: 400, 401, 403, 404, 429 or 503, with the reason.
        """
        now = self._loop.time()
        self._admission.check(address, now)
        try:
            connect = read_request(request, self._terms, self._verify)
            self._guard.check(connect.device, now)
            self._check_takeover(connect)
        except HandshakeRefused as refusal:
            refusal.device = self._named(request)
            raise
        channel = Channel(connect, connection, self, self._desk, self._loop)
        self._admission.opened()  # from here on nothing can fail: `leave` follows for certain
        self._coming.setdefault(connect.device, []).append(channel)
        return channel

    def refused(self, refusal: HandshakeRefused, address: str) -> None:
        """Record a refusal."""
        event = HandshakeRefusedEvent(
            device=refusal.device, status=refusal.status, reason=refusal.reason, address=address
        )
        self._desk.observers.emit(event)

    def _named(self, request: Request) -> str:
        """Return the id that a refused request gives; empty where it gives none, or is no good even without a token."""
        everybody = msgspec.structs.replace(self._terms, devices=None, asks_for_tokens=False)
        try:
            connect = read_request(request, everybody, self._verify)
        except HandshakeRefused:
            return ""
        return "" if connect.generated else connect.device

    def _check_takeover(self, connect: Connect) -> None:
        rule = self._desk.config.takeover
        if rule == "any" or (rule == "token" and connect.authenticated):
            return
        session = self._registry.get(connect.device)
        # those that are coming count as well: asked one after the other, both would pass before either is alive
        others = self._coming.get(connect.device, []) + ([] if session is None else [session.channel])
        # two clients that give no id cannot be told apart, so they are not taken for the same
        if others and not (connect.client_id and all(connect.client_id == one.connect.client_id for one in others)):
            raise HandshakeRefused(403, "this device is connected from another client")

    def _has_come(self, channel: Channel) -> None:
        coming = self._coming.get(channel.connect.device, [])
        if channel in coming:
            coming.remove(channel)
        if not coming:
            self._coming.pop(channel.connect.device, None)

    def _overtake(self, channel: Channel) -> None:
        """Close those that were accepted before a channel which has come alive, and have not: they never will."""
        coming = self._coming[channel.connect.device]
        for earlier in coming[: coming.index(channel)]:
            self._has_come(earlier)
            earlier.connection.close(CloseCode.REPLACED, "replaced", limits.HANDOVER_CLOSE_TIMEOUT)
        self._has_come(channel)

    # --- arrivals and departures --------------------------------------------------------------------------------

    def arrive(self, channel: Channel, because: str) -> Session:
        """Give a channel that has come alive the route of its device."""
        now = self._loop.time()
        device = channel.connect.device
        self._overtake(channel)
        session = self._registry.get(device)
        replaced = session is not None
        if session is None:
            session = Session(device, channel, self._desk.observers, now)
            self._registry.add(session)
            old = None
        else:
            old = self._registry.switch(session, channel)
            channel.inherit(old)
        channel.session = session
        channel.state = State.OWNER
        channel.resumes = replaced
        online = DeviceOnline(device=device, session=session.id, replaced=replaced, because=because)
        self._desk.observers.emit(online)
        if old is not None:
            self._handover.retire(old)
            self._note_replacement(channel, session, now)
        return session

    def announce(self, channel: Channel) -> None:
        """Tell the features that a device is present, or that it has a newer channel."""
        session = channel.session
        if session is None or session.channel is not channel:
            return  # it was replaced while it said hello
        if session.has_been_announced:
            self._desk.tell(lambda feature: feature.on_replaced, session)
        else:
            session.has_been_announced = True
            self._desk.tell(lambda feature: feature.on_online, session)

    def leave(self, channel: Channel) -> None:
        """A channel's socket is gone; if it owned the route, its device is offline."""
        self._admission.closed()
        self._has_come(channel)
        session = self._registry.release(channel)
        if session is None:
            return
        self._desk.observers.emit(DeviceOffline(device=session.device, session=session.id))
        if session.has_been_announced:
            self._desk.tell(lambda feature: feature.on_offline, session)
        session.tasks.cancel()
        if len(session.tasks) and not self._departures.closed:
            self._departures.spawn(_unwind(session.tasks), f"end of session of {session.device}")

    def _note_replacement(self, channel: Channel, session: Session, now: float) -> None:
        refusal = self._guard.replaced(channel.connect.device, now)
        if refusal is not None:
            event = DeviceFlapping(
                device=session.device,
                session=session.id,
                replacements=self._desk.config.handover.replacements + 1,
                refused_seconds=refusal,
            )
            self._desk.observers.emit(event)


async def _unwind(tasks: Tasks) -> None:
    """Wait for cancelled tasks, which only have to unwind; report by name those that do not.

    They have five seconds; a second cancellation at once would cut their unwinding.
    """
    if not await tasks.finish(5.0):
        await tasks.close(1.0)
