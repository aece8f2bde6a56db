"""Defects of the mailbox: what is kept, for how long, and how it comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec import UNSET
from msgspec.structs import replace

from gateway.config import Config, PeerConfig
from gateway.identity import DeviceId
from gateway.observe.clock import WallClock
from gateway.peer.courier import Courier
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight
from gateway.peer.mailbox import Letter, Mailbox, Notice, Stored
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.peer.sqlite_mailbox import SqliteMailbox
from harness.faulty.twins import defect

if TYPE_CHECKING:
    from gateway.device.session import Session

Planted = AbstractContextManager[object]


# --- what is kept -----------------------------------------------------------------------------------------------


@defect(
    "A receipt says enqueued before the message is stored.",
    found_by=(
        "test_redelivery.py::test_a_full_mailbox_refuses_the_new_and_keeps_the_old",
        "test_redelivery.py::test_a_repeat_is_known_after_a_restart",
        "test_redelivery.py::test_what_is_called_enqueued_survives_a_kill",
    ),
    message="before it was on the disk|by a mailbox that is full|for a new message",
)
@contextmanager
def mail_acknowledged_before_its_commit() -> Iterator[None]:
    originals = {name: getattr(SqliteMailbox, name) for name in ("waiting", "settle", "take_expired", "close")}
    store = SqliteMailbox.store
    later: dict[SqliteMailbox, list[Letter]] = {}

    def after_what_waits(name: str) -> Callable[..., Any]:
        async def call(self: SqliteMailbox, *arguments: Any) -> Any:
            if letters := later.pop(self, []):
                await store(self, letters)
            return await originals[name](self, *arguments)

        return call

    async def store_later(self: SqliteMailbox, letters: Sequence[Letter]) -> list[Stored]:
        later.setdefault(self, []).extend(letters)
        return [Stored.STORED] * len(letters)

    calls: dict[str, Any] = {name: after_what_waits(name) for name in originals}
    with patch.multiple(SqliteMailbox, store=store_later, **calls):
        yield


@defect(
    "The mailbox is in memory: it is empty after a restart.",
    found_by=(
        "test_redelivery.py::test_mail_survives_a_restart",
        "test_redelivery.py::test_a_repeat_is_known_after_a_restart",
        "test_redelivery.py::test_what_is_called_enqueued_survives_a_kill",
        "test_drain.py::test_what_is_in_flight_is_in_the_mailbox_after_a_drain",
        "test_restart.py::test_mail_is_there_after_a_restart",
    ),
    message="did not survive a restart|for a new message|before it was on the disk|is lost",
)
def mail_kept_in_memory() -> Planted:
    def new_mailbox(config: Config, wall_clock: WallClock, _executor: object) -> Mailbox:
        return MemoryMailbox(
            per_device=config.mailbox.per_device,
            total=config.mailbox.total,
            dedupe=config.peer.dedupe,
            wall_clock=wall_clock,
        )

    return patch("gateway.app.new_mailbox", new_mailbox)


@defect(
    "A full mailbox drops its oldest message for the new one.",
    found_by="test_redelivery.py::test_a_full_mailbox_refuses_the_new_and_keeps_the_old",
    message="mailbox that is full|dropped what waited",
)
def mailbox_drops_the_oldest() -> Planted:
    original = SqliteMailbox.store

    async def store(self: SqliteMailbox, letters: Sequence[Letter]) -> list[Stored]:
        answers = await original(self, letters)
        for number, letter in enumerate(letters):
            if answers[number] is Stored.FULL:
                (oldest,) = await self.waiting(letter.recipient, 1)
                await self.settle(letter.recipient, [(oldest.sender, oldest.id)])
                (answers[number],) = await original(self, [letter])
        return answers

    return patch.object(SqliteMailbox, "store", store)


@defect(
    "A letter stays in the mailbox after it was acknowledged, and comes again.",
    found_by="test_redelivery.py::test_a_device_that_is_lost_in_the_middle_gets_the_rest_later",
    message="the wrong letters came|counted|receipts that waited",
)
@contextmanager
def mail_stays_when_acknowledged() -> Iterator[None]:
    waiting_in, on_online = SqliteMailbox.waiting, Courier.on_online
    acknowledged: dict[str, set[tuple[str, str]]] = {}  # in this session

    async def settle(_self: SqliteMailbox, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        acknowledged.setdefault(recipient, set()).update(letters)
        return len(letters)

    async def waiting(self: SqliteMailbox, recipient: DeviceId, limit: int) -> list[Letter]:
        known = acknowledged.get(recipient, set())
        letters = await waiting_in(self, recipient, limit + len(known))
        return [letter for letter in letters if (letter.sender, letter.id) not in known][:limit]

    def forget(self: Courier, session: Session) -> None:
        acknowledged.pop(session.device, None)
        on_online(self, session)

    with (
        patch.multiple(SqliteMailbox, settle=settle, waiting=waiting),
        patch.object(Courier, "on_online", forget),
    ):
        yield


@defect(
    "What was on its way in memory is forgotten when its link is lost.",
    found_by=(
        "test_redelivery.py::test_a_message_that_was_on_its_way_when_the_link_was_lost_comes_again",
        "test_peer_messages.py::test_what_tcp_has_not_taken_is_kept_when_the_link_is_lost",
        "test_drain.py::test_what_is_in_flight_is_in_the_mailbox_after_a_drain",
        "test_sending.py::test_a_message_to_a_device_that_is_being_closed_is_not_delivered",
    ),
    message="not answered|lost",
)
def mail_lost_with_its_link() -> Planted:
    original = Delivery.end

    def end(self: Delivery) -> list[Flight]:
        original(self)
        return []

    return patch.object(Delivery, "end", end)


@defect(
    "A message that nobody has acknowledged in time is taken for delivered.",
    found_by=(
        "test_redelivery.py::test_a_message_that_is_acknowledged_after_its_receipt_is_reported",
        "test_peer_messages.py::test_a_message_that_nobody_acknowledges_is_enqueued",
    ),
    message="nobody acknowledged|never heard|not answered|lost",
)
def mail_taken_for_delivered_in_silence() -> Planted:
    def unconfirmed_in_time(self: Courier, flights: list[Flight]) -> None:
        for flight in flights:
            flight.confirm = "ack"
            self.confirmed(flight)

    return patch.object(Courier, "unconfirmed_in_time", unconfirmed_in_time)


@defect(
    "The time that a sender gives its message is ignored: nothing expires before three days are over.",
    found_by="test_redelivery.py::test_senders_are_told_of_what_expired",
    message="expired",
)
def mail_outlives_its_time() -> Planted:
    return patch("gateway.peer.requests._read_ttl", lambda _ttl_ms, longest: longest)


@defect(
    "Messages expire and nobody is told.",
    found_by="test_redelivery.py::test_senders_are_told_of_what_expired",
    message="messages expired and .* was not told",
)
def mail_expires_silently() -> Planted:
    original = SqliteMailbox.take_expired

    async def take_expired(self: SqliteMailbox, limit: int, _notice: Notice | None = None) -> list[Letter]:
        return await original(self, limit, None)

    return patch.object(SqliteMailbox, "take_expired", take_expired)


# --- how it comes -----------------------------------------------------------------------------------------------


@defect(
    "What waits is sent in the opposite order.",
    found_by=(
        "test_redelivery.py::test_mail_comes_in_the_order_in_which_it_was_sent",
        "test_redelivery.py::test_what_is_sent_now_does_not_overtake_what_waits",
        "test_redelivery.py::test_a_device_that_is_lost_in_the_middle_gets_the_rest_later",
        "test_redelivery.py::test_a_message_that_is_repeated_while_it_waits_comes_once",
        "test_redelivery.py::test_a_full_mailbox_refuses_the_new_and_keeps_the_old",
        "test_redelivery.py::test_mail_survives_a_restart",
        "test_redelivery.py::test_a_repeat_is_known_after_a_restart",
        "test_restart.py::test_mail_is_there_after_a_restart",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="another order|overtook|the wrong letters|kept twice|for something new",
)
def mail_comes_in_reverse() -> Planted:
    original = SqliteMailbox.waiting

    async def waiting(self: SqliteMailbox, recipient: DeviceId, limit: int) -> list[Letter]:
        return (await original(self, recipient, limit))[::-1]

    return patch.object(SqliteMailbox, "waiting", waiting)


@defect(
    "A new message is sent at once, though earlier ones of its sender wait.",
    found_by="test_redelivery.py::test_what_is_sent_now_does_not_overtake_what_waits",
    message="overtook",
)
def mail_is_overtaken() -> Planted:
    def takes_live(self: Delivery, wire_id: str) -> bool:
        return not self.ended and wire_id not in self

    return patch.object(Delivery, "takes_live", takes_live)


@defect(
    "All that waits is in flight at once, however much a device can take.",
    found_by="test_redelivery.py::test_no_more_is_in_flight_than_a_device_can_take",
    message="unacknowledged letters were in flight",
)
def mail_in_flight_without_limit() -> Planted:
    return patch.object(Delivery, "room", property(lambda _: 1_000_000))


@defect(
    "A letter is sent once, whether or not it is acknowledged.",
    found_by=(
        "test_redelivery.py::test_a_letter_is_repeated_until_it_is_acknowledged",
        "test_redelivery.py::test_a_letter_is_given_up_after_its_attempts",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
    ),
    message="did not come again|not repeated|repeated for ever",
)
def mail_is_never_repeated() -> Planted:
    def repeat(self: Delivery, now: float) -> None:
        for flight in self._flights.values():
            if flight.due <= now:
                flight.due = now + 3600

    return patch.object(Delivery, "_repeat", repeat)


@defect(
    "A repeated letter has another id than the first copy.",
    found_by=(
        "test_redelivery.py::test_what_is_sent_into_the_void_is_not_counted",
        "test_redelivery.py::test_a_letter_is_repeated_until_it_is_acknowledged",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_duplicate_connections.py::test_a_stuck_connection_is_gone_in_bounded_time_and_loses_no_message[slowly]",
        "test_duplicate_connections.py::test_unacknowledged_messages_move_to_the_newer_connection",
    ),
    message="another id|counted|did not move to the newer",
)
def mail_is_repeated_under_another_id() -> Planted:
    original = Flight.message

    def message(self: Flight, *, with_event_id: bool) -> Any:
        written: Any = original(self, with_event_id=with_event_id)
        if self.of_peer and self.attempts:
            written.id = f"{written.id}-{self.attempts}"
        return written

    return patch.object(Flight, "message", message)


@defect(
    "A letter that nobody acknowledges is repeated for ever.",
    found_by="test_redelivery.py::test_a_letter_is_given_up_after_its_attempts",
    message="repeated for ever",
)
def mail_is_repeated_for_ever() -> Planted:
    original = Delivery.__init__

    def init(self: Delivery, session: Session, config: PeerConfig, *others: Any) -> None:
        original(self, session, replace(config, attempts=1_000_000), *others)

    return patch.object(Delivery, "__init__", init)


@defect(
    "A letter is given up after its attempts, and its sender is not told.",
    found_by="test_redelivery.py::test_a_letter_is_given_up_after_its_attempts",
    message="does not hear of its end",
)
def mail_is_dropped_silently() -> Planted:
    original = SqliteMailbox.set_aside

    async def set_aside(
        self: SqliteMailbox, recipient: DeviceId, sender: str, name: str, _notice: Letter | None = None
    ) -> bool:
        return await original(self, recipient, sender, name, None)

    return patch.object(SqliteMailbox, "set_aside", set_aside)


@defect(
    "A message that waited does not say that it was redelivered.",
    found_by=(
        "test_redelivery.py::test_mail_says_that_it_was_redelivered",
        "test_restart.py::test_mail_is_there_after_a_restart",
    ),
    message="does not say that it was redelivered|enqueued before a restart is lost",
)
def mail_without_its_mark() -> Planted:
    original = Flight.message

    def message(self: Flight, *, with_event_id: bool) -> Any:
        written: Any = original(self, with_event_id=with_event_id)
        if self.of_peer:
            written.redelivered = UNSET
        return written

    return patch.object(Flight, "message", message)
