"""Tests of sending one message to many."""

from __future__ import annotations

import asyncio

from gateway.presence import broadcast as broadcast_module
from gateway.presence.broadcast import broadcast
from tests.fake_session import FakeSession
from tests.virtual_time import virtual_time


@virtual_time
async def test_those_who_want_it_get_it():
    """Each session that wants the message gets it once."""
    sessions = [FakeSession(f"dev-{n}") for n in range(5)]
    await broadcast({"n": 1}, sessions, lambda session: session.device != "dev-2")
    assert [session.messages for session in sessions] == [[{"n": 1}], [{"n": 1}], [], [{"n": 1}], [{"n": 1}]]


@virtual_time
async def test_the_loop_is_not_held(monkeypatch):
    """Others run between the turns of a broadcast, and who leaves meanwhile is asked no more."""
    monkeypatch.setattr(broadcast_module, "SESSIONS_PER_TURN", 2)
    sessions = [FakeSession(f"dev-{n}") for n in range(6)]
    present = dict.fromkeys(session.device for session in sessions)

    async def leave() -> None:
        del present["dev-3"]

    leaving = asyncio.ensure_future(leave())
    await broadcast({"n": 1}, sessions, lambda session: session.device in present)
    assert [len(session.messages) for session in sessions] == [1, 1, 1, 0, 1, 1]
    await leaving
