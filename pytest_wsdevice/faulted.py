"""``ws_faults``: the faults between the devices of one test and its gateways, on the network that the test runs on."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config import Config
from gateway.identity import device_id
from gateway.observe.events import Event
from harness.fakes.device import FakeDevice
from harness.fakes.link import Dial
from harness.faults.faults import Faults
from harness.faults.hosted_gateway import HostedGateway
from harness.faults.joined_grounds import JoinedGrounds, RemoteGround
from harness.faults.moments import of_event, of_frame
from harness.faults.simulated_ground import SimulatedGround
from harness.faults.tcp_ground import TcpGround
from harness.gateways import OwnGateway
from harness.records import FramePassed, Happened
from harness.simulation.loop import SimulatedLoop
from harness.timeline import Timeline

if TYPE_CHECKING:
    from harness.bench.front import Front
    from harness.board.device import BoardDevice


class StageFaults:
    """The ground of one test, in the running loop.

    On a simulated network each gateway and each device has a host of its own; elsewhere devices connect through
    proxies.

    Attributes:
        faults: what the test is given.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._names: dict[str, str] = {}
        loop = asyncio.get_running_loop()
        self._simulated = SimulatedGround(loop) if isinstance(loop, SimulatedLoop) else None
        self._ground = self._simulated or TcpGround()
        self._hosts = 0
        self._front: RemoteGround | None = None
        self._joined = JoinedGrounds(self._ground)
        self.faults = Faults(self._joined, partial(timeline.note, fault=True))

    def gateway(self, config: Config, state: Path, **options: Any) -> OwnGateway:
        """Make a gateway, not started yet; it is `OwnGateway`, but that it can die where that can be simulated."""
        options["observers"] = [self._event, *options["observers"]]
        if self._simulated is None:
            return OwnGateway(config, state, **options)
        name = f"gateway-{self._hosts}" if self._hosts else "gateway"
        self._hosts += 1
        options.pop("network")
        gateway = HostedGateway(config, self._simulated.loop.network.host(name), **options)
        self._simulated.add_gateway(gateway)
        return gateway

    def dial(self, name: str) -> Dial:
        """Return how the device of this name connects."""
        return self._ground.dial(name)

    async def add(self, device: FakeDevice | BoardDevice, front: Front | None) -> None:
        """Have a device be one that faults can be on; a board comes by its front.

        Raises:
            Misuse: another one has its name.
        """
        if front is None:
            self._ground.add_device(device.name, device)
        else:
            await self._at(front).join(device.name, device.device_id, device)
        self._names.setdefault(device_id(device.device_id), device.name)

    def _at(self, front: Front) -> RemoteGround:
        if self._front is None:
            self._front = front.ground()
            self._joined.join(self._front)
        return self._front

    def watch(self, record: FramePassed | Happened) -> None:
        """Take what a device reports, for the timeline and for schedules."""
        self._timeline.record(record)
        self.faults.moment(of_frame(record))

    def _event(self, event: Event) -> None:
        self.faults.moment(of_event(event, self._names.get(event.device, "")))

    async def aclose(self) -> None:
        """End what stands between devices and gateways; idempotent."""
        if self._front is not None:
            await self._front.leave()
        if isinstance(self._ground, TcpGround):
            await self._ground.aclose()
