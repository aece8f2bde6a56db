"""Moments: what a step of a schedule can wait for, by name."""

from __future__ import annotations

import pytest
from websockets.frames import Opcode

from gateway.observe.events import HandoverBegan, PeerAccepted
from gateway.peer.mailbox import Mailbox
from harness.faults import moments
from harness.faults.vocabulary import Cut, KillGateway
from harness.records import FramePassed, Happened


def test_events():
    """A record of the gateway is a moment of its kind, and of its device."""
    assert moments.of_event(HandoverBegan(told=True), "kitchen") == [
        "event:HandoverBegan",
        "event:HandoverBegan kitchen",
    ]
    assert moments.of_event(PeerAccepted(message="m", targets=1)) == ["event:PeerAccepted"]


@pytest.mark.parametrize(
    ("sent", "opcode", "payload", "names"),
    [
        (True, Opcode.TEXT, b'{"type":"peer"}', ["sent:peer", "sent:peer kitchen"]),
        (False, Opcode.TEXT, b'{"type":"pong"}', ["received:pong", "received:pong kitchen"]),
        (True, Opcode.TEXT, b"no JSON", []),
        (True, Opcode.TEXT, b"[1]", []),
        (True, Opcode.TEXT, b'{"no":"type"}', []),
        (True, Opcode.BINARY, b'{"type":"peer"}', []),
        (False, Opcode.CLOSE, b"\x03\xe8", []),
    ],
)
def test_frames(sent: bool, opcode: Opcode, payload: bytes, names: list[str]):
    """A JSON message of a device is a moment; other frames, and what is no message, are none."""
    assert moments.of_frame(FramePassed(0.0, "kitchen", sent, opcode, payload)) == names


def test_what_happens_to_a_device():
    """What is no frame is no moment."""
    assert moments.of_frame(Happened(0.0, "kitchen", "connects")) == []


def test_mailbox():
    """Calls that write are moments, and there are such calls."""
    assert moments.of_mailbox("store") == ["mailbox:store"]
    assert moments.of_mailbox("waiting") == []
    assert all(callable(getattr(Mailbox, call)) for call in moments.MAILBOX_WRITES)


def test_faults():
    """A fault is a moment of its kind, and of whom it is on."""
    assert moments.of_fault(KillGateway()) == ["fault:kill_gateway"]
    assert moments.of_fault(Cut(on="a")) == ["fault:cut", "fault:cut a"]
