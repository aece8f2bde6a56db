"""Tests of the snapshot mechanism, whatever its kind."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import BadMessage
from gateway.meeting.snapshot import Snapshots, requested_delay_ms
from gateway.observe.events import SnapshotCancelled, SnapshotSent
from tests.fake_session import FakeSession, Records
from tests.virtual_time import timers, virtual_time


@pytest.mark.parametrize("value", ["5", True, False, [], {}])
def test_delay_that_is_no_number(value):
    """A requested delay that is not a number, a boolean included, is refused."""
    with pytest.raises(BadMessage) as caught:
        requested_delay_ms(value)
    assert caught.value.code == "SCHEMA_INVALID"


@pytest.mark.parametrize(("value", "expected"), [(None, 0), (5, 5), (0.5, 0.5), (-1, -1), (10**30, 10**30)])
def test_delay_that_is_a_number(value, expected):
    """Any number is a delay, and none is none."""
    assert requested_delay_ms(value) == expected


@pytest.mark.parametrize(("delay_ms", "seconds"), [(1, 0.001), (1500, 1.5), (60_000, 60), (60_001, 60), (10**30, 60)])
def test_delay_in_test_mode(delay_ms, seconds):
    """In test mode a delay is honoured, up to a minute."""

    @virtual_time
    async def check():
        session = FakeSession()
        Snapshots(test_mode=True).request(session, "tasks", delay_ms, lambda: {"n": 1})
        assert session.sent == []
        await asyncio.sleep(100)
        assert session.sent == [(pytest.approx(seconds), {"n": 1})]

    check()


@pytest.mark.parametrize(("test_mode", "delay_ms"), [(False, 5000), (True, 0), (True, -5)])
def test_at_once(test_mode, delay_ms):
    """Without test mode, or without a delay above 0, a request is answered before it returns."""

    @virtual_time
    async def check():
        session = FakeSession()
        Snapshots(test_mode=test_mode).request(session, "tasks", delay_ms, lambda: {"n": 1})
        assert session.messages == [{"n": 1}]
        assert timers() == []

    check()


@virtual_time
async def test_on_register_comes_after_this_turn():
    """The snapshot on register lets what is being sent in this turn go first, then comes without a delay."""
    session = FakeSession()
    Snapshots(test_mode=False).on_register(session, "tasks", 5000, lambda: {"n": 1})
    session.send_json({"type": "hello"})
    await asyncio.sleep(0.001)
    assert session.messages == [{"type": "hello"}, {"n": 1}]


@virtual_time
async def test_newer_request_replaces_the_pending_one():
    """Of two requests of one kind only the newer is answered; the other kind is left alone."""
    records = Records()
    session = FakeSession(records=records)
    snapshots = Snapshots(test_mode=True)
    snapshots.request(session, "tasks", 1000, lambda: {"n": 1})
    snapshots.request(session, "transcript", 1000, lambda: {"n": 2})
    snapshots.request(session, "tasks", 3000, lambda: {"n": 3})
    assert len(snapshots) == 2
    await asyncio.sleep(5)
    assert session.sent == [(pytest.approx(1), {"n": 2}), (pytest.approx(3), {"n": 3})]
    assert [(event.kind, event.why) for event in records.of(SnapshotCancelled)] == [("tasks", "newer request")]
    assert [(event.kind, event.delay_ms) for event in records.of(SnapshotSent)] == [
        ("transcript", 1000),
        ("tasks", 3000),
    ]
    assert len(snapshots) == 0


@virtual_time
async def test_immediate_request_replaces_the_pending_one():
    """An immediate request answers the pending one too."""
    session = FakeSession()
    snapshots = Snapshots(test_mode=True)
    snapshots.request(session, "tasks", 1000, lambda: {"n": 1})
    snapshots.request(session, "tasks", 0, lambda: {"n": 2})
    await asyncio.sleep(5)
    assert session.messages == [{"n": 2}]


@virtual_time
async def test_sessions_do_not_share():
    """Snapshots of different sessions, of the same device even, are independent."""
    records = Records()
    one, two = FakeSession(records=records), FakeSession(records=records)
    snapshots = Snapshots(test_mode=True)
    snapshots.request(one, "tasks", 1000, lambda: {"n": 1})
    snapshots.request(two, "tasks", 1000, lambda: {"n": 2})
    snapshots.cancel(one, "tasks", "offline")
    snapshots.cancel(one, "transcript", "offline")
    await asyncio.sleep(2)
    assert one.messages == []
    assert two.messages == [{"n": 2}]
    assert len(records.of(SnapshotCancelled)) == 1


@virtual_time
async def test_nothing_to_send_and_nobody_to_send_to():
    """Nothing is sent where there is nothing, and a snapshot that could not be sent is not recorded as sent."""
    records = Records()
    session = FakeSession(records=records)
    snapshots = Snapshots(test_mode=True)
    snapshots.request(session, "tasks", 0, lambda: None)
    session.broken = True
    snapshots.request(session, "tasks", 0, lambda: {"n": 1})
    assert session.messages == []
    assert records.of(SnapshotSent) == []
