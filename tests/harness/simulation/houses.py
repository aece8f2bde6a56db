"""A gateway on a simulated host, as an operator would run it there."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.app import Gateway
from gateway.config import Config, ServerConfig
from gateway.observe.events import Event
from harness.fakes.device import FakeDevice
from harness.simulation.hosts import Host
from harness.simulation.profiles import ESP32
from tests.harness.simulation.stage import host, sim

URL = "ws://gw:8000/xiaozhi/v1/"
MAC = "02:00:00:00:00:01"


class House:
    """A host with a gateway on it, which keeps its mailbox on the host's disk.

    Attributes:
        host: where it runs.
        events: what the gateways that ran here have recorded, with the time.
    """

    def __init__(self, **settings: Any) -> None:
        self.host = host("gw")
        self.events: list[tuple[float, Event]] = []
        self._settings = settings

    async def boot(self) -> Gateway:
        """Start a gateway; returns when devices can connect."""
        self.host.boot()
        ready = sim().create_future()
        self.host.spawn(self._serve(ready), "gateway")
        gateway: Gateway = await ready
        return gateway

    async def _serve(self, ready: asyncio.Future[Gateway]) -> None:
        config = Config(server=ServerConfig(state_dir=str(self.host.disk.path)), **self._settings)
        network = self.host.listening(8000, 8003)
        async with Gateway(config, network=network, observers=[self._note]) as gateway:
            ready.set_result(gateway)
            await gateway.wait_stopped()

    def _note(self, event: Event) -> None:
        self.events.append((sim().time(), event))

    def of(self, kind: type[Event]) -> list[tuple[float, Any]]:
        """The records of one kind, with their times."""
        return [(at, event) for at, event in self.events if type(event) is kind]


async def device_on(where: Host | str, device_id: str = MAC, **manners: Any) -> FakeDevice:
    """Connect a device from a host of its own, by default an ESP32, and say hello."""
    home = host(where, ESP32) if isinstance(where, str) else where
    device = FakeDevice(URL, device_id, **manners)

    async def begin() -> None:
        await device.connect()
        await device.hello()

    await home.spawn(begin())
    return device
