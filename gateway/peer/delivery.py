"""What is in flight to one present device: sending, acknowledgements, the kernel's word, retries.

Two ways to know that a device has a message. A device that acknowledges (hello ``features.peer_ack``) says so itself,
and is sent a peer message again until it does. For any other device, the gateway looks at the kernel: once the send
queue of the socket is empty, the device's TCP has taken all that was written; not before the device has said something,
as one that acknowledges would be taken for one that does not. What the gateway itself has to say
(events, summaries) may be acknowledged, too, but the kernel's word is enough: a sender that knows only how to
acknowledge messages must hear of its share once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from gateway.config import PeerConfig
from gateway.device.outbox import Sent
from gateway.observe.events import PeerRetried
from gateway.peer.acknowledgers import Acknowledgers
from gateway.peer.attempts import Attempts
from gateway.peer.flight import Flight, Keeping
from gateway.peer.rounds import Rounds
from gateway.protocol import limits

if TYPE_CHECKING:
    from gateway.device.session import Session

_LATE_ACK = 30.0  # seconds an acknowledgement of a further copy may take: several TCP retransmissions
_LATE_ACKS = 100  # wire ids for which one is expected; past it the oldest is forgotten
_REFUSED_WAIT = limits.WRITTEN_TIMEOUT  # for a confirmation of what the mailbox has refused: as long as for TCP's


class Post(Protocol):
    """What a delivery tells the courier; it may change the delivery's flights at once."""

    def confirmed(self, flight: Flight) -> None:
        """The device has the message, and ``flight.confirm`` says how that is known."""

    def unconfirmed_in_time(self, flights: list[Flight]) -> None:
        """The time for a live confirmation is over: keep these, in this order."""

    def given_up(self, flight: Flight) -> None:
        """The message was sent as often as is allowed, and is not in flight, or not any more."""

    def report(self, delivery: Delivery) -> None:
        """A share of redelivered mail may be due."""


class Delivery:
    """The flights of one session, in the order in which they were first sent.

    A wire id is in flight once at a time, so that an acknowledgement means one message: another sender's message with
    the same id waits in the mailbox until the first is confirmed. And as each copy of a message is acknowledged, those
    acknowledgements that are still owed for a message that is over are not taken for one of the next message.
    """

    def __init__(
        self,
        session: Session,
        config: PeerConfig,
        post: Post,
        everywhere: dict[str, int],
        attempts: Attempts,
        acknowledgers: Acknowledgers,
    ) -> None:
        self.session = session
        self.rounds = Rounds(config.redelivered_wait)
        self.pumping = False
        """Mail is being taken out of the mailbox."""
        self.pump_again = False
        self.more_waiting = False
        """The mailbox holds mail for this device that is not in flight."""
        self.storing: set[Flight] = set()
        """Messages on their way to the mailbox that have not been sent; nothing may overtake them."""
        self.ended = False
        self._config = config
        self._post = post
        self._everywhere = everywhere  # wire ids in flight to any device, to tell a foreign acknowledgement
        self._attempts = attempts
        self._acknowledgers = acknowledgers
        self._flights: dict[str, Flight] = {}
        self._held: list[Flight] = []
        self._owed: dict[str, tuple[int, float]] = {}  # wire id -> acknowledgements still to come, until when
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._flights)

    def __contains__(self, wire_id: str) -> bool:
        return wire_id in self._flights

    @property
    def room(self) -> int:
        """How many more messages may be in flight."""
        return self._config.in_flight - len(self._flights)

    @property
    def acknowledges(self) -> bool:
        """Whether the device acknowledges by itself: as it says, or, before it has said anything, as it said last."""
        unheard = not self.session.channel.introduced
        return self.session.offers("peer_ack") or (unheard and self.session.device in self._acknowledgers)

    def takes_live(self, wire_id: str) -> bool:
        """Whether a new message may be sent at once, ahead of nothing that was accepted earlier."""
        if self.pumping or self.more_waiting or self.storing or self.ended:
            return False
        return self.room > 0 and wire_id not in self._flights

    def get(self, wire_id: str) -> Flight | None:
        """Return the flight of that id, if there is one."""
        return self._flights.get(wire_id)

    def in_memory(self) -> list[Flight]:
        """The flights that are kept nowhere else, oldest first; without those that are held."""
        return [flight for flight in self._flights.values() if flight.keeping is Keeping.MEMORY]

    # --- held while the mailbox is asked ------------------------------------------------------------------------

    def hold(self, flight: Flight) -> bool:
        """Hold a new message while the mailbox is asked whether anything is before it; False if that is of no use.

        Without this a message to a device that has just connected would take the way through the mailbox.
        """
        if not self.pumping or self.more_waiting or self.ended or self.room <= len(self._held):
            return False
        self._held.append(flight)
        return True

    def release(self) -> list[Flight]:
        """Return what was held, oldest first."""
        held, self._held = self._held, []
        return held

    # --- sending ------------------------------------------------------------------------------------------------

    def send(self, flight: Flight) -> None:
        """Send a message and watch for its confirmation; one that was sent as often as is allowed is given up."""
        wire_id = flight.wire_id
        flight.delivery = self
        if flight.keeping is Keeping.STORED:
            flight.earlier = self._attempts.take(flight.letter)
            if self._is_spent(flight):
                self._post.given_up(flight)
                return
        self._flights[wire_id] = flight
        self._everywhere[wire_id] = self._everywhere.get(wire_id, 0) + 1
        if flight.keeping is Keeping.STORED:
            self._join_share(flight)
        acknowledges = self.acknowledges
        self._put(flight, acknowledges)
        self._wake_at(self._next_look(flight, acknowledges))

    def send_all_again(self) -> None:
        """The device has a newer channel: what it has not confirmed goes there, in order."""
        acknowledges = self.acknowledges
        for flight in self._unconfirmed():
            if self._is_spent(flight):
                self._give_up(flight)
                continue
            flight.redelivered = flight.redelivered or flight.attempts > 0
            self._put(flight, acknowledges)
        self._wake_for_flights()

    def remove(self, flight: Flight) -> None:
        """Forget a flight: it is confirmed, or is not this delivery's business any more."""
        wire_id = flight.wire_id
        if self._flights.get(wire_id) is not flight:
            return
        del self._flights[wire_id]
        left = self._everywhere[wire_id] - 1
        if left:
            self._everywhere[wire_id] = left
        else:
            del self._everywhere[wire_id]
        if flight.attempts > flight.acks and self.acknowledges:
            self._note_owed(flight)

    def end(self) -> list[Flight]:
        """The device is gone: stop, and return the flights that are kept nowhere else, oldest first."""
        self.ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        in_memory = self.in_memory() + self.release()
        for flight in tuple(self._flights.values()):
            self.remove(flight)
            if flight.of_peer and not flight.confirm:
                self._attempts.note(flight.letter, flight.earlier + flight.attempts)
        return in_memory

    def _put(self, flight: Flight, acknowledges: bool) -> None:
        flight.sent = self.session.send_json(flight.message(with_event_id=acknowledges)) is not Sent.FAILED
        flight.attempts += flight.sent
        flight.due = self._loop.time() + self._patience(flight, acknowledges)

    def _patience(self, flight: Flight, acknowledges: bool) -> float:
        if flight.keeping is Keeping.MEMORY:
            return self._config.live_ack if acknowledges and flight.of_peer else limits.WRITTEN_TIMEOUT
        wait = self._config.retry_first * 2.0 ** min(max(0, flight.attempts - 1), 30)  # far past any `retry_max`
        return min(wait, self._config.retry_max)

    # --- confirmation -------------------------------------------------------------------------------------------

    def acknowledge(self, wire_id: str) -> bool:
        """Take a device's acknowledgement; False when no such message is, or just was, in flight to it."""
        if wire_id in self._owed and self._is_owed(wire_id):
            return True
        flight = self._flights.get(wire_id)
        if flight is None:
            return False
        flight.acks += 1
        if not flight.confirm:
            flight.confirm = "ack"
            self._post.confirmed(flight)
        return True

    def stored(self, flight: Flight) -> None:
        """A message that was sent from memory is committed now: from here on it is repeated until acknowledged."""
        flight.due = self._loop.time() + self._patience(flight, self.acknowledges)
        self._join_share(flight)
        self._wake_for_flights()

    def refused(self, flight: Flight) -> bool:
        """The mailbox has refused a message: whether its device, which was sent it, has still time to confirm it."""
        now = self._loop.time()
        if flight.fails_at is None:
            flight.fails_at = now + _REFUSED_WAIT
        if self._flights.get(flight.wire_id) is not flight or now >= flight.fails_at:
            return False
        flight.keeping = Keeping.MEMORY
        flight.due = flight.fails_at
        self._wake_for_flights()
        return True

    def _unconfirmed(self) -> list[Flight]:
        return [flight for flight in self._flights.values() if not flight.confirm]

    def _note_owed(self, flight: Flight) -> None:
        count, _ = self._owed.pop(flight.wire_id, (0, 0.0))
        if len(self._owed) >= _LATE_ACKS:
            del self._owed[next(iter(self._owed))]
        self._owed[flight.wire_id] = (count + flight.attempts - flight.acks, self._loop.time() + _LATE_ACK)

    def _is_owed(self, wire_id: str) -> bool:
        count, until = self._owed.pop(wire_id)
        if self._loop.time() >= until:
            return False
        if count > 1:
            self._owed[wire_id] = (count - 1, until)
        return True

    # --- shares -------------------------------------------------------------------------------------------------

    def _join_share(self, flight: Flight) -> None:
        if flight.of_peer:
            flight.in_share = True
            self.rounds.began(flight.letter.sender, self._loop.time())

    def leave_share(self, flight: Flight, *, delivered: bool) -> None:
        """A message that is out of the mailbox was delivered, or its sender hears of its end in another way."""
        if flight.in_share:
            flight.in_share = False
            self.rounds.ended(flight.letter.sender, delivered=delivered)

    # --- the one timer ------------------------------------------------------------------------------------------

    def wake_for_report(self) -> None:
        """Look after the reports of redelivered mail: now if one is due, and when the next will be."""
        self._post.report(self)
        when = self.rounds.next_due()
        if when is not None:
            self._wake_at(when)

    def _wake_for_flights(self) -> None:
        acknowledges = self.acknowledges
        when = min((self._next_look(flight, acknowledges) for flight in self._unconfirmed()), default=None)
        if when is not None:
            self._wake_at(when)

    def _next_look(self, flight: Flight, acknowledges: bool) -> float:
        if acknowledges and flight.of_peer:
            return flight.due
        # past its time the kernel is asked less often: the peer may be out of reach for as long as TCP hopes
        now = self._loop.time()
        return min(now + limits.WRITTEN_CHECK, flight.due) if now < flight.due else now + limits.WRITTEN_TIMEOUT

    def _wake_at(self, when: float) -> None:
        if self.ended:
            return
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._check_written()
        self._keep_overdue(now)
        self._repeat(now)
        self._wake_for_flights()
        self.wake_for_report()

    def _check_written(self) -> None:
        acknowledges = self.acknowledges
        written = [flight for flight in self._unconfirmed() if flight.sent and not (acknowledges and flight.of_peer)]
        if not written or not self.session.is_introduced(self._loop.time()):
            return
        connection = self.session.channel.connection
        unsent = connection.unsent()
        if unsent is None:
            unsent = connection.queued  # no word from the kernel here: what left this process has to do
        if unsent == 0 and connection.is_open:
            for flight in written:
                flight.confirm = "written"
                self._post.confirmed(flight)

    def _keep_overdue(self, now: float) -> None:
        in_memory = self.in_memory()
        overdue = [number for number, flight in enumerate(in_memory) if flight.due <= now]
        if overdue:  # and all before it: their order must stay
            self._post.unconfirmed_in_time(in_memory[: overdue[-1] + 1])

    def _repeat(self, now: float) -> None:
        if not self.acknowledges:
            return
        for flight in self._unconfirmed():
            if flight.due > now or not flight.of_peer:
                continue
            if flight.keeping is not Keeping.STORED:
                flight.due = now + self._config.live_ack  # its commit is under way
            elif self._is_spent(flight):
                self._give_up(flight)
            else:
                flight.redelivered = True
                self._put(flight, acknowledges=True)
                self._note_retry(flight)

    def _is_spent(self, flight: Flight) -> bool:
        """Whether a message was sent as often as is allowed; the kernel's word comes for one sending."""
        if flight.keeping is not Keeping.STORED or not flight.of_peer or not self.acknowledges:
            return False
        return flight.earlier + flight.attempts >= self._config.attempts

    def _give_up(self, flight: Flight) -> None:
        self.remove(flight)
        self._post.given_up(flight)

    def _note_retry(self, flight: Flight) -> None:
        device, session = self.session.device, self.session.id
        retried = PeerRetried(device=device, session=session, message=flight.letter.id, attempt=flight.attempts)
        self.session.observers.emit(retried)
