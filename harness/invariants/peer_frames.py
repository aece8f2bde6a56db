"""Peer messages as they pass: deliveries, receipts, events."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from gateway.identity import DeviceId
from harness.invariants.facts import Framed

Name: TypeAlias = tuple[DeviceId, str, str]
"""Of a letter: its recipient, its sender, its id."""


class Delivery(NamedTuple):
    """A message that has reached its recipient."""

    name: Name
    payload: Any
    redelivered: bool

    @property
    def number(self) -> int | None:
        """The number that its sender gave it; None where it gave none."""
        number = self.payload.get("n") if isinstance(self.payload, dict) else None
        return number if type(number) is int else None


class Receipt(NamedTuple):
    """What a sender was told of a message of its own."""

    sender: DeviceId
    id: str
    delivered: list[DeviceId]
    enqueued: list[DeviceId]
    by_acknowledgement: bool


class Told(NamedTuple):
    """What a sender was told later: so many of its messages to a device have ended so."""

    sender: DeviceId
    event: str
    target: str
    messages: int
    id: str | None


def delivery_in(fact: Framed) -> Delivery | None:
    """Read a message that its recipient gets; None where it is none."""
    message = _peer(fact)
    if message is None or "from" not in message:
        return None
    name = (fact.device, str(message["from"]), str(message.get("id", "")))
    return Delivery(name, message.get("payload"), message.get("redelivered") is True)


def receipt_in(fact: Framed) -> Receipt | None:
    """Read a receipt with an id; None where it is none."""
    message = _peer(fact)
    if message is None or message.get("status") != "done" or "id" not in message:
        return None
    delivered, enqueued = message.get("delivered", []), message.get("enqueued", [])
    return Receipt(fact.device, str(message["id"]), delivered, enqueued, message.get("confirm") != "written")


def told_in(fact: Framed) -> Told | None:
    """Read an event about earlier messages; None where it is none."""
    message = _peer(fact)
    if message is None or message.get("event") not in {"redelivered", "expired", "dropped"}:
        return None
    about, count = str(message.get("to", "")), int(message.get("count", 0))
    return Told(fact.device, message["event"], about, count, message.get("id"))


def _peer(fact: Framed) -> dict[str, Any] | None:
    message = fact.message
    return message if not fact.sent and message is not None and message.get("type") == "peer" else None
