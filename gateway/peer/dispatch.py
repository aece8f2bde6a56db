"""Accepted letters on their way: at once to a device that is there, else to the mailbox, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from gateway.config import PeerConfig
from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.events import Observers, PeerEnqueued
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight, Keeping
from gateway.peer.mailbox import EVENT_KINDS, Letter, Mailbox, Stored, asked
from gateway.peer.receipt import Receipt
from gateway.peer.receipts import Receipts
from gateway.peer.settling import Settling, until_taken
from gateway.tasks import Tasks


class Dispatch:
    """Sends letters live or keeps them, and completes the receipts of those that no receipt has gone out for.

    Args:
        config: what may be in memory, and whether messages are kept at all.
        mailbox: where messages wait.
        tasks: owner of the writes.
        deliveries: of the present devices.
        receipts: where outcomes go.
        settling: takes letters that are in the mailbox and need not be.
        pump: is told of a delivery for which something is in the mailbox.
        observers: where records go.
    """

    def __init__(
        self,
        config: PeerConfig,
        mailbox: Mailbox,
        tasks: Tasks,
        deliveries: Mapping[DeviceId, Delivery],
        receipts: Receipts,
        settling: Settling,
        pump: Callable[[Delivery], None],
        observers: Observers,
    ) -> None:
        self._config = config
        self._mailbox = mailbox
        self._tasks = tasks
        self._deliveries = deliveries
        self._receipts = receipts
        self._settling = settling
        self._pump = pump
        self._observers = observers
        self.in_memory = 0
        """Messages that are neither confirmed nor in the mailbox yet."""

    # --- sending ------------------------------------------------------------------------------------------------

    def send_live(self, letter: Letter, receipt: Receipt | None) -> list[Flight]:
        """Send a letter at once if its device is there and nothing is before it; else return what is to be kept."""
        self.in_memory += 1
        flight = Flight(letter, receipt, Keeping.MEMORY)
        delivery = self._deliveries.get(letter.recipient)
        if delivery is None:
            return [flight]
        if self.in_memory <= self._config.waiting_total:
            if delivery.takes_live(flight.wire_id):
                delivery.send(flight)
                return []
            if delivery.hold(flight):
                return []
        return self._in_order(delivery, [*delivery.release(), flight])

    def send_first(self, flight: Flight) -> None:
        """Send a letter ahead of all that waits for its device; keep it if that is not there."""
        self.in_memory += 1
        delivery = self._deliveries.get(flight.letter.recipient)
        if delivery is None:
            self.keep([flight])
        else:
            delivery.send(flight)

    # --- to the mailbox -----------------------------------------------------------------------------------------

    def keep_in_order(self, delivery: Delivery, flights: list[Flight]) -> None:
        """Keep what cannot be sent now, behind what was accepted of the same senders before."""
        self.keep(self._in_order(delivery, flights))

    def _in_order(self, delivery: Delivery, flights: list[Flight]) -> list[Flight]:
        """Put what cannot be sent behind what is still in memory of the same senders.

        Messages of one sender to one device are stored in the order in which they were accepted.
        """
        if not self._config.queue:
            return flights
        senders = {flight.letter.sender for flight in flights}
        return [flight for flight in delivery.in_memory() if flight.letter.sender in senders] + flights

    def keep(self, flights: list[Flight]) -> None:
        """Bring messages to the mailbox in this order; those that may not be kept fail."""
        mail: list[Flight] = []
        for flight in flights:
            if flight.of_peer and not self._config.queue:
                self._drop(flight, "TARGET_OFFLINE")
                continue
            flight.keeping = Keeping.STORING
            delivery = self._deliveries.get(flight.letter.recipient)
            if delivery is not None and flight.delivery is None:
                delivery.storing.add(flight)
            if flight.letter.kind in EVENT_KINDS:
                self._tasks.spawn(self._store_event(flight), "store event")
            else:
                mail.append(flight)
        if mail:
            self._tasks.spawn(self._store(mail), "store")

    async def _store(self, mail: list[Flight]) -> None:
        try:
            answers = await asked(self._mailbox.store([flight.letter for flight in mail]))
        except MailboxFailed:
            for flight in mail:
                self._refused(flight, "INTERNAL_ERROR")
        else:
            for flight, answer in zip(mail, answers, strict=True):
                self._stored(flight, answer)

    async def _store_event(self, flight: Flight) -> None:
        sent = flight.delivery is not None
        await until_taken(partial(self._mailbox.add_event, flight.letter, sent=sent), self._config)
        self._stored(flight, Stored.STORED)

    def _stored(self, flight: Flight, answer: Stored) -> None:
        if answer is Stored.FULL and not flight.confirm:
            self._refused(flight, "MAILBOX_FULL")
            return
        self.in_memory -= 1
        flight.keeping = Keeping.STORED
        if flight.receipt is not None and answer in (Stored.DUPLICATE, Stored.SETTLED):
            flight.receipt.duplicate = True
        if not flight.confirm and answer is not Stored.SETTLED:
            self._enqueued(flight, is_new=answer is Stored.STORED)
            return
        self._arrived(flight)
        if answer in (Stored.STORED, Stored.DUPLICATE):
            self._settling.settle_soon(flight)

    def _enqueued(self, flight: Flight, *, is_new: bool) -> None:
        letter = flight.letter
        if flight.of_peer and is_new:
            self._observers.emit(PeerEnqueued(device=letter.recipient, message=letter.id, sender=letter.sender))
        flight.end(safe=True)
        receipt, flight.receipt = flight.receipt, None
        if receipt is not None:
            receipt.enqueued(letter.recipient)
            self._receipts.send_if_complete(receipt)
        delivery = self._deliveries.get(letter.recipient)
        if delivery is None:
            return
        if delivery.get(flight.wire_id) is flight:
            delivery.stored(flight)
        else:
            delivery.storing.discard(flight)
            self._pump(delivery)

    # --- ends ---------------------------------------------------------------------------------------------------

    def confirmed(self, flight: Flight) -> None:
        """A device has a message."""
        if flight.keeping is Keeping.MEMORY:
            self.in_memory -= 1
            self._arrived(flight)
        elif flight.keeping is Keeping.STORED:
            self.end(flight)
            self._settling.settle_soon(flight)
        # else its commit is under way, and `_stored` goes on from here

    def _arrived(self, flight: Flight) -> None:
        """A device has a message of which no receipt has gone out yet."""
        self.end(flight)
        flight.end(safe=True)
        receipt, flight.receipt = flight.receipt, None
        if receipt is not None:
            receipt.delivered(flight.letter.recipient, acknowledged=flight.confirm != "written")
            self._receipts.send_if_complete(receipt)

    def end(self, flight: Flight) -> None:
        """Take a message out of flight, and give its place to one that waits."""
        delivery = flight.delivery
        if delivery is not None:
            delivery.remove(flight)
            if delivery.more_waiting:
                self._pump(delivery)
        elif (delivery := self._deliveries.get(flight.letter.recipient)) is not None:
            delivery.storing.discard(flight)

    def _refused(self, flight: Flight, code: str) -> None:
        """The mailbox does not take a message; a present device that was sent it has a moment to confirm it."""
        if flight.confirm or flight.delivery is None or not flight.delivery.refused(flight):
            self._drop(flight, code)

    def _drop(self, flight: Flight, code: str) -> None:
        """A message cannot be kept: it fails, unless its device turns out to have it."""
        self.in_memory -= 1
        if flight.confirm:
            self._arrived(flight)
            return
        self.end(flight)
        flight.end(safe=False)
        receipt, flight.receipt = flight.receipt, None
        if receipt is not None:
            self._receipts.fail(receipt, flight.letter.recipient, flight.letter.id, code)
            self._receipts.send_if_complete(receipt)
