"""A storm is even, ends with its time or with the connection, and says how much it was."""

from __future__ import annotations

import asyncio

import pytest

from gateway.app import Gateway
from gateway.config import Config, HeartbeatConfig, MailboxConfig
from gateway.observe.events import Event, PingLimited, PongSent
from harness.fakes.device import FakeDevice
from harness.fakes.storm import storm
from harness.simulation.loop import SimulatedLoop, run


@pytest.mark.parametrize("message", [{"type": "ping"}, b"12345678"], ids=["messages", "control pings"])
def test_for_its_time(message: dict[str, str] | bytes):
    """So many a second, for so long; all of them arrive."""

    async def main(loop: SimulatedLoop) -> None:
        seen: list[Event] = []
        config = Config(mailbox=MailboxConfig(path=":memory:"))
        network = loop.network.host("localhost").listening()
        async with (
            Gateway(config, network=network, observers=[seen.append]) as house,
            FakeDevice(house.websocket_url, "aa") as device,
        ):
            sent = await storm(device, message, per_second=100, seconds=2.0)
            assert 195 <= sent <= 200
            await asyncio.sleep(2.0)  # the last of them are read
            limited = sum(isinstance(event, PingLimited) for event in seen)
            pongs = sum(isinstance(event, PongSent) for event in seen)
            if isinstance(message, dict):
                assert limited + pongs == sent
            assert limited >= sent - 40

    run(main)


def test_until_it_is_closed():
    """The end of the connection ends the storm."""

    async def main(loop: SimulatedLoop) -> None:
        config = Config(mailbox=MailboxConfig(path=":memory:"), heartbeat=HeartbeatConfig(storm_close_after=1.0))
        network = loop.network.host("localhost").listening()
        async with Gateway(config, network=network) as house, FakeDevice(house.websocket_url, "aa") as device:
            began = loop.time()
            await storm(device, {"type": "ping"}, per_second=100, seconds=60.0)
            assert device.close_code == 4008
            assert loop.time() - began < 10

    run(main)
