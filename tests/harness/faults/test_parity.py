"""The same fault on both grounds, with the real gateway and fake devices: both are told the same, in the same order.

What a device saw and what the gateway recorded of it are compared each for itself: how the two interleave is chance on
real sockets. Times are not compared here; `test_effects` has them.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from websockets.frames import Close, Opcode

from gateway.config import Config, HandshakeConfig, HeartbeatConfig, PeerConfig
from gateway.observe.events import ConnectionClosed, DeviceOnline, Event, HandoverBegan, HandoverEnded
from harness.errors import CannotConnect
from harness.fakes.device import FakeDevice
from harness.faults.faults import Faults
from harness.faults.hosted_gateway import HostedGateway
from harness.faults.simulated_ground import SimulatedGround
from harness.faults.tcp_ground import TcpGround
from harness.gateways import OwnGateway
from harness.records import FramePassed, Happened
from harness.simulation.loop import SimulatedLoop, run
from harness.simulation.profiles import LINUX
from tests.harness.faults.worlds import at_once

CONFIG = Config(
    # soon enough for a test in real time, and later than any retransmission that a case waits for
    heartbeat=HeartbeatConfig(idle_close=3.0),
    handshake=HandshakeConfig(open_timeout=0.5, alive_after=0.3),
    peer=PeerConfig(live_ack=0.4),
)
IDS = {"kitchen": "02:00:00:00:00:01", "hall": "02:00:00:00:00:02"}

_TOLD: dict[type[Event], tuple[str, ...]] = {
    ConnectionClosed: ("code", "by", "aborted"),
    DeviceOnline: ("replaced",),
    HandoverBegan: ("told",),
    HandoverEnded: (),
}


class Home:
    """A gateway, two devices, and what each of them saw."""

    faults: Faults

    def __init__(self) -> None:
        self.saw: dict[str, list[str]] = defaultdict(list)
        self.devices: dict[str, FakeDevice] = {}
        self._names = {device_id: name for name, device_id in IDS.items()}
        self._news = asyncio.Event()

    def record(self, record: FramePassed | Happened) -> None:
        """Note what a device saw."""
        if isinstance(record, Happened):
            self.saw[record.device].append(re.sub(r"ws://\S+:", "URL:", record.what))
        elif record.opcode is Opcode.TEXT:
            kind = msgspec.json.decode(record.payload)["type"]
            self.saw[record.device].append(f"{'sends' if record.sent else 'gets'} {kind}")
        else:
            code = f" {int(Close.parse(record.payload).code)}" if record.opcode is Opcode.CLOSE else ""
            self.saw[record.device].append(f"{'sends' if record.sent else 'gets'} {record.opcode.name}{code}")

    def event(self, event: Event) -> None:
        """Note what the gateway recorded of a device."""
        if event.device:
            facts = " ".join(f"{name}={getattr(event, name)}" for name in _TOLD.get(type(event), ()))
            self.saw[f"gateway of {self._names[event.device]}"].append(f"{type(event).__name__} {facts}".strip())
            self._news.set()

    async def recorded(self, what: str, device: str = "kitchen", times: int = 1) -> None:
        """Wait until the gateway has recorded something of a device."""
        async with asyncio.timeout(10):
            while sum(one.startswith(what) for one in self.saw[f"gateway of {device}"]) < times:
                self._news.clear()
                await self._news.wait()

    async def ping(self, device: FakeDevice) -> None:
        """A heartbeat there and back."""
        await device.send({"type": "ping"})
        await device.expect("pong")


Case: TypeAlias = Callable[[Home, FakeDevice], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case."""
    CASES[function.__name__] = function
    return function


@case
async def cut(home: Home, kitchen: FakeDevice) -> None:
    """Both are told of the end, and the device comes back."""
    await home.faults.cut(kitchen)
    assert await kitchen.expect_close() == 1006
    await home.recorded("DeviceOffline")
    await kitchen.go_online()


@case
async def reset_peer(home: Home, kitchen: FakeDevice) -> None:
    """The same by RST."""
    await home.faults.reset_peer(on=kitchen)
    assert await kitchen.expect_close() == 1006
    await home.recorded("DeviceOffline")


@case
async def half_open(home: Home, kitchen: FakeDevice) -> None:
    """The gateway finds out by silence."""
    await home.faults.half_open(kitchen)
    await kitchen.send({"type": "ping"})
    await home.recorded("DeviceOffline")
    assert kitchen.close_code is None


@case
async def half_open_and_back(home: Home, kitchen: FakeDevice) -> None:
    """The device comes back first: a handover from a connection that nobody hears any more."""
    await home.faults.half_open(kitchen)
    kitchen.vanish()
    await kitchen.go_online()
    await home.ping(kitchen)
    await home.recorded("HandoverEnded")


@case
async def latency_and_slices(home: Home, kitchen: FakeDevice) -> None:
    """Slow, and in small pieces, it is still the same conversation."""
    await home.faults.latency(0.05, jitter=0.02)
    await home.faults.slicer(7)
    await home.faults.bandwidth(20_000)
    await home.ping(kitchen)
    await home.faults.heal()
    await home.ping(kitchen)


@case
async def short_partition(home: Home, kitchen: FakeDevice) -> None:
    """The connection goes on."""
    await home.faults.partition(kitchen)
    await kitchen.send({"type": "ping"})
    await asyncio.sleep(0.3)
    await home.faults.heal()
    await kitchen.expect("pong")


@case
async def long_partition(home: Home, kitchen: FakeDevice) -> None:
    """The gateway gives the device up; when it hears of it again, it knows of no such connection."""
    await home.faults.partition(kitchen)
    await home.recorded("DeviceOffline")
    await home.faults.heal()
    await kitchen.send({"type": "ping"})
    assert await kitchen.expect_close(10) in (1006, 4003)
    home.saw["kitchen"] = [one for one in home.saw["kitchen"] if not one.startswith(("gets CLOSE", "has lost"))]


@case
async def partition_to_gateway(home: Home, kitchen: FakeDevice) -> None:
    """The gateway hears nothing, and the device is told so."""
    await asyncio.sleep(0.1)  # Linux delays acknowledgements by 40 ms; with one missing it would send nothing new
    await home.faults.partition(kitchen, direction="to_gateway")
    await kitchen.send({"type": "ping"})
    assert await kitchen.expect_close() == 4003
    await home.recorded("DeviceOffline")


@case
async def partition_to_device(home: Home, kitchen: FakeDevice) -> None:
    """The device is heard, and gets its answer late."""
    await home.faults.partition(kitchen, direction="to_device")
    await kitchen.send({"type": "ping"})
    await home.recorded("PongSent")
    await home.faults.heal()
    await kitchen.expect("pong")


@case
async def connecting_in_a_partition(home: Home, kitchen: FakeDevice) -> None:
    """It gets no answer, and the gateway knows nothing of it."""
    kitchen.cut()
    await home.recorded("DeviceOffline")
    await home.faults.partition()
    with pytest.raises(CannotConnect, match="no answer within"):
        await kitchen.connect(0.3)
    await home.faults.heal()
    await kitchen.go_online()


@case
async def timeout(home: Home, kitchen: FakeDevice) -> None:
    """A black hole, and then the end."""
    await home.faults.timeout(0.2)
    await kitchen.send({"type": "ping"})
    assert await kitchen.expect_close() == 1006
    await home.recorded("DeviceOffline")


@case
async def limit_data(home: Home, kitchen: FakeDevice) -> None:
    """The answer is cut in its middle."""
    await home.faults.limit_data(5, direction="to_device")
    await kitchen.send({"type": "ping"})
    assert await kitchen.expect_close() == 1006
    await home.recorded("DeviceOffline")


@case
async def slow_close(home: Home, kitchen: FakeDevice) -> None:
    """A message that comes between the last word and the end is lost, and goes to the mailbox."""
    await home.faults.slow_close(0.3, direction="to_gateway")
    kitchen.cut()
    await home.recorded("DeviceOffline")


@case
async def power_cut(home: Home, kitchen: FakeDevice) -> None:
    """It falls silent, and the gateway finds out."""
    await home.faults.power_cut(kitchen)
    await home.recorded("DeviceOffline")


@case
async def power_cut_and_back(home: Home, kitchen: FakeDevice) -> None:
    """It boots, and comes back while its old connection still counts; that one is answered with RST."""
    await home.faults.power_cut(kitchen)
    await home.faults.power_on(kitchen)
    await kitchen.go_online()
    await home.recorded("HandoverEnded")
    await home.ping(kitchen)


@case
async def wifi_off(home: Home, kitchen: FakeDevice) -> None:
    """Connecting fails at once; with the same address the old connection goes on."""
    await home.faults.wifi_off(kitchen)
    await kitchen.send({"type": "ping"})
    await home.faults.wifi_on(kitchen)
    await kitchen.expect("pong")
    await home.faults.wifi_off(kitchen)
    kitchen.vanish()
    with pytest.raises(CannotConnect, match="Network is unreachable"):
        await kitchen.connect()
    await home.faults.wifi_on(kitchen, new_address=True)
    await kitchen.go_online()
    await home.recorded("HandoverEnded")


@case
async def message_into_a_partition(home: Home, kitchen: FakeDevice) -> None:
    """A message to a device that is cut off goes to the mailbox, and to the device when it is back."""
    hall = home.devices["hall"]
    await hall.go_online()
    await home.faults.partition(kitchen)
    await hall.send({"type": "peer", "to": [kitchen.device_id], "payload": {"text": "tea"}, "id": "m-1"})
    await hall.expect("peer", status="done", enqueued=[kitchen.device_id])
    await home.faults.heal()
    await kitchen.expect("peer", id="m-1")
    await home.recorded("PeerDelivered")


@asynccontextmanager
async def _home(state: Path) -> AsyncIterator[Home]:
    loop = asyncio.get_running_loop()
    ground: SimulatedGround | TcpGround
    home = Home()
    if isinstance(loop, SimulatedLoop):
        hosted = HostedGateway(CONFIG, loop.network.host("gw"), observers=[home.event])
        ground = SimulatedGround(loop, profile=LINUX)
        ground.add_gateway(hosted)
        gateway: OwnGateway = hosted
    else:
        gateway, ground = OwnGateway(CONFIG, state, observers=[home.event]), TcpGround()
    home.faults = Faults(ground, lambda _: None)
    await gateway.start()
    for name, device_id in IDS.items():
        device = FakeDevice(gateway.url, device_id, name=name, watch=home.record, dial=ground.dial(name))
        ground.add_device(name, device)
        home.devices[name] = device
    try:
        yield home
    finally:
        for device in home.devices.values():
            await device.aclose()
        if isinstance(ground, TcpGround):
            await ground.aclose()
        await gateway.stop()


async def seen(function: Case, state: Path) -> dict[str, list[str]]:
    """Run a case, and return what each saw."""
    async with _home(state) as home:
        kitchen = home.devices["kitchen"]
        await kitchen.go_online()
        await function(home, kitchen)
        return {who: list(what) for who, what in home.saw.items()}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What is seen on sockets: all cases at once, each with a gateway of its own, as they do little but wait."""
    return at_once(lambda function: seen(function, tmp_path_factory.mktemp("state")), CASES)


@pytest.mark.parametrize("name", CASES)
def test_parity(name: str, real: Callable[[str], dict[str, list[str]]], tmp_path: Path):
    """Device and gateway are told the same on both grounds."""
    assert run(lambda _: seen(CASES[name], tmp_path)) == real(name)
