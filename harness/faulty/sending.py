"""Defects of sending: several ways to do it, errors that nobody hears of, messages that no device can take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from gateway.device.channel import Channel
from gateway.device.connection import Connection
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.meeting.transcript import Transcript
from gateway.peer.delivery import Delivery
from gateway.peer.flight import Flight
from gateway.presence.broadcast import broadcast
from gateway.protocol.messages import ModeAnswer, encode
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

EVERY_KIND = "test_sending.py::test_every_message_is_one_json_text_frame"


@defect(
    "One place calls send_json of the socket, which has none: AttributeError, and no answer.",
    found_by=f"{EVERY_KIND}[mode]",
    message="a message of the kind mode was not sent",
    pain_point=1,
)
def send_json_of_the_socket() -> Planted:
    send = Channel.send_json

    def send_json(self: Channel, message: Any) -> Sent:
        if isinstance(message, ModeAnswer) and message.state == "end":
            socket: Any = self.connection
            socket.send_json(message)
        return send(self, message)

    return patch.object(Channel, "send_json", send_json)


@defect(
    "A message that could not be sent counts as sent: whoever sends looks at no result.",
    found_by="test_sending.py::test_a_message_to_a_device_that_is_being_closed_is_not_delivered",
    message="could not be sent to a device which was being closed counts as sent",
    pain_point=1,
    hole=True,
)
def failed_sends_count() -> Planted:
    send = Delivery.send

    def send_and_believe(self: Delivery, flight: Flight) -> None:
        send(self, flight)
        if not flight.sent:
            flight.confirm = "written"
            self._post.confirmed(flight)

    return patch.object(Delivery, "send", send_and_believe)


@defect(
    "Each place writes its JSON itself, and one of them writes what was written before: a text within a text.",
    found_by=(
        f"{EVERY_KIND}[stats]",
        "test_duplicate_connections.py::test_stats_count_a_device_once_in_the_middle_of_a_handover",
    ),
    message=r"a text frame of \d+ bytes, BAD_JSON",
    pain_point=7,
)
def json_is_written_twice() -> Planted:
    async def broadcast_text(message: Any, sessions: Iterable[Session], wants: Callable[[Session], bool]) -> None:
        await broadcast(encode(message).decode(), sessions, wants)

    return patch("gateway.presence.stats.broadcast", broadcast_text)


@defect(
    "The one way to send swallows every error: what is no JSON is sent, for all that its caller hears.",
    found_by="test_sending.py::test_what_is_no_json_is_not_counted_as_sent",
    message="what could not be sent counts as sent",
    pain_point=7,
    hole=True,
)
def send_errors_are_swallowed() -> Planted:
    send = Channel.send_json

    def send_json(self: Channel, message: Any) -> Sent:
        try:
            encode(message)
        except Exception:  # noqa: BLE001 - the defect
            return Sent.WRITTEN
        return send(self, message)

    return patch.object(Channel, "send_json", send_json)


@defect(
    "What was given to the socket counts as delivered, whether or not the device's TCP has taken it.",
    found_by=(
        "test_sending.py::test_redelivered_counts_what_has_arrived",
        "test_peer_messages.py::test_what_tcp_has_not_taken_is_kept_when_the_link_is_lost",
    ),
    message="mail counts as redelivered that a device has never read|called delivered to a device that did not read",
)
def written_counts_as_delivered() -> Planted:
    return patch.object(Connection, "unsent", lambda _: 0)


@defect(
    "A transcript is as long as what was said: the frame is longer than a device has memory for.",
    found_by="test_sending.py::test_no_message_is_longer_than_a_device_can_take",
    message=r"a message of \d+ bytes was sent, a device has room for 8192",
)
def messages_of_any_length() -> Planted:
    return patch.object(Transcript, "lines", lambda self: [snippet.line() for snippet in self.items])
