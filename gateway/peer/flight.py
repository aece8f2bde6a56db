"""One message on its way to one present device: in memory with a deadline, or in the mailbox, or settled."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from gateway.peer.mailbox import Letter
from gateway.peer.receipt import Receipt
from gateway.protocol.messages import MeetingSummary, PeerEvent, PeerMessage

if TYPE_CHECKING:
    from gateway.peer.delivery import Delivery


class Keeping(Enum):
    """Where a message is kept while it is in flight; it only ever moves forward, unless the mailbox refuses it."""

    MEMORY = "memory"
    """Here only: no receipt has gone out, and none may until it is acknowledged or stored."""
    STORING = "storing"
    """On its way to the mailbox: the commit has not come back."""
    STORED = "stored"
    """Committed: forgetting the flight loses nothing."""


class Flight:
    """One letter in flight.

    Attributes:
        letter: what is sent.
        of_peer: a device has sent it; else the gateway itself has something to say.
        wire_id: the id on the wire, which an acknowledgement names.
        receipt: who waits to hear of it, None once told, or where nobody does.
        outcome: whether it is safe, with its device or in the mailbox; None where nobody waits for that.
        keeping: where else it is kept.
        delivery: of the session it was sent to; None before.
        in_share: its sender was told ``enqueued`` and will be told of its end.
        sent: it was handed to the present channel of its device.
        attempts: how often it was handed to a channel in this session.
        earlier: how often in sessions before.
        acks: how many acknowledgements have come for it.
        confirm: how it is known that its device has it, ``ack`` or ``written``; empty before that.
        redelivered: it came out of the mailbox, or is being repeated.
        due: loop time at which it is stored, or sent again, for want of a confirmation.
        fails_at: loop time until which its device may still confirm what the mailbox has refused; None before that.
    """

    __slots__ = (
        "acks",
        "attempts",
        "confirm",
        "delivery",
        "due",
        "earlier",
        "fails_at",
        "in_share",
        "keeping",
        "letter",
        "of_peer",
        "outcome",
        "receipt",
        "redelivered",
        "sent",
        "wire_id",
    )

    def __init__(self, letter: Letter, receipt: Receipt | None, keeping: Keeping) -> None:
        self.letter = letter
        self.of_peer = letter.kind == "peer"
        self.wire_id = wire_id_of(letter)
        self.receipt = receipt
        self.outcome: asyncio.Future[bool] | None = None
        self.keeping = keeping
        self.delivery: Delivery | None = None
        self.in_share = False
        self.sent = False
        self.attempts = 0
        self.earlier = 0
        self.acks = 0
        self.confirm = ""
        self.redelivered = keeping is Keeping.STORED
        self.due = 0.0
        self.fails_at: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What names the letter in its recipient's mailbox."""
        return self.letter.sender, self.letter.id

    def end(self, *, safe: bool) -> None:
        """Tell who waits for it whether it is safe."""
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(safe)

    def message(self, *, with_event_id: bool) -> msgspec.Struct:
        """Write what the device gets.

        Args:
            with_event_id: the device acknowledges, so the gateway's own messages carry an id, too.
        """
        letter = self.letter
        if letter.kind == "peer":
            return PeerMessage(
                from_=letter.sender,
                payload=msgspec.Raw(letter.body),
                id=letter.id,
                ts=int(letter.created * 1000),
                redelivered=True if self.redelivered else UNSET,
            )
        if letter.kind == "summary":
            summary = msgspec.json.decode(letter.body, type=MeetingSummary)
            summary.id = letter.id if with_event_id else UNSET
            return summary
        if letter.kind == "delivered":
            return PeerEvent(letter.kind, letter.about, id=self.wire_id)
        return PeerEvent(
            letter.kind,
            letter.about,
            count=letter.count,
            reason=letter.reason or UNSET,
            id=letter.id if with_event_id else UNSET,
        )


def wire_id_of(letter: Letter) -> str:
    """Return the id a letter has on the wire; a ``delivered`` event has that of the message it is about."""
    return letter.reason if letter.kind == "delivered" else letter.id
