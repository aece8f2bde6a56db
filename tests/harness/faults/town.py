"""A gateway that can die and devices that write to each other, on the simulated network, under a schedule of faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
from websockets.frames import Opcode

from gateway.config import Config, HandoverConfig, HeartbeatConfig, PeerConfig
from gateway.observe.events import Event, TaskFailed
from harness.errors import HarnessError
from harness.fakes.device import FakeDevice
from harness.faults import moments
from harness.faults.hosted_gateway import HostedGateway
from harness.faults.playing import Player
from harness.faults.schedule import Schedule
from harness.faults.schedules import draw_schedule
from harness.faults.simulated_ground import SimulatedGround
from harness.records import FramePassed, Happened
from harness.simulation.loop import SimulatedLoop

NAMES = ("kitchen", "hall", "cellar", "attic")
MESSAGES = 25
"""Of each device, over the time of the faults."""
CONFIG = Config(
    # rates are not what this is about; what is half-open shall be found out within the quiet phase
    handover=HandoverConfig(replacements=1_000_000),
    peer=PeerConfig(per_second=1000.0, burst=1000),
    heartbeat=HeartbeatConfig(idle_close=12.0),
)


class Town:
    """All of it, in the running simulation.

    Attributes:
        schedule: what goes wrong.
        wrong: what the gateway recorded that must never happen.
    """

    def __init__(self, loop: SimulatedLoop, name: str, seed: int) -> None:
        self.wrong: list[Event] = []
        self.ground = SimulatedGround(loop)
        self.gateway = HostedGateway(CONFIG, loop.network.host("gw"), observers=[self.event], listens={"ws_port": 8000})
        self.ground.add_gateway(self.gateway)
        self.residents = {name: Resident(self, loop, name, f"02:00:00:00:00:{n:02x}") for n, name in enumerate(NAMES)}
        for resident in self.residents.values():
            self.ground.add_device(resident.name, resident)
        self._names = {resident.id: resident.name for resident in self.residents.values()}
        self.schedule: Schedule = draw_schedule(name, seed, self.ground.devices, self.ground.capabilities)
        self.player = Player(self.schedule, self.ground)

    def event(self, event: Event) -> None:
        """Take a record of the gateway."""
        if isinstance(event, TaskFailed):
            self.wrong.append(event)
        self.player.moment(moments.of_event(event, self._names.get(event.device, "")))

    async def live(self) -> None:
        """Begin, have everything go wrong, and be quiet."""
        await self.gateway.start()
        for resident in self.residents.values():
            await resident.power_on()
        await self.player.play()
        for resident in self.residents.values():
            resident.settled = True
        await asyncio.sleep(self.schedule.quiet)

    def broken(self) -> list[str]:
        """What was promised and is not so."""
        found = [f"the gateway recorded {event}" for event in self.wrong]
        for resident in self.residents.values():
            found += [] if resident.is_online else [f"{resident.name} is not online"]
            found += [f"{resident.name} has no receipt for {one}" for one in resident.pending]
        for resident in self.residents.values():
            for message, to in resident.receipted.items():
                came = self.residents[self._names[to]].got[resident.id, message]
                if not came:
                    found.append(f"{message} of {resident.name} never came to {self._names[to]}")
        return found


class Resident:
    """A device that stays online, and sends each message, with the same id, until it has a receipt.

    Attributes:
        pending, receipted: its messages, and to whom they go.
        got: what has come to it, by sender and id.
        settled: it sends nothing new any more.
    """

    def __init__(self, town: Town, loop: SimulatedLoop, name: str, device_id: str) -> None:
        self.name = name
        self.id = device_id
        self.pending: dict[str, str] = {}
        self.receipted: dict[str, str] = {}
        self.got: Counter[tuple[str, str]] = Counter()
        self.settled = False
        self._town = town
        self._loop = loop
        self._chance = loop.stream(name)
        self._device: FakeDevice | None = None
        self._lives = False
        self._heard = 0.0

    @property
    def is_online(self) -> bool:
        """Whether it has a connection that answers."""
        return self._device is not None and self._device.session_id != "" and not self._device.closed.is_set()

    async def power_off(self) -> None:
        """Its program ends with its host."""
        self._lives = False
        self._device = None

    async def power_on(self) -> None:
        """Its program begins."""
        if not self._lives:
            self._lives = True
            self._town.ground.home(self.name).spawn(self._live(), self.name)

    async def _live(self) -> None:
        while True:
            url = f"ws://{self._town.gateway.host.address}:8000/xiaozhi/v1/"
            self._device = device = FakeDevice(url, self.id, name=self.name, watch=self._watch)
            try:
                await device.go_online(5.0)
                for message, to in tuple(self.pending.items()):
                    await self._send(device, message, to)
                await self._stay(device)
            except HarnessError:
                pass
            device.cut()
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _stay(self, device: FakeDevice) -> None:
        self._heard = self._loop.time()
        while not device.closed.is_set() and self._loop.time() - self._heard < 8.0:
            await device.send({"type": "ping"})
            if not self.settled and len(self.pending) + len(self.receipted) < MESSAGES:
                message = f"{self.name}-{len(self.pending) + len(self.receipted)}"
                others = [resident.id for resident in self._town.residents.values() if resident is not self]
                self.pending[message] = self._chance.choice(others)
                await self._send(device, message, self.pending[message])
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))

    async def _send(self, device: FakeDevice, message: str, to: str) -> None:
        await device.send({"type": "peer", "to": [to], "payload": {"n": message}, "id": message})

    def _watch(self, record: FramePassed | Happened) -> None:
        self._town.player.moment(moments.of_frame(record))
        if not isinstance(record, FramePassed) or record.sent or record.opcode is not Opcode.TEXT:
            return
        self._heard = record.at
        message: dict[str, Any] = msgspec.json.decode(record.payload)
        if message["type"] == "peer" and "payload" in message:
            self.got[message["from"], message["id"]] += 1
        elif message["type"] == "peer" and message.get("status") == "done" and message.get("id") in self.pending:
            self.receipted[message["id"]] = self.pending.pop(message["id"])
