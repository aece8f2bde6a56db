"""Invariants of peer messages: nothing that was acknowledged is lost, doubled, or out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.identity import DeviceId
from gateway.observe.events import PeerAccepted, PeerDelivered, PeerFailed, PeerLost
from harness.invariants.budgets import Budgets
from harness.invariants.facts import GATEWAY, AcknowledgerKept, Framed, Healed, Hit, Quiet, Reported, Settled
from harness.invariants.fault_log import FaultLog
from harness.invariants.invariant import Invariant
from harness.invariants.lives import Lives
from harness.invariants.peer_frames import Delivery, Name, delivery_in, receipt_in

SWALLOWING = frozenset({"cut", "limit_data", "timeout", "power_cut", "slow_reader"})
"""Faults in which TCP acknowledges what no application reads: a middlebox that ends TCP itself, as a proxy does; and a
device whose program ends with unread bytes in its kernel."""


class TcpsWord:
    """Messages that were taken for delivered since TCP had taken them, where nobody may have read them.

    Where a device does not acknowledge, or has not said yet that it does, the gateway has nothing better to go by. Of
    one whose word it keeps in its mailbox it never goes by TCP's, whatever life it is in.

    Args:
        budgets: how long after a fault there may still be word of what it has swallowed.
    """

    def __init__(self, budgets: Budgets) -> None:
        self.false: set[Name] = set()
        self._budgets = budgets
        self._faults = FaultLog()
        self._acknowledgers: set[DeviceId] = set()

    def acknowledger_kept(self, fact: AcknowledgerKept) -> None:
        """Note who acknowledges."""
        if fact.acknowledges:
            self._acknowledgers.add(fact.device)
        else:
            self._acknowledgers.discard(fact.device)

    def hit(self, fact: Hit) -> None:
        """Note for whom TCP is not to be trusted any more."""
        if fact.what in SWALLOWING and GATEWAY not in fact.whom:
            self._faults.hit(fact)

    def healed(self, fact: Healed) -> None:
        """Note for whom it is again."""
        self._faults.healed(fact)

    def is_doubtful(self, device: DeviceId, at: float) -> bool:
        """Whether somebody else may have taken what TCP says now that this device has."""
        return device not in self._acknowledgers and self._faults.touched(device, at - self._budgets.recovery)

    def reported(self, fact: Reported) -> None:
        """Note what was taken for delivered."""
        event = fact.event
        if isinstance(event, PeerDelivered) and event.confirm == "written":
            device = DeviceId(event.device)
            if self.is_doubtful(device, fact.at):
                self.false.add((device, event.sender, event.message))


class _MindsTcp(Invariant):
    """One that makes an exception of what TCP alone has taken."""

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._tcp = TcpsWord(self.budgets)

    def hit(self, fact: Hit) -> None:
        """Note a fault."""
        self._tcp.hit(fact)

    def healed(self, fact: Healed) -> None:
        """Note its end."""
        self._tcp.healed(fact)

    def acknowledger_kept(self, fact: AcknowledgerKept) -> None:
        """Note who acknowledges."""
        self._tcp.acknowledger_kept(fact)

    def reported(self, fact: Reported) -> None:
        """Note what the gateway takes for delivered."""
        self._tcp.reported(fact)


class AcknowledgedIsKept(_MindsTcp):
    """A receipt is a promise."""

    number = 1
    says = "What a receipt calls delivered has reached its recipient; what it calls enqueued has, or is still stored."
    when = "both"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._arrived: set[Name] = set()
        self._promised: dict[Name, None] = {}
        self._written: dict[Name, None] = {}
        self._lost: Counter[tuple[str, str]] = Counter()

    def framed(self, fact: Framed) -> Iterator[str]:
        """Note what arrives and what is promised."""
        if (delivery := delivery_in(fact)) is not None:
            self._arrived.add(delivery.name)
        receipt = receipt_in(fact)
        if receipt is None:
            return
        for target in receipt.delivered:
            name = target, receipt.sender, receipt.id
            # a repeat is answered by what the mailbox remembers, which is not by whose word a letter was settled
            if name in self._arrived or name in self._tcp.false:
                continue
            if receipt.by_acknowledgement:
                yield f"{receipt.sender} was told that {receipt.id} is delivered to {target}, which has not got it"
            elif not self._tcp.is_doubtful(target, fact.at):
                self._written[name] = None  # its kernel has it, and it will be read
        self._promised.update(dict.fromkeys((target, receipt.sender, receipt.id) for target in receipt.enqueued))

    def reported(self, fact: Reported) -> None:
        """Note what expired, or was given up: its sender is told."""
        super().reported(fact)
        if isinstance(fact.event, PeerLost):
            self._lost[fact.event.device, fact.event.sender] += fact.event.count

    def quiet(self, fact: Quiet) -> Iterator[str]:
        """Look where each promise is."""
        for recipient, sender, id_ in (name for name in self._written if name not in self._arrived):
            yield f"{sender} was told that {id_} is written to {recipient}, which has not got it"
        kept = {(letter.recipient, letter.sender, letter.id) for letter in fact.letters}
        for name in self._promised:
            if name in self._arrived or name in kept or name in self._tcp.false:
                continue
            recipient, sender, id_ = name
            if self._lost[recipient, sender] > 0:
                self._lost[recipient, sender] -= 1
            else:
                yield f"{sender} was told that {id_} is kept for {recipient}, which has not got it, nor has the mailbox"


class DeliveredOnce(Invariant):
    """A recipient that goes by sender and id has each message once."""

    number = 2
    says = "A message has one id, and an id one message; a further copy says that it is one."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._payloads: dict[Name, Any] = {}
        self._ids: dict[tuple[str, str, int], str] = {}
        self._lives = Lives()
        self._first_copies: dict[Name, int] = {}  # the connection on which one came that does not say it is a repeat
        self._anew: set[tuple[str, str]] = set()  # (sender, id) that failed: their repeat is a new attempt

    def reported(self, fact: Reported) -> None:
        """Note what has failed."""
        self._lives.reported(fact)
        if isinstance(fact.event, PeerFailed):
            self._anew.add((fact.event.sender, fact.event.message))

    def framed(self, fact: Framed) -> Iterator[str]:
        """Compare a delivery with those before it."""
        self._lives.framed(fact)
        delivery = delivery_in(fact)
        if delivery is None:
            return
        recipient, sender, id_ = delivery.name
        if self._payloads.setdefault(delivery.name, delivery.payload) != delivery.payload:
            yield f"{recipient} got two messages of {sender} under the id {id_}"
        if (number := delivery.number) is not None:
            first = self._ids.setdefault((recipient, sender, number), id_)
            if first != id_:
                yield f"{recipient} got message {number} of {sender} twice, as {first} and as {id_}"
        yield from self._copy(fact.connection, delivery)

    def _copy(self, connection: int, delivery: Delivery) -> Iterator[str]:
        if delivery.redelivered:
            return
        recipient, sender, id_ = delivery.name
        before = self._first_copies.get(delivery.name)
        self._first_copies[delivery.name] = connection
        if before is None or (sender, id_) in self._anew:
            return
        life = self._lives.of(connection)
        if life is not None and self._lives.of(before) == life:  # what one life has sent, the next one may not know
            yield f"{recipient} got a second copy of {id_} of {sender} that does not say that it is one"


class InOrder(_MindsTcp):
    """Messages do not overtake each other."""

    number = 3
    says = "Messages of one sender reach one recipient in the order in which it sent them, repeats left out."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._arrived: set[Name] = set()
        self._last: dict[tuple[str, str], int] = {}

    def framed(self, fact: Framed) -> Iterator[str]:
        """Look at the first delivery of each message."""
        delivery = delivery_in(fact)
        if delivery is None or delivery.number is None:
            return
        if delivery.name in self._arrived or delivery.name in self._tcp.false:
            return
        self._arrived.add(delivery.name)
        recipient, sender, _ = delivery.name
        last = self._last.get((recipient, sender), -1)
        if delivery.number < last:
            yield f"{recipient} got message {delivery.number} of {sender} after message {last}"
        self._last[recipient, sender] = max(last, delivery.number)


class SettledIsOver(Invariant):
    """An acknowledgement that is on the disk counts for ever."""

    number = 9
    says = "A message whose acknowledgement was committed is not sent by a later life, unless its sender repeats it."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._lives = Lives()
        self._settled: dict[tuple[str, str], dict[DeviceId, int]] = {}  # by sender and id; recipients, with the life

    def settled(self, fact: Settled) -> None:
        """Note what is over."""
        self._settled.setdefault((fact.sender, fact.id), {})[fact.recipient] = fact.life

    def reported(self, fact: Reported) -> None:
        """Note what was asked for anew."""
        self._lives.reported(fact)
        if isinstance(fact.event, PeerAccepted):
            self._settled.pop((fact.event.device, fact.event.message), None)

    def framed(self, fact: Framed) -> Iterator[str]:
        """Look for what was over before this connection began."""
        self._lives.framed(fact)
        delivery = delivery_in(fact)
        if delivery is None:
            return
        recipient, sender, id_ = delivery.name
        over = self._settled.get((sender, id_), {}).get(recipient)
        if over is not None and (self._lives.of(fact.connection) or 0) > over:
            yield f"{recipient} was sent {id_} of {sender}, whose acknowledgement was committed in life {over}"
