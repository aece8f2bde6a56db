"""Devices as they are in the field: one vanishes, one storms, one has another's id."""

import pytest

from gateway.observe.events import HandoverEnded
from harness.fakes.storm import storm


@pytest.mark.asyncio
@pytest.mark.ws_needs("vanish", "events")
async def test_clone_of_a_device_that_has_vanished(ws_devices, ws_timeline):
    """The newer connection has the route at once; the older one is gone two seconds later, though nobody answers."""
    old = await ws_devices("old")
    old.vanish()

    new = await ws_devices("new", like=old)

    await new.send({"type": "ping"})
    await new.expect("pong")
    assert new.link.connections == 2
    ended = await ws_timeline.expect_event(HandoverEnded, timeout=3)
    assert ended.seconds <= 2.0
    assert new.link.connections == 1


@pytest.mark.asyncio
@pytest.mark.ws_gateway_config(heartbeat={"storm_close_after": 0.5})
async def test_storm_is_closed(ws_device):
    """A device that goes on storming is closed with 4008."""
    await storm(ws_device, {"type": "ping"}, per_second=1000, seconds=10)

    assert await ws_device.expect_close() == 4008
