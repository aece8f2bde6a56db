"""Mail out of the mailbox to present devices, in order, as far as there is room in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config import PeerConfig
from gateway.errors import MailboxFailed
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight, Keeping, wire_id_of
from gateway.peer.mailbox import Mailbox, asked
from gateway.peer.settling import Settling
from gateway.tasks import Tasks


class Pump:
    """Sends what waits.

    Args:
        config: how much may be in flight.
        mailbox: where it waits.
        tasks: owner of the work.
        settling: what is in the mailbox but not to be sent any more.
        keep: takes new messages that were held meanwhile and turn out to have something before them.
    """

    def __init__(
        self,
        config: PeerConfig,
        mailbox: Mailbox,
        tasks: Tasks,
        settling: Settling,
        keep: Callable[[Delivery, list[Flight]], None],
    ) -> None:
        self._config = config
        self._mailbox = mailbox
        self._tasks = tasks
        self._settling = settling
        self._keep = keep

    def start(self, delivery: Delivery) -> None:
        """See what waits for a device; once more when that is being done already."""
        if delivery.ended or self._tasks.closed:
            return
        if delivery.pumping:
            delivery.pump_again = True
            return
        delivery.pumping = True
        self._tasks.spawn(self._run(delivery), f"mail of {delivery.session.device}")

    async def _run(self, delivery: Delivery) -> None:
        try:
            while not delivery.ended:
                delivery.pump_again = False
                try:
                    await self._send_waiting(delivery)
                except MailboxFailed:
                    delivery.more_waiting = True  # for all that is known
                    self._keep(delivery, delivery.release())
                    delivery.pump_again = True
                    await asyncio.sleep(self._config.retry_first)
                if not delivery.pump_again:
                    break
        finally:
            delivery.pumping = False
            self._send_held(delivery)
        if not delivery.ended:
            delivery.wake_for_report()

    async def _send_waiting(self, delivery: Delivery) -> None:
        if delivery.room <= 0:
            delivery.more_waiting = True
            return
        recipient = delivery.session.device
        # one more than can be in flight, or are leaving, tells that there is more
        most = self._config.in_flight + len(self._settling.of(recipient)) + 1
        letters = await asked(self._mailbox.waiting(recipient, most))
        if delivery.ended:
            return
        leaving = self._settling.of(recipient)
        behind: set[str] = set()  # senders of which something has to wait, and so all that comes after it
        for letter in letters:
            key = (letter.sender, letter.id)
            flight = delivery.get(wire_id_of(letter))
            if key in leaving or (flight is not None and flight.key == key):
                continue
            if flight is not None or letter.sender in behind or delivery.room <= 0:
                behind.add(letter.sender)
            else:
                delivery.send(Flight(letter, None, Keeping.STORED))
        delivery.more_waiting = bool(behind) or len(letters) == most

    def _send_held(self, delivery: Delivery) -> None:
        keep: list[Flight] = []
        for flight in delivery.release():
            if not keep and delivery.takes_live(flight.wire_id):
                delivery.send(flight)
            else:
                keep.append(flight)  # and all behind it, so that the order stays
        self._keep(delivery, keep)
