"""A gateway on a simulated machine: its deaths, and what is left of it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.config import Config, PeerConfig
from gateway.observe.events import DeviceOnline, GatewayStopped
from harness.fakes.device import FakeDevice
from harness.faults.errors import Died
from harness.faults.hosted_gateway import HostedGateway
from tests.harness.simulation.stage import host, sim, simulated

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"


def gateway(**options: object) -> HostedGateway:
    """One that is not started yet."""
    return HostedGateway(Config(), host("gw"), **options)


async def online(gw: HostedGateway, device_id: str = A) -> FakeDevice:
    """A device that is online."""
    device = FakeDevice(gw.url, device_id)
    await device.go_online()
    return device


@simulated
async def test_kill_and_start():
    """Killed, it is gone without a word; started again, it has its ports, and the mail that it had taken."""
    events: list[object] = []
    gw = gateway(observers=[events.append])
    await gw.start()
    url = gw.url
    device = await online(gw)
    await device.send({"type": "peer", "to": B, "payload": {"text": "dinner"}, "id": "m-1"})
    assert (await device.expect("peer"))["enqueued"] == [B]
    assert gw.link(A).present

    await gw.kill()

    assert not gw.is_running
    assert not gw.link(A).present
    assert gw.link(A).connections == 0
    assert await device.expect_close() == 1006
    assert not [event for event in events if isinstance(event, GatewayStopped)]
    await gw.start()
    assert gw.url == url
    other = await online(gw, B)
    assert (await other.expect("peer"))["id"] == "m-1"
    assert len([event for event in events if isinstance(event, DeviceOnline)]) == 2
    await gw.stop()


@simulated
async def test_power_cut():
    """Without power it is silent; what comes for the next one on its old connections is answered with RST."""
    gw = gateway()
    await gw.start()
    device = await online(gw)
    await gw.power_cut()
    await asyncio.sleep(20)
    assert not device.closed.is_set()
    assert not gw.is_running

    await gw.start()
    await device.send({"type": "ping"})
    assert await device.expect_close() == 1006
    await device.go_online()
    await gw.stop()


@simulated
async def test_life_is_as_of_any_gateway():
    """It is stopped, drained and restarted like another one, and keeps its settings."""
    gw = HostedGateway(Config(peer=PeerConfig(queue=False)), host("gw"), listens={"ws_port": 8000})
    await gw.start()
    assert gw.url.startswith(f"ws://{host('gw').address}:8000/")
    device = await online(gw)
    await gw.restart()
    assert await device.expect_close() in (1001, 1012)
    assert gw.config.peer.queue is False
    await device.go_online()
    await gw.drain()
    assert not gw.is_running
    await gw.stop()
    await gw.kill()


@pytest.mark.parametrize("what", ["start", "stop"])
def test_killed_in_the_middle(what: str):
    """Who waits for its start, or its stop, is told that it has died, and does not wait for ever."""

    @simulated
    async def scenario() -> None:
        gw = gateway()
        if what == "stop":
            await gw.start()
            await online(gw)
        waits = sim().create_task(getattr(gw, what)())
        await asyncio.sleep(0.0001)
        await gw.kill()
        with pytest.raises(Died):
            await waits
        assert not gw.is_running
        await gw.start()
        await gw.stop()

    scenario()


@simulated
async def test_cancelled_start():
    """A start that is given up ends on its host, too."""
    gw = gateway()
    waits = sim().create_task(gw.start())
    await asyncio.sleep(0.0001)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    await asyncio.sleep(1)
    assert not gw.is_running
    assert asyncio.all_tasks() == {asyncio.current_task()}
