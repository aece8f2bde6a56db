"""Invariants of connections: one owner a device, short handovers, honest endings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from websockets.frames import Close, Opcode

from gateway.observe.events import DeviceOffline, DeviceOnline, HandoverBegan, HandoverEnded
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.messages import HANDOVER_NOTICE, encode
from harness.invariants.facts import Closed, Framed, Healed, Hit, LifeBegan, LifeEnded, Opened, Quiet, Reported, Seen
from harness.invariants.fault_log import FaultLog
from harness.invariants.invariant import Invariant

NOTICE: dict[str, Any] = msgspec.json.decode(encode(HANDOVER_NOTICE))
"""What a connection is told that is being replaced, as it is decoded."""


class OneOwner(Invariant):
    """A device has one route, and the route an open connection."""

    number = 4
    says = "A device has at most one connection that owns its route, and no route without one; events tell no other."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._online: set[str] = set()

    def life_began(self, fact: LifeBegan) -> None:  # noqa: ARG002 - of any life
        """A new process knows nobody."""
        self._online.clear()

    def reported(self, fact: Reported) -> Iterator[str]:
        """Follow who comes and goes."""
        event = fact.event
        if isinstance(event, DeviceOnline):
            if event.replaced != (event.device in self._online):
                yield f"{event.device} came online with replaced={event.replaced}, and was{_not(event.replaced)} online"
            self._online.add(event.device)
        elif isinstance(event, DeviceOffline):
            if event.device not in self._online:
                yield f"{event.device} went offline, and was not online"
            self._online.discard(event.device)

    def seen(self, fact: Seen) -> Iterator[str]:
        """Compare routes and connections."""
        owning = Counter(channel.device for channel in fact.channels if channel.state == "owner")
        for device, count in owning.items():
            if count > 1:
                yield f"{device} has {count} connections that own its route"
        by_state = {channel.number for channel in fact.channels if channel.state == "owner"}
        for device, number in fact.owners.items():
            if number not in by_state:
                yield f"the route of {device} goes to connection {number}, which does not own it"
        for channel in fact.channels:
            if channel.state == "owner" and fact.owners.get(channel.device) != channel.number:
                yield f"connection {channel.number} of {channel.device} owns a route that does not lead to it"
        if self._online != set(fact.owners):
            differing = sorted(self._online ^ set(fact.owners))
            yield f"events and routes differ on who is online: {', '.join(differing)}"


class ShortHandover(Invariant):
    """Two connections of a device, for a moment."""

    number = 5
    says = "A replaced connection is gone within two seconds, is told once, and before it is closed with 4001."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._retired: dict[int, float] = {}
        self._notices: Counter[int] = Counter()
        self._greeted: set[int] = set()
        self._untold: dict[str, float] = {}

    def life_began(self, fact: LifeBegan) -> None:  # noqa: ARG002 - of any life
        """Connections are numbered by life."""
        self._retired.clear()

    def seen(self, fact: Seen) -> Iterator[str]:
        """See how long replaced connections stay."""
        there = {channel.number: channel.device for channel in fact.channels if channel.state == "retired"}
        self._retired = {number: self._retired.get(number, fact.at) for number in there}
        for number, since in self._retired.items():
            if fact.at - since > self.budgets.two_channels:
                seconds = fact.at - since
                yield f"connection {number} of {there[number]} was replaced {seconds:.3f} s ago and is still there"

    def reported(self, fact: Reported) -> Iterator[str]:
        """Note who could not be told, and what the gateway says itself."""
        if isinstance(fact.event, HandoverBegan) and not fact.event.told:
            self._untold[fact.event.device] = fact.at
        elif isinstance(fact.event, HandoverEnded) and fact.event.seconds > self.budgets.two_channels:
            yield f"the handover of {fact.event.device} took {fact.event.seconds:.3f} s"

    def framed(self, fact: Framed) -> Iterator[str]:
        """Look at what a replaced connection is told."""
        if fact.sent:
            return
        if fact.message is not None and fact.message.get("type") == "hello":
            self._greeted.add(fact.connection)
        elif fact.message == NOTICE:
            self._notices[fact.connection] += 1
            if self._notices[fact.connection] > 1:
                yield f"{fact.device} was told twice that connection {fact.connection} is replaced"
        elif fact.opcode is Opcode.CLOSE and Close.parse(fact.payload).code == CloseCode.REPLACED:
            yield from self._closed(fact)

    def _closed(self, fact: Framed) -> Iterator[str]:
        # one that was overtaken before it was alive is closed without a notice; it has not been greeted either
        told = self._notices[fact.connection] or fact.connection not in self._greeted
        unread = fact.at - self._untold.get(fact.device, -1e9) <= self.budgets.two_channels
        if not told and not unread:
            yield f"connection {fact.connection} of {fact.device} was closed with 4001 and not told before"


class SilentWhenRetired(Invariant):
    """The notice is the last word."""

    number = 6
    says = "Behind the notice, a replaced connection is sent nothing but its Close."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._told: set[int] = set()

    def framed(self, fact: Framed) -> Iterator[str]:
        """Look at what comes behind the notice."""
        if fact.sent:
            return
        if fact.connection in self._told and fact.opcode is not Opcode.CLOSE:
            said = fact.payload[:100].decode("utf-8", "replace")
            yield f"{fact.device} was sent something on connection {fact.connection} behind its notice: {said}"
        if fact.message == NOTICE:
            self._told.add(fact.connection)


class HonestEnding(Invariant):
    """Connections end with a reason."""

    number = 13
    says = "Connections end with a code of the protocol; without one only where a fault, or their device, ended them."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._faults = FaultLog()
        self._opened: dict[int, float] = {}
        self._of: dict[str, list[int]] = {}
        self._ended_at = -1e9

    def hit(self, fact: Hit) -> None:
        """Note a fault."""
        self._faults.hit(fact)

    def healed(self, fact: Healed) -> None:
        """Note its end."""
        self._faults.healed(fact)

    def life_ended(self, fact: LifeEnded) -> None:
        """A process that has died says nothing more; one that was stopped has said it."""
        if not fact.orderly:
            self._ended_at = fact.at

    def opened(self, fact: Opened) -> None:
        """Note a connection."""
        self._opened[fact.connection] = fact.began
        self._of.setdefault(fact.device, []).append(fact.connection)

    def closed(self, fact: Closed) -> Iterator[str]:
        """Judge its end."""
        if fact.own:
            return
        since = self._opened.get(fact.connection, 0.0)
        if fact.code not in set(CloseCode):
            yield f"connection {fact.connection} of {fact.device} was closed with {fact.code}, which is no code of ours"
        if fact.code != CloseCode.ABNORMAL or self._ended_at >= since or self._faults.touched(fact.device, since):
            return
        newer = [number for number in self._of.get(fact.device, ()) if number > fact.connection]
        if len(newer) < 2:  # of three connections the oldest is dropped at once
            yield f"connection {fact.connection} of {fact.device} was lost without a Close, and nothing was done to it"


class Recovered(Invariant):
    """What went wrong has no consequences for good."""

    number = 14
    says = "When the quiet phase is over every device is online, the mailbox is empty and nothing is unconfirmed."
    when = "at the end of the quiet phase"

    def quiet(self, fact: Quiet) -> Iterator[str]:
        """Look who is there, and what is left."""
        for side, there in (("say that they are", fact.online), ("are by the gateway's account", fact.owners)):
            if missing := sorted(fact.residents - there):
                yield f"not all devices {side} online; missing: {', '.join(missing)}"
        if waiting := [letter for letter in fact.letters if not letter.set_aside]:
            first = waiting[0]
            about = f"{first.id} of {first.sender or 'the gateway'} for {first.recipient}"
            yield f"{len(waiting)} letters still wait, the first of them {first.kind} {about}"
        if fact.unreceipted:
            yield f"{fact.unreceipted} messages have had no receipt"
        if fact.unconfirmed:
            yield f"{fact.unconfirmed} messages are in flight or in memory"


def _not(replaced: bool) -> str:
    return " not" if replaced else ""
