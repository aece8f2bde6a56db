"""A proxy of one's own in front of a gateway, with faults in it."""

import pytest

from gateway.app import Gateway
from harness.fakes.device import FakeDevice
from harness.faults.proxy import TcpProxy
from harness.faults.tcp_ground import TcpGround
from harness.faults.vocabulary import Latency

KITCHEN = "02:00:00:00:00:01"


@pytest.mark.asyncio
async def test_proxy_in_front_of_a_gateway(config):
    """Whoever connects to the proxy is passed on; the ground learns from each request whose it is."""
    proxy, ground = TcpProxy(), TcpGround(wifi=False)
    await proxy.start("127.0.0.1")
    ground.adopt(proxy)
    ground.add_device("kitchen", device_id=KITCHEN)

    async with Gateway(config) as gateway:
        proxy.forward_to("127.0.0.1", gateway.network.port("websocket"))
        await ground.do(Latency(0.1, on="kitchen"))
        async with FakeDevice(f"ws://127.0.0.1:{proxy.port}/xiaozhi/v1/", KITCHEN) as device:
            await device.send({"type": "ping"})
            await device.expect("pong")

    await proxy.aclose()
