"""Messages from device to device: accepted, delivered live or stored, redelivered, receipted.

What a sender is told is true: ``delivered`` after the target's acknowledgement (or, without that feature, when its TCP
has taken the message); ``enqueued`` after the commit. A message is in memory with a deadline, or in the mailbox, or
settled. Every message once ``enqueued`` ends in one ``redelivered``, ``expired`` or ``dropped`` event to its sender;
but what was acknowledged and is not reported yet (for three seconds, mostly) is counted in memory, so that a kill loses
the event, though not the message, which has arrived.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from gateway.config import PeerConfig
from gateway.device.session import Session
from gateway.errors import BadMessage, MailboxFailed
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId, group_of
from gateway.observe.clock import WallClock
from gateway.observe.events import (
    AckIgnored,
    Observers,
    PeerAccepted,
    PeerDelivered,
    PeerEnqueued,
    PeerFailed,
    PeerLost,
    PeerRedelivered,
)
from gateway.peer.acknowledgers import Acknowledgers
from gateway.peer.attempts import Attempts
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight, Keeping, wire_id_of
from gateway.peer.mailbox import EVENT_KINDS, Depth, Letter, Mailbox, Stored, asked
from gateway.peer.own_letters import OwnLetters
from gateway.peer.pump import Pump
from gateway.peer.receipt import Receipt
from gateway.peer.remembered import Remembered
from gateway.peer.requests import PeerRequest, read_ack, read_request
from gateway.peer.senders import Senders
from gateway.peer.settling import Settling, until_taken
from gateway.peer.turns import Turns
from gateway.presence.broadcast import SESSIONS_PER_TURN
from gateway.protocol import limits
from gateway.protocol.messages import MeetingSummary, Peer, PeerError
from gateway.tasks import Tasks

MayWrite = Callable[[DeviceId, DeviceId], bool]
"""Whether the first device may write to the second."""

_EXPIRY_CHECK = 1.0  # seconds: an expired message is reported within it, and a look that finds nothing costs no write
_EXPIRED_AT_ONCE = 500  # letters per look, so that a wave of them does not hold the mailbox
_STOP_WAIT = 10.0  # seconds: some thousand commits


class Courier(Feature):
    """The peer messages of one gateway.

    Args:
        config: its limits.
        mailbox: where messages wait.
        observers: where records go.
        wall_clock: for stamps and expiry dates.
        may_write: the rule who may write to whom; None: `PeerConfig.reach` decides.
    """

    def __init__(
        self,
        config: PeerConfig,
        mailbox: Mailbox,
        observers: Observers,
        wall_clock: WallClock,
        may_write: MayWrite | None = None,
    ) -> None:
        self._config = config
        self._mailbox = mailbox
        self._observers = observers
        self._wall_clock = wall_clock
        self._may_write = may_write or _reach(config)
        self._deliveries: dict[DeviceId, Delivery] = {}
        self._senders = Senders(config)
        self._remembered = Remembered(config.dedupe)
        self._everywhere: dict[str, int] = {}
        self._attempts = Attempts()
        self._acknowledgers = Acknowledgers()
        self._in_memory = 0
        self.depth = Depth(0, 0, 0.0)
        """How full the mailbox was at the last look, a second ago at most."""
        self._tasks = Tasks("courier")
        self._clerk = Tasks("courier's clerk")
        self._turns = Turns(self._tasks)
        self._own = OwnLetters(wall_clock, config.ttl)
        self._settling = Settling(config, mailbox, self._tasks, self._settled, self._put_aside)
        self._pump = Pump(config, mailbox, self._tasks, self._settling, self._keep_in_order)

    @property
    def in_memory(self) -> int:
        """Messages that are neither confirmed nor in the mailbox yet."""
        return self._in_memory

    @property
    def unconfirmed(self) -> int:
        """Messages in flight to present devices."""
        return sum(map(len, self._deliveries.values()))

    def handlers(self) -> Iterable[Handler[Peer]]:
        """``peer``: requests and acknowledgements."""
        return (Handler(Peer, self._on_peer),)

    async def start(self) -> None:
        """Begin to look for expired messages."""
        self._clerk.spawn(self._expire(), "expiry")

    async def stop(self) -> None:
        """Bring what is in memory to the mailbox; what that takes is bounded."""
        await self._clerk.close(1.0)
        for delivery in tuple(self._deliveries.values()):
            self.on_offline(delivery.session)
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_WAIT):
                while len(self._tasks) or self._settling.pending:  # tasks make tasks: a settled letter is reported
                    await self._tasks.finish(_STOP_WAIT)
                    await asyncio.sleep(0)
        await self._tasks.close(1.0)

    # --- sessions -----------------------------------------------------------------------------------------------

    def on_online(self, session: Session) -> None:
        """Send a device what waits for it."""
        self._senders.arrive(session.device)
        delivery = Delivery(session, self._config, self, self._everywhere, self._attempts, self._acknowledgers)
        self._deliveries[session.device] = delivery
        self._pump.start(delivery)

    def on_replaced(self, session: Session) -> None:
        """What the older connection has not confirmed goes to the newer one."""
        delivery = self._deliveries.get(session.device)
        if delivery is not None:
            delivery.send_all_again()

    def on_offline(self, session: Session) -> None:
        """What the device has not confirmed goes (back) to the mailbox; its redelivered mail so far is reported."""
        delivery = self._deliveries.pop(session.device, None)
        if delivery is None:
            return  # the courier has stopped
        if session.channel.introduced:
            self._acknowledgers.note(session.device, acknowledges=session.offers("peer_ack"))
        self._senders.depart(session.device, asyncio.get_running_loop().time())
        self._keep_or_fail(delivery.end())
        self._report_all(delivery)

    # --- from a device ------------------------------------------------------------------------------------------

    def _on_peer(self, session: Session, message: Peer) -> None:
        try:
            if message.event is None:
                self._on_request(session, read_request(message, self._config))
            elif message.event == "ack":
                self._on_ack(session, read_ack(message))
            else:
                raise BadMessage("INVALID_REQUEST", "expected no 'event', or the event 'ack'")
        except BadMessage as error:
            answer = PeerError(error.code, error.reason)
            if isinstance(message.id, str) and 0 < len(message.id) <= limits.PEER_ID_CHARACTERS:
                answer.id = message.id
            if error.code == "RATE_LIMITED":
                session.send_json(answer)  # flow control is no offence
            else:
                session.send_error(error.code, error.reason, answer=answer)

    def _on_ack(self, session: Session, ids: Sequence[str]) -> None:
        delivery = self._deliveries.get(session.device)
        for wire_id in ids:
            if delivery is not None and delivery.session is session and delivery.acknowledge(wire_id):
                continue
            # of an earlier session, from a connection that has outlived it: the device's own, but not proof enough
            own = delivery is not None and wire_id in delivery
            foreign = not own and wire_id in self._everywhere
            self._observers.emit(AckIgnored(device=session.device, session=session.id, foreign=foreign))

    def _on_request(self, session: Session, request: PeerRequest) -> None:
        sender = session.device
        now = asyncio.get_running_loop().time()
        self._senders.take(sender, now)
        if request.id is not None:
            known = self._remembered.find(sender, request.id, now)
            if known is not None:
                if known.complete:
                    session.send_json(known.message(now, duplicate=True))
                return  # an open one is answered when it is complete
        if request.broadcast:
            self._senders.take_broadcast(sender, now)
        targets = self._targets(sender, request)
        wire_id = request.id or secrets.token_hex(8)
        # a later `delivered` event names the message, so its sender has to know what it is called
        receipt = Receipt(sender, wire_id if request.confirm else request.id, len(targets), now)
        if request.id is not None:
            self._remembered.add(receipt, request.id, now)
        accepted = PeerAccepted(device=sender, session=session.id, message=wire_id, targets=len(targets))
        self._observers.emit(accepted)
        self._turns.do(sender, self._send_to(targets, request, wire_id, receipt))

    def _targets(self, sender: DeviceId, request: PeerRequest) -> dict[DeviceId, str]:
        """Whom a request is for, each with the code of its failure, or nothing where it may be sent.

        All is judged before anything is begun: the rule may be an application's, and fail.
        """
        may_write = self._may_write
        if request.broadcast:
            return {device: "" for device in self._deliveries if device != sender and may_write(sender, device)}
        codes: dict[DeviceId, str] = {}
        for target in request.targets:
            if target == sender:
                codes[target] = "INVALID_TARGET"
            else:
                codes[target] = "" if may_write(sender, target) else "UNAUTHORIZED"
        return codes

    def _send_to(
        self, targets: dict[DeviceId, str], request: PeerRequest, wire_id: str, receipt: Receipt
    ) -> Iterator[None]:
        """Send a message to all its targets; a turn is over at each ``yield``, so that a broadcast holds up nobody."""
        created = self._wall_clock()
        keep: list[Flight] = []
        for number, (target, code) in enumerate(targets.items()):
            if number and number % SESSIONS_PER_TURN == 0:
                self._keep_or_fail(keep)
                keep = []
                yield
            if code:
                self._fail(receipt, target, wire_id, code)
                continue
            letter = Letter(
                recipient=target,
                sender=receipt.sender,
                id=wire_id,
                kind="peer",
                body=request.body,
                created=created,
                expires=created + request.ttl,
                confirm=request.confirm,
            )
            keep += self._send_live(letter, receipt)
        self._send_receipt_if_complete(receipt)
        self._keep_or_fail(keep)  # what is kept leaves the receipt open, and completes it

    # --- on the way ---------------------------------------------------------------------------------------------

    def _send_live(self, letter: Letter, receipt: Receipt | None) -> list[Flight]:
        """Send a letter at once if its device is there and nothing is before it; else return what is to be kept."""
        self._in_memory += 1
        flight = Flight(letter, receipt, Keeping.MEMORY)
        delivery = self._deliveries.get(letter.recipient)
        if delivery is None:
            return [flight]
        if self._in_memory <= self._config.waiting_total:
            if delivery.takes_live(flight.wire_id):
                delivery.send(flight)
                return []
            if delivery.hold(flight):
                return []
        return self._in_order(delivery, [*delivery.release(), flight])

    def _in_order(self, delivery: Delivery, flights: list[Flight]) -> list[Flight]:
        """Put what cannot be sent behind what is still in memory of the same senders.

        Messages of one sender to one device are stored in the order in which they were accepted.
        """
        if not self._config.queue:
            return flights
        senders = {flight.letter.sender for flight in flights}
        return [flight for flight in delivery.in_memory() if flight.letter.sender in senders] + flights

    def _keep_in_order(self, delivery: Delivery, flights: list[Flight]) -> None:
        self._keep_or_fail(self._in_order(delivery, flights))

    def _keep_or_fail(self, flights: list[Flight]) -> None:
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
        self._in_memory -= 1
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
            self._send_receipt_if_complete(receipt)
        delivery = self._deliveries.get(letter.recipient)
        if delivery is None:
            return
        if delivery.get(flight.wire_id) is flight:
            delivery.stored(flight)
        else:
            delivery.storing.discard(flight)
            self._pump.start(delivery)

    def _arrived(self, flight: Flight) -> None:
        """A device has a message of which no receipt has gone out yet."""
        self._end(flight)
        flight.end(safe=True)
        receipt, flight.receipt = flight.receipt, None
        if receipt is not None:
            receipt.delivered(flight.letter.recipient, acknowledged=flight.confirm != "written")
            self._send_receipt_if_complete(receipt)

    def _end(self, flight: Flight) -> None:
        """Take a message out of flight, and give its place to one that waits."""
        delivery = flight.delivery
        if delivery is not None:
            delivery.remove(flight)
            if delivery.more_waiting:
                self._pump.start(delivery)
        elif (delivery := self._deliveries.get(flight.letter.recipient)) is not None:
            delivery.storing.discard(flight)

    def _refused(self, flight: Flight, code: str) -> None:
        """The mailbox does not take a message; a present device that was sent it has a moment to confirm it."""
        if flight.confirm or flight.delivery is None or not flight.delivery.refused(flight):
            self._drop(flight, code)

    def _drop(self, flight: Flight, code: str) -> None:
        """A message cannot be kept: it fails, unless its device turns out to have it."""
        self._in_memory -= 1
        if flight.confirm:
            self._arrived(flight)
            return
        self._end(flight)
        flight.end(safe=False)
        receipt, flight.receipt = flight.receipt, None
        if receipt is not None:
            self._fail(receipt, flight.letter.recipient, flight.letter.id, code)
            self._send_receipt_if_complete(receipt)

    def _fail(self, receipt: Receipt, target: DeviceId, wire_id: str, code: str) -> None:
        receipt.failed(target, code)
        self._observers.emit(PeerFailed(device=target, message=wire_id, sender=receipt.sender, code=code))

    # --- what deliveries tell (`Post`) --------------------------------------------------------------------------

    def confirmed(self, flight: Flight) -> None:
        """A device has a message."""
        if flight.of_peer:
            self._note_delivered(flight)
        if flight.keeping is Keeping.MEMORY:
            self._in_memory -= 1
            self._arrived(flight)
        elif flight.keeping is Keeping.STORED:
            self._end(flight)
            self._settling.settle_soon(flight)
        # else its commit is under way, and `_stored` goes on from here

    def unconfirmed_in_time(self, flights: list[Flight]) -> None:
        """Messages were not confirmed in time: they go to the mailbox, and their senders hear ``enqueued``."""
        self._keep_or_fail(flights)

    def given_up(self, flight: Flight) -> None:
        """A message was sent as often as is allowed: it is set aside for an operator, and its sender is told."""
        letter = flight.letter
        notice = self._own.event(letter.sender, "dropped", letter.recipient, count=1, reason="attempts")
        self._settling.set_aside(flight, notice)

    def report(self, delivery: Delivery) -> None:
        """Tell senders whose share is due."""
        waiting = delivery.pumping or delivery.more_waiting
        now = asyncio.get_running_loop().time()
        for sender, count in delivery.rounds.due(now, more_waiting=waiting):
            self._report(sender, delivery.session.device, count)

    def _note_delivered(self, flight: Flight) -> None:
        letter = flight.letter
        delivered = PeerDelivered(
            device=letter.recipient,
            message=letter.id,
            sender=letter.sender,
            confirm=flight.confirm,
            redelivered=flight.redelivered,
        )
        self._observers.emit(delivered)

    # --- out of the mailbox -------------------------------------------------------------------------------------

    def _settled(self, batch: Sequence[tuple[Flight, bool]]) -> None:
        for flight, counts in batch:
            letter, delivery = flight.letter, flight.delivery
            if not flight.in_share or delivery is None:
                continue
            delivery.leave_share(flight, delivered=counts)
            if counts and letter.confirm:
                self._tell(letter.sender, "delivered", letter.recipient, reason=letter.id)
        for delivery in dict.fromkeys(flight.delivery for flight, _ in batch):
            self._look_after_reports(delivery)

    def _put_aside(self, flight: Flight, was_there: bool) -> None:
        letter, delivery = flight.letter, flight.delivery
        if was_there:
            self._lost(letter.sender, letter.recipient, "dropped", "attempts", 1)
        if delivery is not None:
            delivery.leave_share(flight, delivered=False)
            self._look_after_reports(delivery)
            if delivery.more_waiting:
                self._pump.start(delivery)

    def _look_after_reports(self, delivery: Delivery | None) -> None:
        if delivery is None:
            return
        if delivery.ended:
            self._report_all(delivery)
        else:
            delivery.wake_for_report()

    def _report_all(self, delivery: Delivery) -> None:
        for sender, count in delivery.rounds.take_all():
            self._report(sender, delivery.session.device, count)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_CHECK)
            self._senders.forget_departed(asyncio.get_running_loop().time())
            with suppress(MailboxFailed):  # the log says so; the letters are still there at the next look
                await self._take_expired()
                self.depth = await asked(self._mailbox.depth())

    async def _take_expired(self) -> None:
        """Take all that has expired; a sender is told at the end, of all at once."""
        counts: Counter[tuple[str, DeviceId]] = Counter()
        try:
            while True:
                notice = self._own.notice_of_expiry()
                letters = await asked(self._mailbox.take_expired(_EXPIRED_AT_ONCE, notice))
                for letter in letters:
                    self._expired(letter)
                    if letter.kind == "peer":
                        counts[letter.sender, letter.recipient] += 1
                if len(letters) < _EXPIRED_AT_ONCE:
                    break
                await asyncio.sleep(0)  # not every mailbox waits for something
        finally:
            for (sender, recipient), count in counts.items():
                self._lost(sender, recipient, "expired", "ttl", count)

    def _expired(self, letter: Letter) -> None:
        delivery = self._deliveries.get(letter.recipient)
        if self._settling.expired(letter) or delivery is None:
            return
        flight = delivery.get(wire_id_of(letter))
        if flight is not None and flight.key == (letter.sender, letter.id) and flight.keeping is Keeping.STORED:
            delivery.leave_share(flight, delivered=False)
            self._end(flight)

    # --- to the sender ------------------------------------------------------------------------------------------

    async def send_summary(self, device: DeviceId, summary: MeetingSummary) -> bool:
        """Send the summary of a meeting, at once if its device is there, ahead of all that waits for it.

        Returns:
            Whether it is safe: the device has it, or else the mailbox. If not, it is to be sent again. Cancelling the
            call does not take the summary back.
        """
        flight = Flight(self._own.summary(device, summary), None, Keeping.MEMORY)
        flight.outcome = asyncio.get_running_loop().create_future()
        self._in_memory += 1
        delivery = self._deliveries.get(device)
        if delivery is None:
            self._keep_or_fail([flight])
        else:
            delivery.send(flight)
        return await flight.outcome

    def _lost(self, sender: str, recipient: DeviceId, kind: str, reason: str, count: int) -> None:
        lost = PeerLost(device=recipient, sender=sender, kind=kind, reason=reason, count=count)
        self._observers.emit(lost)
        delivery = self._deliveries.get(DeviceId(sender))
        if delivery is not None:
            self._pump.start(delivery)  # the event is in the mailbox already

    def _report(self, sender: str, recipient: DeviceId, count: int) -> None:
        mailboxed = sender not in self._deliveries
        self._observers.emit(PeerRedelivered(device=recipient, sender=sender, count=count, mailboxed=mailboxed))
        self._tell(sender, "redelivered", recipient, count=count)

    def _tell(self, device: str, kind: str, about: DeviceId, *, count: int = 0, reason: str = "") -> None:
        """Tell a device something of the gateway's own, the same way as any message: live, else by the mailbox."""
        if device and not self._tasks.closed:
            letter = self._own.event(device, kind, about, count=count, reason=reason)
            self._keep_or_fail(self._send_live(letter, None))

    def _send_receipt_if_complete(self, receipt: Receipt) -> None:
        if receipt.complete:
            self._send_receipt(receipt)

    def _send_receipt(self, receipt: Receipt) -> None:
        """Send a receipt to the sender's present connection; one that has gone may repeat its message."""
        if not receipt.worth_remembering:
            self._remembered.forget(receipt)
        delivery = self._deliveries.get(receipt.sender)
        if delivery is not None:
            delivery.session.send_json(receipt.message(asyncio.get_running_loop().time()))


def _reach(config: PeerConfig) -> MayWrite:
    if config.reach == "group":
        return lambda sender, target: group_of(sender) == group_of(target)
    return lambda sender, target: True  # noqa: ARG005 - the rule "all" looks at nobody
