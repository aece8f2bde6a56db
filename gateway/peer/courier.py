"""Messages from device to device: accepted, delivered live or stored, redelivered, receipted.

What a sender is told is true: ``delivered`` after the target's acknowledgement (or, without that feature, when its TCP
has taken the message); ``enqueued`` after the commit. A message is in memory with a deadline, or in the mailbox, or
settled. Every message once ``enqueued`` ends in one ``redelivered``, ``expired`` or ``dropped`` event to its sender;
but what was acknowledged and is not reported yet (for three seconds, mostly) is counted in memory, so that a kill loses
the event, though not the message, which has arrived.

Here its parts are put together, and what they tell each other: `intake` takes requests, `dispatch` sends or keeps what
was accepted, `delivery` watches what is in flight to one device, `pump` sends what waits in the mailbox, `settling`
takes it out of there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress

from gateway.config import PeerConfig
from gateway.device.session import Session
from gateway.errors import MailboxFailed
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId
from gateway.observe.clock import WallClock
from gateway.observe.events import Observers, PeerDelivered, PeerLost, PeerRedelivered
from gateway.peer.acknowledgers import Acknowledgers
from gateway.peer.attempts import Attempts
from gateway.peer.delivery import Delivery
from gateway.peer.dispatch import Dispatch
from gateway.peer.flight import Flight, Keeping, wire_id_of
from gateway.peer.intake import Intake, MayWrite
from gateway.peer.mailbox import Depth, Letter, Mailbox, asked
from gateway.peer.own_letters import OwnLetters
from gateway.peer.pump import Pump
from gateway.peer.receipts import Receipts
from gateway.peer.settling import Settling, until_taken
from gateway.protocol.messages import MeetingSummary, Peer
from gateway.tasks import Tasks

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
        self._deliveries: dict[DeviceId, Delivery] = {}
        self._everywhere: dict[str, int] = {}
        self._attempts = Attempts()
        self._acknowledgers = Acknowledgers()
        self.depth = Depth(0, 0, 0.0)
        """How full the mailbox was at the last look, a second ago at most."""
        self._tasks = Tasks("courier")
        self._clerk = Tasks("courier's clerk")
        self._own = OwnLetters(wall_clock, config.ttl)
        self._receipts = Receipts(config, self._deliveries, observers)
        self._settling = Settling(config, mailbox, self._tasks, self._settled, self._put_aside)
        self._dispatch = Dispatch(
            config,
            mailbox,
            self._tasks,
            self._deliveries,
            self._receipts,
            self._settling,
            lambda delivery: self._pump.start(delivery),  # noqa: PLW0108 - the pump is made below
            observers,
        )
        self._pump = Pump(config, mailbox, self._tasks, self._settling, self._dispatch.keep_in_order)
        self._intake = Intake(
            config,
            self._tasks,
            self._deliveries,
            self._everywhere,
            self._dispatch,
            self._receipts,
            observers,
            wall_clock,
            may_write,
        )

    @property
    def in_memory(self) -> int:
        """Messages that are neither confirmed nor in the mailbox yet."""
        return self._dispatch.in_memory

    @property
    def unconfirmed(self) -> int:
        """Messages in flight to present devices."""
        return sum(map(len, self._deliveries.values()))

    def handlers(self) -> Iterable[Handler[Peer]]:
        """``peer``: requests and acknowledgements."""
        return (Handler(Peer, self._intake.on_peer),)

    async def start(self) -> None:
        """Learn which devices acknowledge, and begin to look for expired messages."""
        self._clerk.spawn(self._recall(), "which devices acknowledge")
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
        self._intake.senders.arrive(session.device)
        delivery = Delivery(session, self._config, self, self._everywhere, self._attempts, self._acknowledgers)
        self._deliveries[session.device] = delivery
        self._pump.start(delivery)

    def on_hello(self, session: Session) -> None:
        """Whether the device acknowledges is kept for its next connection, whose hello may never come."""
        device = session.device
        if self._acknowledgers.note(device, acknowledges=session.offers("peer_ack")) and not self._tasks.closed:
            self._tasks.spawn(self._note_acknowledger(device), "note acknowledger")

    async def _recall(self) -> None:
        """It takes less than the 2.5 s for which nobody is taken for a device that does not acknowledge."""
        self._acknowledgers.recall(await until_taken(self._mailbox.acknowledgers, self._config))

    async def _note_acknowledger(self, device: DeviceId) -> None:
        def note() -> Awaitable[None]:  # what it says by then, if it has to be tried again
            return self._mailbox.note_acknowledger(device, acknowledges=device in self._acknowledgers)

        await until_taken(note, self._config)

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
        self._intake.senders.depart(session.device, asyncio.get_running_loop().time())
        self._dispatch.keep(delivery.end())
        self._report_all(delivery)

    # --- what deliveries tell (`Post`) --------------------------------------------------------------------------

    def confirmed(self, flight: Flight) -> None:
        """A device has a message."""
        if flight.of_peer:
            self._note_delivered(flight)
        self._dispatch.confirmed(flight)

    def unconfirmed_in_time(self, flights: list[Flight]) -> None:
        """Messages were not confirmed in time: they go to the mailbox, and their senders hear ``enqueued``."""
        self._dispatch.keep(flights)

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
            self._intake.senders.forget_departed(asyncio.get_running_loop().time())
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
            self._dispatch.end(flight)

    # --- to the sender ------------------------------------------------------------------------------------------

    async def send_summary(self, device: DeviceId, summary: MeetingSummary) -> bool:
        """Send the summary of a meeting, at once if its device is there, ahead of all that waits for it.

        Returns:
            Whether it is safe: the device has it, or else the mailbox. If not, it is to be sent again. Cancelling the
            call does not take the summary back.
        """
        flight = Flight(self._own.summary(device, summary), None, Keeping.MEMORY)
        flight.outcome = asyncio.get_running_loop().create_future()
        self._dispatch.send_first(flight)
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
            self._dispatch.keep(self._dispatch.send_live(letter, None))
