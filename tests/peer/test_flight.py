"""What devices get on the wire, byte for byte."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.identity import DeviceId
from gateway.peer.flight import Flight, Keeping, wire_id_of
from gateway.peer.mailbox import Letter
from gateway.protocol.messages import MeetingSummary, encode

A, B = DeviceId("aa"), DeviceId("bb")
MESSAGE = Letter(B, A, "m1", "peer", '{"text":"你好","n":[1,2.5,null]}'.encode(), 1_795_422_091.315, 2e9)
SUMMARY = MeetingSummary("title", 60, ["b"], ["d"], ["a"], ["r"], ["n"])


def event(kind, **fields):
    """Write an event to aa about bb."""
    return Letter(A, "", "e1", kind, b"", 1.0, 2.0, about=B, **fields)


def wire(letter, keeping=Keeping.MEMORY, *, acks=False):
    """Return what a device gets, as text."""
    return encode(Flight(letter, None, keeping).message(with_event_id=acks)).decode()


@pytest.mark.parametrize("acks", [False, True])
def test_a_message(acks):
    """A message has its sender, the payload as it came, its id and the time of its acceptance."""
    assert wire(MESSAGE, acks=acks) == (
        '{"type":"peer","from":"aa","payload":{"text":"你好","n":[1,2.5,null]},"id":"m1","ts":1795422091315}'
    )


def test_a_message_out_of_the_mailbox():
    """It says that it is redelivered; so does one that is being repeated."""
    stored = json.loads(wire(MESSAGE, Keeping.STORED))
    assert stored["redelivered"] is True
    flight = Flight(MESSAGE, None, Keeping.MEMORY)
    flight.redelivered = True
    assert json.loads(encode(flight.message(with_event_id=False))) == stored


@pytest.mark.parametrize(
    ("letter", "text"),
    [
        (event("redelivered", count=3), '{"type":"peer","event":"redelivered","to":"bb","count":3}'),
        (
            event("expired", count=2, reason="ttl"),
            '{"type":"peer","event":"expired","to":"bb","count":2,"reason":"ttl"}',
        ),
        (
            event("dropped", count=1, reason="attempts"),
            '{"type":"peer","event":"dropped","to":"bb","count":1,"reason":"attempts"}',
        ),
    ],
)
def test_events_in_the_seeds_shape(letter, text):
    """A device that does not acknowledge gets the seed fork's frames, and nothing more."""
    assert wire(letter) == text
    assert wire(letter, Keeping.STORED) == text


@pytest.mark.parametrize("kind", ["redelivered", "expired", "dropped"])
def test_events_for_devices_that_acknowledge(kind):
    """They get the event's id with it."""
    bare = json.loads(wire(event(kind, count=3, reason="why")))
    assert json.loads(wire(event(kind, count=3, reason="why"), acks=True)) == {**bare, "id": "e1"}


@pytest.mark.parametrize("acks", [False, True])
def test_delivered_has_the_id_of_the_message(acks):
    """A confirmed delivery names the message it is about, to everybody; that is its id on the wire."""
    letter = event("delivered", reason="m1")
    assert wire(letter, acks=acks) == '{"type":"peer","event":"delivered","to":"bb","id":"m1"}'
    assert Flight(letter, None, Keeping.MEMORY).wire_id == wire_id_of(letter) == "m1"
    assert Flight(letter, None, Keeping.MEMORY).key == ("", "e1")


def test_a_summary():
    """A summary is as the seed fork's; a device that acknowledges gets an id with it."""
    letter = Letter(A, "", "s1", "summary", encode(SUMMARY), 1.0, 2.0)
    assert wire(letter) == encode(SUMMARY).decode()
    assert json.loads(wire(letter, acks=True)) == {**json.loads(wire(letter)), "id": "s1"}


def test_a_flight_begins_unsent():
    """Nothing is known of a message before it is sent."""
    flight = Flight(MESSAGE, None, Keeping.MEMORY)
    assert (flight.sent, flight.attempts, flight.acks, flight.confirm, flight.in_share) == (False, 0, 0, "", False)
    assert flight.key == ("aa", "m1")
    assert flight.of_peer
    assert not Flight(event("redelivered"), None, Keeping.STORED).of_peer


def test_letters_are_values():
    """A letter is not changed by being sent."""
    before = msgspec.structs.astuple(MESSAGE)
    wire(MESSAGE, Keeping.STORED, acks=True)
    assert msgspec.structs.astuple(MESSAGE) == before
