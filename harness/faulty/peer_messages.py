"""Defects of peer messages: acknowledgements, receipts, and which requests are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from msgspec.structs import replace

from gateway.config import PeerConfig
from gateway.device.connection import Connection
from gateway.errors import BadMessage
from gateway.identity import DeviceId, device_id
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight
from gateway.peer.intake import Intake
from gateway.peer.receipt import Receipt
from gateway.peer.remembered import Remembered
from gateway.peer.requests import PeerRequest, read_ack, read_request
from gateway.peer.senders import Senders
from gateway.protocol import limits
from gateway.protocol.messages import Peer
from harness.faulty.twins import defect

if TYPE_CHECKING:
    from gateway.device.session import Session

Planted = AbstractContextManager[object]


def _reading_requests(read: Callable[[Peer, PeerConfig], PeerRequest]) -> Planted:
    return patch("gateway.peer.intake.read_request", read)


# --- acknowledgements -------------------------------------------------------------------------------------------


@defect(
    "Any device can acknowledge any message.",
    found_by=(
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_peer_messages.py::test_an_acknowledgement_of_another_device_delivers_nothing",
    ),
    message="acknowledgement of another device",
)
def acknowledgement_of_anybody() -> Planted:
    def on_ack(self: Intake, _session: Session, ids: Sequence[str]) -> None:
        for delivery in tuple(self._deliveries.values()):
            for wire_id in ids:
                delivery.acknowledge(wire_id)

    return patch.object(Intake, "_on_ack", on_ack)


@defect(
    "Of an acknowledgement that names several messages only the first is taken.",
    found_by="test_redelivery.py::test_one_acknowledgement_may_name_several_letters",
    message="not taken for all of them",
)
def acknowledgement_of_one_at_a_time() -> Planted:
    return patch("gateway.peer.intake.read_ack", lambda message: read_ack(message)[:1])


@defect(
    "An acknowledgement of an unknown id is answered with an error.",
    found_by="test_peer_messages.py::test_an_acknowledgement_of_nothing_is_ignored",
    message="acknowledgement of an unknown id was answered",
)
def acknowledgement_of_nothing_is_an_error() -> Planted:
    original = Intake._on_ack

    def on_ack(self: Intake, session: Session, ids: Sequence[str]) -> None:
        delivery = self._deliveries.get(session.device)
        if delivery is not None and not any(wire_id in delivery for wire_id in ids):
            raise BadMessage("INVALID_REQUEST", "expected the id of a message")
        original(self, session, ids)

    return patch.object(Intake, "_on_ack", on_ack)


@defect(
    "A device that acknowledges is believed to have what was written to its socket.",
    found_by=(
        "test_redelivery.py::test_no_more_is_in_flight_than_a_device_can_take",
        "test_redelivery.py::test_only_what_was_acknowledged_is_counted",
        "test_redelivery.py::test_without_a_delivery_no_sender_is_told_of_one",
        "test_redelivery.py::test_a_message_that_is_acknowledged_after_its_receipt_is_reported",
        "test_redelivery.py::test_what_is_sent_into_the_void_is_not_counted",
        "test_redelivery.py::test_a_letter_is_repeated_until_it_is_acknowledged",
        "test_redelivery.py::test_a_letter_is_given_up_after_its_attempts",
        "test_redelivery.py::test_a_foreign_acknowledgement_changes_nothing",
        "test_peer_messages.py::test_delivered_is_said_after_the_acknowledgement",
        "test_peer_messages.py::test_a_message_that_nobody_acknowledges_is_enqueued",
        "test_peer_messages.py::test_an_acknowledgement_of_another_device_delivers_nothing",
    ),
    message="acknowledge|out of reach|counted|in flight",
)
def acknowledgement_not_waited_for() -> Planted:
    return patch.object(Delivery, "acknowledges", property(lambda _: False))


@defect(
    "Whatever was handed to the transport counts as taken by the peer's TCP.",
    found_by=(
        "test_peer_messages.py::test_what_tcp_has_not_taken_is_kept_when_the_link_is_lost",
        "test_sending.py::test_redelivered_counts_what_has_arrived",
    ),
    message="a device that did not read|that a device has never read",
)
def written_means_handed_over() -> Planted:
    return patch.object(Connection, "unsent", lambda _: 0)


@defect(
    "A receipt does not say that only TCP has confirmed a delivery.",
    found_by="test_peer_messages.py::test_a_delivery_that_only_tcp_confirms_says_so",
    message="hides that no device acknowledged",
)
def receipt_hides_what_confirmed_it() -> Planted:
    original = Receipt.delivered
    return patch.object(Receipt, "delivered", lambda self, target, **_: original(self, target, acknowledged=True))


# --- receipts and requests --------------------------------------------------------------------------------------


@defect(
    "A sender's own id is left out of its receipt.",
    found_by=(
        "test_peer_messages.py::test_each_target_is_in_exactly_one_list",
        "test_peer_messages.py::test_the_sender_among_the_targets_fails",
    ),
    message="wrong list, in two, or in none|own id is not in failed",
)
def receipt_forgets_the_sender() -> Planted:
    original = Intake._targets

    def targets(self: Intake, sender: DeviceId, request: PeerRequest) -> dict[DeviceId, str]:
        found = original(self, sender, request)
        found.pop(sender, None)
        return found

    return patch.object(Intake, "_targets", targets)


@defect(
    "A receipt counts its time in seconds, with a fraction.",
    found_by="test_peer_messages.py::test_a_receipt_has_the_fields_of_the_protocol",
    message="the receipt lacks elapsedMs",
)
def receipt_in_seconds() -> Planted:
    original = Receipt.message

    def message(self: Receipt, now: float, **how: Any) -> Any:
        written: Any = original(self, now, **how)
        if hasattr(written, "elapsed_ms"):
            written.elapsed_ms /= 1000
        return written

    return patch.object(Receipt, "message", message)


@defect(
    "A message does not say in milliseconds when it was sent, but in words.",
    found_by="test_peer_messages.py::test_a_message_is_delivered_to_a_device_that_acknowledges",
    message="does not say when it was sent",
)
def letter_dated_in_words() -> Planted:
    original = Flight.message

    def message(self: Flight, *, with_event_id: bool) -> Any:
        written: Any = original(self, with_event_id=with_event_id)
        if self.of_peer:
            written.ts = f"{written.ts} ms"
        return written

    return patch.object(Flight, "message", message)


@defect(
    "Ids in a request are taken as they are written: in capitals they are another device.",
    found_by="test_peer_messages.py::test_a_target_that_is_named_twice_gets_the_message_once",
    message="named twice",
)
def request_takes_ids_as_written() -> Planted:
    def as_written(text: str) -> DeviceId:
        device_id(text)
        return DeviceId(text)

    return patch("gateway.peer.requests.device_id", as_written)


@defect(
    "A message may have any number of targets.",
    found_by="test_peer_messages.py::test_a_request_without_proper_targets_is_refused",
    message="was not refused",
)
def request_with_any_number_of_targets() -> Planted:
    return patch.object(limits, "PEER_TARGETS", 1_000_000)


@defect(
    "A message may have nine targets, not ten.",
    found_by="test_peer_messages.py::test_ten_targets_are_taken",
    message="was not answered with a receipt",
)
def request_with_nine_targets() -> Planted:
    return patch.object(limits, "PEER_TARGETS", 9)


@defect(
    "A payload may be of any kind.",
    found_by="test_peer_messages.py::test_a_payload_that_is_no_object_is_refused",
    message="was not refused",
)
def request_with_any_payload() -> Planted:
    def read(message: Peer, config: PeerConfig) -> PeerRequest:
        if type(message.payload) is not dict:
            message.payload = {"text": message.payload}
        return read_request(message, config)

    return _reading_requests(read)


@defect(
    "A payload may have any size.",
    found_by="test_peer_messages.py::test_a_payload_of_more_than_a_device_can_take_is_refused",
    message="over the limit was not refused",
)
def request_of_any_size() -> Planted:
    return _reading_requests(lambda message, config: read_request(message, replace(config, payload_bytes=1 << 20)))


@defect(
    "Messages are remembered by their ids alone: one of another sender with the same id is taken for a repeat.",
    found_by="test_peer_messages.py::test_the_same_id_of_another_sender_is_another_message",
    message="another sender's",
)
@contextmanager
def request_known_by_its_id_alone() -> Iterator[None]:
    original = Remembered.add
    known: dict[str, Receipt] = {}

    def add(self: Remembered, receipt: Receipt, name: str, now: float) -> None:
        known[name] = receipt
        original(self, receipt, name, now)

    def find(_self: Remembered, _sender: DeviceId, name: str, _now: float) -> Receipt | None:
        return known.get(name)

    with patch.object(Remembered, "add", add), patch.object(Remembered, "find", find):
        yield


@defect(
    "A device may send as many messages as it likes.",
    found_by="test_peer_messages.py::test_messages_over_the_rate_are_refused",
    message="messages were taken at once",
)
def request_at_any_rate() -> Planted:
    return patch.object(Senders, "take", lambda *_: None)


@defect(
    "A device may broadcast as often as it likes.",
    found_by="test_peer_messages.py::test_broadcasts_keep_their_distance",
    message="a second broadcast at once was taken",
)
def broadcast_at_any_rate() -> Planted:
    return patch.object(Senders, "take_broadcast", lambda *_: None)


@defect(
    "A broadcast reaches its sender, too.",
    found_by="test_peer_messages.py::test_a_broadcast_reaches_all_but_its_sender",
    message="the sender of a broadcast",
)
def broadcast_reaches_its_sender() -> Planted:
    original = Intake._targets

    def targets(self: Intake, sender: DeviceId, request: PeerRequest) -> dict[DeviceId, str]:
        found = original(self, sender, request)
        return {**found, sender: ""} if request.broadcast else found

    return patch.object(Intake, "_targets", targets)
