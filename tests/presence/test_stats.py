"""Tests of the stats broadcast."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from gateway.config import StatsConfig
from gateway.identity import DeviceId
from gateway.presence import broadcast as broadcast_module
from gateway.presence.stats import Stats, listed
from gateway.protocol.limits import DOWNLINK_BYTES
from gateway.protocol.messages import Stats as StatsMessage
from gateway.protocol.messages import encode
from tests.fake_session import FakeChannel, FakeSession
from tests.virtual_time import EPOCH, timers, virtual_time, wall


@contextlib.asynccontextmanager
async def running(**config: object) -> AsyncIterator[Stats]:
    """Run stats from five seconds before."""
    stats = Stats(StatsConfig(**config), wall)
    await stats.start()
    await asyncio.sleep(5)
    yield stats
    await stats.stop()


def times(session: FakeSession) -> list[float]:
    """Return when a session was sent something."""
    return [pytest.approx(time) for time, _ in session.sent]


@virtual_time
async def test_payload():
    """The payload is the seed's: count and ids in order of arrival, stamped in milliseconds."""
    async with running(audience="all") as stats:
        sessions = [FakeSession(f"dev-{n}") for n in (2, 1)]
        for session in sessions:
            stats.on_online(session)
        await asyncio.sleep(0.1)
        expected = {"type": "server", "event": "stats", "ts": int((EPOCH + 5) * 1000), "deviceCount": 2}
        assert [session.messages for session in sessions] == [[{**expected, "online": ["dev-2", "dev-1"]}]] * 2


@virtual_time
async def test_every_ten_seconds_and_on_changes():
    """Stats come every ten seconds, and at once when a device comes or goes."""
    async with running(audience="all") as stats:
        session, other = FakeSession("dev-1"), FakeSession("dev-2")
        stats.on_online(session)
        await asyncio.sleep(25)
        stats.on_online(other)
        await asyncio.sleep(2)
        stats.on_offline(other)
        await asyncio.sleep(1)
        assert times(session) == [5, 15, 25, 30, 32]
        assert [message["deviceCount"] for message in session.messages] == [1, 1, 1, 2, 1]
        assert len(other.messages) == 1


@virtual_time
async def test_changes_are_gathered():
    """Whatever comes and goes, there is one broadcast a second at most, and the last one has the last state."""
    async with running(audience="all") as stats:
        watcher = FakeSession("watcher")
        stats.on_online(watcher)
        for n in range(50):
            await asyncio.sleep(0.1)
            stats.on_online(FakeSession(f"dev-{n}"))
        await asyncio.sleep(1.5)
        gaps = [later - earlier for (earlier, _), (later, _) in zip(watcher.sent, watcher.sent[1:], strict=False)]
        assert min(gaps) >= 0.999
        assert 6 <= len(watcher.sent) <= 8
        assert watcher.messages[-1]["deviceCount"] == 51


@virtual_time
async def test_handover_counts_once():
    """A replaced connection does not change the count, nor is it told as a change."""
    async with running(audience="all") as stats:
        session = FakeSession()
        stats.on_online(session)
        await asyncio.sleep(2)
        stats.on_replaced(session)
        await asyncio.sleep(2)
        assert [message["deviceCount"] for message in session.messages] == [1]


@pytest.mark.parametrize("path", ["/supie/v1/", "/supie/v1"])
def test_audience_asked(path: str):
    """By default those are told whose hello asks for it, and those on the seed fork's path, as it may be configured."""

    @virtual_time
    async def asked() -> None:
        async with running() as stats:
            asking, fork, stock = FakeSession("asking", stats=True), FakeSession("fork"), FakeSession("stock")
            fork.channel = FakeChannel()
            fork.channel.path = path
            for session in (asking, fork, stock):
                stats.on_online(session)
            await asyncio.sleep(0.1)
            assert [len(session.messages) for session in (asking, fork, stock)] == [1, 1, 0]
            assert asking.messages[0]["deviceCount"] == 3

    asked()


@virtual_time
async def test_hello_that_comes_late():
    """A device that asks only after it came online does not wait for the next round."""
    async with running() as stats:
        session = FakeSession()
        stats.on_online(session)
        await asyncio.sleep(3)
        stats.on_hello(session)
        session.features["stats"] = True
        await asyncio.sleep(1)
        assert session.messages == []
        stats.on_hello(session)
        await asyncio.sleep(0.1)
        assert len(session.messages) == 1


@virtual_time
async def test_gone_before_its_turn(monkeypatch):
    """A device that goes while others are being told is told no more."""
    monkeypatch.setattr(broadcast_module, "SESSIONS_PER_TURN", 1)
    async with running(audience="all") as stats:
        sessions = [FakeSession(f"dev-{n}") for n in range(3)]
        for session in sessions:
            stats.on_online(session)
        while not sessions[0].sent:  # noqa: ASYNC110 - the test must act between two turns of the loop
            await asyncio.sleep(0)
        stats.on_offline(sessions[2])
        await asyncio.sleep(0.5)
        assert [len(session.sent) for session in sessions] == [1, 1, 0]


@virtual_time
async def test_audience_off():
    """With stats off nothing is sent, and nothing runs."""
    async with running(audience="off") as stats:
        session = FakeSession(stats=True)
        stats.on_online(session)
        await asyncio.sleep(30)
        assert session.messages == []
        assert timers() == []


@virtual_time
async def test_short_interval():
    """An interval under a second is kept, as it is."""
    async with running(audience="all", every=0.25) as stats:
        session = FakeSession()
        stats.on_online(session)
        await asyncio.sleep(2.1)
        assert 8 <= len(session.messages) <= 9


@virtual_time
async def test_stop():
    """After the stop no timer and no task is left."""
    async with running(audience="all") as stats:
        stats.on_online(FakeSession())
    assert timers() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("device", ["aa:bb:cc:dd:ee:ff", "设" * 64, '"' * 64, "x"])
def test_list_fits_a_frame(device):
    """Of many devices the first are listed, as many as fit a frame, and the next would not."""
    devices = [DeviceId(device)] * 12_000
    online = listed(devices)
    assert len(encode(StatsMessage(1_700_000_000_000, 12_000, online))) <= DOWNLINK_BYTES
    assert len(encode(StatsMessage(1_700_000_000_000, 12_000, [*online, device]))) > DOWNLINK_BYTES - 128
