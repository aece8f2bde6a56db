"""Defects of redelivery: whether mail arrives, and what its senders are told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from gateway.identity import DeviceId
from gateway.peer.courier import Courier
from gateway.peer.flight import Flight
from gateway.peer.mailbox import Letter, Stored
from gateway.peer.remembered import Remembered
from gateway.peer.rounds import Rounds
from gateway.peer.sqlite_mailbox import SqliteMailbox
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]


def _telling_unless(is_left_out: Callable[[Courier, str, str], bool]) -> Planted:
    """Leave out some of what senders are told."""
    original = Courier._tell

    def tell(self: Courier, device: str, kind: str, about: DeviceId, **what: Any) -> None:
        if not is_left_out(self, device, kind):
            original(self, device, kind, about, **what)

    return patch.object(Courier, "_tell", tell)


# --- the field's own: mail is sent again, and nobody knows how much of it arrived ---------------------------------


@defect(
    "Nobody tracks whose mail was redelivered: senders are never told.",
    found_by=(
        "test_redelivery.py::test_each_sender_is_told_once_how_much_was_delivered",
        "test_redelivery.py::test_only_what_was_acknowledged_is_counted",
        "test_redelivery.py::test_one_acknowledgement_may_name_several_letters",
        "test_redelivery.py::test_mail_for_a_device_without_acknowledgements_is_counted_too",
        "test_redelivery.py::test_the_receipt_waits_for_a_sender_that_is_not_there",
        "test_redelivery.py::test_receipts_that_wait_are_merged",
        "test_redelivery.py::test_a_message_that_was_on_its_way_when_the_link_was_lost_comes_again",
        "test_redelivery.py::test_a_message_that_is_acknowledged_after_its_receipt_is_reported",
        "test_redelivery.py::test_a_device_that_is_lost_in_the_middle_gets_the_rest_later",
        "test_redelivery.py::test_what_is_sent_into_the_void_is_not_counted",
        "test_redelivery.py::test_a_letter_is_repeated_until_it_is_acknowledged",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_redelivery.py::test_a_message_that_is_repeated_while_it_waits_comes_once",
        "test_redelivery.py::test_mail_survives_a_restart",
        "test_restart.py::test_mail_is_there_after_a_restart",
        "test_sending.py::test_every_message_is_one_json_text_frame[peer event]",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="not told|mail that was enqueued before a restart is lost|of the kind peer event was not sent",
    pain_point=9,
)
def redelivery_untracked() -> Planted:
    return _telling_unless(lambda _courier, _device, kind: kind == "redelivered")


@defect(
    "A sender's messages are counted when they are sent: what was tried is reported as what was delivered.",
    found_by=(
        "test_redelivery.py::test_only_what_was_acknowledged_is_counted",
        "test_redelivery.py::test_without_a_delivery_no_sender_is_told_of_one",
        "test_redelivery.py::test_receipts_that_wait_are_merged",
        "test_redelivery.py::test_a_device_that_is_lost_in_the_middle_gets_the_rest_later",
        "test_redelivery.py::test_what_is_sent_into_the_void_is_not_counted",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="counted|counts|added up|of a delivery that nobody acknowledged",
    pain_point=9,
    hole=True,
)
@contextmanager
def redelivery_counts_what_was_tried() -> Iterator[None]:
    began, ended = Rounds.began, Rounds.ended

    def count(self: Rounds, sender: str, now: float) -> None:
        began(self, sender, now)
        ended(self, sender, delivered=True)

    with patch.object(Rounds, "began", count), patch.object(Rounds, "ended", lambda *_, **__: None):
        yield


@defect(
    "Mail is popped out of the mailbox before it is sent: what is not delivered is lost.",
    found_by=(
        "test_redelivery.py::test_what_is_sent_now_does_not_overtake_what_waits",
        "test_redelivery.py::test_receipts_that_wait_are_merged",
        "test_redelivery.py::test_a_device_that_is_lost_in_the_middle_gets_the_rest_later",
        "test_redelivery.py::test_a_letter_is_given_up_after_its_attempts",
    ),
    message="lost|did not come again|does not hear",
    pain_point=9,
    hole=True,
)
def redelivery_pops_before_it_sends() -> Planted:
    original = SqliteMailbox.waiting

    async def waiting(self: SqliteMailbox, recipient: DeviceId, limit: int) -> list[Letter]:
        letters = await original(self, recipient, limit)
        await self.settle(recipient, [(letter.sender, letter.id) for letter in letters])
        return letters

    return patch.object(SqliteMailbox, "waiting", waiting)


@defect(
    "The receipt of redelivered mail is sent to its sender only if that is online.",
    found_by=(
        "test_redelivery.py::test_the_receipt_waits_for_a_sender_that_is_not_there",
        "test_redelivery.py::test_receipts_that_wait_are_merged",
    ),
    message="not told of its redelivered mail",
    pain_point=9,
    hole=True,
)
def redelivery_receipt_lost_while_the_sender_is_offline() -> Planted:
    return _telling_unless(lambda courier, device, kind: kind == "redelivered" and device not in courier._deliveries)


@defect(
    "Messages have no identity: a repeated one is another one.",
    found_by=(
        "test_redelivery.py::test_a_message_that_is_repeated_while_it_waits_comes_once",
        "test_redelivery.py::test_a_repeat_is_known_after_a_restart",
        "test_peer_messages.py::test_a_repeated_message_gets_its_first_receipt_and_is_delivered_once",
    ),
    message="repeated|repeat was taken for a new message",
    pain_point=9,
    hole=True,
)
@contextmanager
def redelivery_without_dedupe() -> Iterator[None]:
    original = SqliteMailbox.store
    seen: dict[tuple[str, str, str], int] = {}

    async def store(self: SqliteMailbox, letters: Sequence[Letter]) -> list[Stored]:
        kept = []
        for letter in letters:
            name = letter.recipient, letter.sender, letter.id
            seen[name] = seen.get(name, 0) + 1
            kept.append(letter if seen[name] == 1 else replace(letter, id=f"{letter.id} {seen[name]}"))
        return await original(self, kept)

    with patch.object(Remembered, "find", lambda *_: None), patch.object(SqliteMailbox, "store", store):
        yield


# --- what senders are told --------------------------------------------------------------------------------------


@defect(
    "A sender is told of each redelivered message by itself.",
    found_by=(
        "test_redelivery.py::test_each_sender_is_told_once_how_much_was_delivered",
        "test_restart.py::test_mail_is_there_after_a_restart",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="told something wrong|told another count|redelivered says 1",
)
def redelivery_told_one_by_one() -> Planted:
    original = Courier._tell

    def tell(self: Courier, device: str, kind: str, about: DeviceId, **what: Any) -> None:
        for count in [1] * what.get("count", 0) or [0]:
            original(self, device, kind, about, **{**what, "count": count})

    return patch.object(Courier, "_tell", tell)


@defect(
    "Every copy of a repeated letter counts as a delivery.",
    found_by=(
        "test_redelivery.py::test_only_what_was_acknowledged_is_counted",
        "test_redelivery.py::test_what_is_sent_into_the_void_is_not_counted",
        "test_redelivery.py::test_a_letter_is_repeated_until_it_is_acknowledged",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="counted|redelivered says",
)
def redelivery_counts_copies() -> Planted:
    original = Courier.confirmed

    def confirmed(self: Courier, flight: Flight) -> None:
        if flight.in_share and flight.delivery is not None:
            for _ in range(flight.attempts - 1):
                flight.delivery.rounds.began(flight.letter.sender, asyncio.get_running_loop().time())
                flight.delivery.rounds.ended(flight.letter.sender, delivered=True)
        original(self, flight)

    return patch.object(Courier, "confirmed", confirmed)


@defect(
    "Mail that only TCP confirms is not counted.",
    found_by=(
        "test_redelivery.py::test_mail_for_a_device_without_acknowledgements_is_counted_too",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="does not acknowledge was miscounted|sender was not told",
)
def redelivery_counts_only_acknowledgements() -> Planted:
    original = Courier.confirmed

    def confirmed(self: Courier, flight: Flight) -> None:
        if flight.confirm == "written" and flight.delivery is not None:
            flight.delivery.leave_share(flight, delivered=False)
        original(self, flight)

    return patch.object(Courier, "confirmed", confirmed)


@defect(
    "Of several receipts that wait for a sender, only the last one is kept.",
    found_by="test_redelivery.py::test_receipts_that_wait_are_merged",
    message="receipts that waited were not added up",
)
def redelivery_receipts_replace_each_other() -> Planted:
    original = SqliteMailbox.add_event

    async def add_event(self: SqliteMailbox, letter: Letter, *, sent: bool = False) -> None:
        for older in await self.waiting(letter.recipient, 100):
            if (older.kind, older.about) == (letter.kind, letter.about):
                await self.settle(letter.recipient, [(older.sender, older.id)])
        await original(self, letter, sent=sent)

    return patch.object(SqliteMailbox, "add_event", add_event)


@defect(
    "The delivery of a receipt that waited is reported like that of a message.",
    found_by="test_redelivery.py::test_the_receipt_waits_for_a_sender_that_is_not_there",
    message="the delivery of a receipt was itself reported",
)
def redelivery_reports_its_own_receipts() -> Planted:
    original = Courier.confirmed

    def confirmed(self: Courier, flight: Flight) -> None:
        letter = flight.letter
        if letter.kind == "redelivered" and flight.redelivered:
            self._tell(letter.about, "redelivered", letter.recipient, count=1)
        original(self, flight)

    return patch.object(Courier, "confirmed", confirmed)


@defect(
    "A sender that asked to hear of a delivery does not.",
    found_by="test_redelivery.py::test_a_sender_that_asked_hears_of_each_delivery",
    message="did not hear of the delivery",
)
def delivered_never_told() -> Planted:
    return _telling_unless(lambda _courier, _device, kind: kind == "delivered")
