"""What invariants look at: one stream of facts, in the order in which they happened, on one clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from websockets.frames import Opcode

from gateway.identity import DeviceId
from gateway.observe.events import Event

GATEWAY = "gateway"
"""Who a fault hits that hits the gateway's machine or process."""

ChannelState: TypeAlias = Literal["open", "owner", "retired", "closed"]
"""As `gateway.device.channel.State` has them."""


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all.

    Attributes:
        at: loop time in seconds.
    """

    at: float


# --- lives of the gateway -------------------------------------------------------------------------------------------


class LifeBegan(Fact, frozen=True):
    """A gateway's process takes devices; lives are counted from 1."""

    life: int


class LifeEnded(Fact, frozen=True):
    """It takes none any more.

    Attributes:
        orderly: it was stopped, and could put away what it had; else it died.
    """

    life: int
    orderly: bool


class Reported(Fact, frozen=True):
    """The gateway has emitted a record."""

    life: int
    event: Event


class Kept(Fact, frozen=True):
    """The mailbox has said that a letter is stored, or was known already."""

    life: int
    recipient: DeviceId
    sender: str
    id: str
    is_new: bool


class Settled(Fact, frozen=True):
    """The mailbox has said that a letter which its recipient has acknowledged is out."""

    life: int
    recipient: DeviceId
    sender: str
    id: str


class AcknowledgerKept(Fact, frozen=True):
    """The mailbox has said that it keeps whether a device acknowledges what it is sent."""

    life: int
    device: DeviceId
    acknowledges: bool


class ChannelView(msgspec.Struct, frozen=True):
    """One connection, as the gateway has it.

    Attributes:
        number: of its life, in the order of acceptance.
        device: whose it is.
        state: how far it is.
        queued: bytes that wait in this process for the peer.
    """

    number: int
    device: DeviceId
    state: ChannelState
    queued: int


class Seen(Fact, frozen=True):
    """A look into the gateway, between two callbacks of its loop.

    Attributes:
        channels: all its upgraded connections.
        owners: whose connection has the route, by device.
    """

    life: int
    channels: tuple[ChannelView, ...]
    owners: Mapping[DeviceId, int]


# --- devices --------------------------------------------------------------------------------------------------------


class Opened(Fact, frozen=True):
    """A device's connection was answered with 101.

    Attributes:
        connection: its number; connections are numbered over all devices, in the order in which they begin.
        began: loop time at which the device began to connect.
    """

    device: DeviceId
    connection: int
    began: float


class Framed(Fact, frozen=True):
    """A message, or a control frame, passed on a connection, as its device saw it.

    Attributes:
        sent: by the device.
        message: of a text frame, decoded; None for others.
    """

    device: DeviceId
    connection: int
    sent: bool
    opcode: Opcode
    payload: bytes
    message: dict[str, Any] | None


class Closed(Fact, frozen=True):
    """A device has seen the end of its connection.

    Attributes:
        code: of the Close frame; 1006 without one.
        own: the device ended it itself.
    """

    device: DeviceId
    connection: int
    code: int
    own: bool


class Silenced(Fact, frozen=True):
    """A device's program has ended, by a loss of power, and nobody was told: it sees nothing of its connections."""

    device: DeviceId


class Crashed(Fact, frozen=True):
    """A device was sent what no firmware can take, or the gateway raised what nobody caught; ``why`` says what."""

    who: str
    why: str


# --- what is done to them -------------------------------------------------------------------------------------------


class Hit(Fact, frozen=True):
    """A fault that may end connections, or hold up what passes on them.

    Attributes:
        what: its name.
        whom: whom it hits: device ids, or `GATEWAY`.
        lasts: until it is `Healed`.
    """

    what: str
    whom: tuple[str, ...]
    lasts: bool


class Healed(Fact, frozen=True):
    """What lasts is over.

    Attributes:
        what: its name; empty: all.
        whom: for whom.
    """

    what: str
    whom: tuple[str, ...]


class FaultsOver(Fact, frozen=True):
    """From here on nothing goes wrong any more: what lasts has been healed, all machines are on."""


# --- the end --------------------------------------------------------------------------------------------------------


class Letter(msgspec.Struct, frozen=True):
    """What is in the mailbox at the end."""

    recipient: DeviceId
    sender: str
    id: str
    kind: str
    set_aside: bool


class Quiet(Fact, frozen=True):
    """The quiet phase is over; everything should be as if nothing had happened.

    Attributes:
        residents: the devices that should be there.
        online: those that say they are.
        owners: those that the gateway says are.
        letters: what the mailbox still holds.
        unreceipted: messages whose senders have had no receipt.
        unconfirmed: messages in flight, and in memory.
        counted: connections that the gateway counts.
    """

    residents: frozenset[DeviceId]
    online: frozenset[DeviceId]
    owners: frozenset[DeviceId]
    letters: tuple[Letter, ...]
    unreceipted: int
    unconfirmed: int
    counted: int


class Emptied(Fact, frozen=True):
    """All devices have left, and the gateway was stopped.

    Attributes:
        seconds: how long it took to stop.
        connections: those that it still had when its devices had left.
        tasks: who still waits, and for what.
        timers: those still set.
    """

    seconds: float
    connections: int
    tasks: tuple[str, ...]
    timers: tuple[str, ...]
