"""Tests of modes."""

from __future__ import annotations

import msgspec
import pytest

from gateway.device.modes import Modes
from gateway.observe.events import ModeChanged
from tests.fake_session import FakeSession, Records, say
from tests.virtual_time import virtual_time


@virtual_time
async def test_start_and_end():
    """A mode is entered and left; each step is answered ok and recorded."""
    records = Records()
    session, modes = FakeSession(records=records), Modes()
    say(modes, session, "mode", state="start", mode="coding")
    assert session.mode == "coding"
    say(modes, session, "mode", state="end", mode="coding")
    assert session.mode is None
    assert session.messages == [
        {"type": "mode", "state": "start", "mode": "coding", "status": "ok"},
        {"type": "mode", "state": "end", "mode": "coding", "status": "ok"},
    ]
    assert [(event.state, event.mode) for event in records.of(ModeChanged)] == [("start", "coding"), ("end", "coding")]


@virtual_time
async def test_idempotent():
    """Starting twice, ending twice, or ending another mode is answered ok and changes nothing."""
    records = Records()
    session, modes = FakeSession(records=records), Modes()
    for state, mode in (("end", "meeting"), ("start", "meeting"), ("start", "meeting"), ("end", "working")):
        say(modes, session, "mode", state=state, mode=mode)
    assert session.mode == "meeting"
    assert [message["status"] for message in session.messages] == ["ok"] * 4
    assert len(records.of(ModeChanged)) == 1


@virtual_time
async def test_one_mode_at_a_time():
    """Starting another mode leaves the present one."""
    records = Records()
    session, modes = FakeSession(records=records), Modes()
    say(modes, session, "mode", state="start", mode="meeting")
    say(modes, session, "mode", state="start", mode="coding")
    assert session.mode == "coding"
    assert [(event.state, event.mode) for event in records.of(ModeChanged)] == [
        ("start", "meeting"),
        ("end", "meeting"),
        ("start", "coding"),
    ]


@virtual_time
async def test_starts_are_told():
    """Whoever asked to be told hears of every start, repeated ones included, and of no end."""
    told = []
    modes = Modes(lambda session, mode: told.append((session.device, mode)))
    session = FakeSession()
    for state in ("start", "start", "end"):
        say(modes, session, "mode", state=state, mode="meeting")
    assert told == [("dev-0001", "meeting")] * 2


@pytest.mark.parametrize(
    "fields", [{}, {"state": "start"}, {"state": "on", "mode": "coding"}, {"state": "start", "mode": 1}]
)
def test_bad_messages_do_not_get_here(fields):
    """States and modes that do not exist do not fit the message."""
    with pytest.raises(msgspec.ValidationError):
        say(Modes(), FakeSession(), "mode", **fields)
