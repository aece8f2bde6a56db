"""Faults on the simulated network: links, hosts and clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from harness.errors import Misuse
from harness.fakes.link import Dial
from harness.faults.ground import Body, LocalGround, Machine
from harness.faults.passing import DIRECTIONS, Direction
from harness.faults.vocabulary import (
    GATEWAY,
    KINDS,
    Bandwidth,
    ClockStep,
    Cut,
    Fault,
    HalfOpen,
    KillGateway,
    Lasting,
    Latency,
    LimitData,
    Loss,
    Partition,
    PowerCut,
    PowerOn,
    ResetPeer,
    Slicer,
    SlowClose,
    StartGateway,
    Timeout,
    WifiOff,
    WifiOn,
)
from harness.faults.weather import Sky
from harness.simulation.connection_end import ConnectionEnd
from harness.simulation.hosts import Host
from harness.simulation.links import Link, Path, Slices
from harness.simulation.loop import SimulatedLoop
from harness.simulation.profiles import ESP32, Profile
from harness.simulation.stream import Stream


class SimulatedMachine(Machine):
    """A gateway on a host of the simulated network, such as `harness.faults.hosted_gateway.HostedGateway`."""

    host: Host

    async def power_cut(self) -> None:
        """Cut the power of its host."""


class SimulatedGround(LocalGround):
    """Faults between hosts of devices and hosts of gateways, in one simulation.

    Each device has a host of its own, of its name (`home`): what it does has to begin there. All faults can be done.

    Args:
        loop: of the simulation; an attribute, too.
        profile: the TCP of the devices.
    """

    where = "the simulated network"
    possible: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, loop: SimulatedLoop, *, profile: Profile = ESP32) -> None:
        super().__init__(self.possible)
        self.loop = loop
        self._network = loop.network
        self._network.joined = self._joined
        self._profile = profile
        self._homes: dict[str, Host] = {}
        self._gateways: dict[Host, SimulatedMachine] = {}  # the first is the one that can die
        self._links: dict[Path, tuple[Link, Link]] = {}  # in good weather, and what was made of them
        self._swallowed: set[int] = set()  # numbers of connections: either of their ends may be all that is left
        self._executor_time = loop.executor_time

    # --- who is there -----------------------------------------------------------------------------------------------

    def add_gateway(self, gateway: SimulatedMachine) -> None:
        """Have faults on the way to this gateway as well; the first is the one that dies, and has a slow disk."""
        self._gateways[gateway.host] = gateway
        self._refresh(self.devices)

    def add_device(self, name: str, body: Body | None = None) -> None:
        """Get to know a device, as `Ground.add_device` does; its host is made."""
        if name in {host.name for host in self._gateways} or name == self._network.default_host.name:
            raise Misuse(f"expected a device with a host of its own, but {name} is another machine")
        super().add_device(name, body)
        self._homes[name] = self._network.host(name, self._profile)
        self._refresh([name])

    def home(self, name: str) -> Host:
        """Return the host of a device."""
        return self._homes[name]

    def dial(self, name: str) -> Dial:
        """Return how this device connects: from its host."""

        async def connect(factory: Callable[[], Any], host: str, port: int, secure: bool) -> None:
            await self.home(name).spawn(self.loop.create_connection(factory, host, port, ssl=secure or None))

        return connect

    # --- `Ground` -----------------------------------------------------------------------------------------------------

    async def do(self, fault: Fault) -> None:
        """Do a fault, as `Ground.do` does; the trace notes it."""
        self.check(fault)
        self.loop.trace.note(self.loop.time(), "fault", str(fault))
        await super().do(fault)

    async def _begin(self, fault: Lasting, devices: list[str]) -> None:
        self._refresh(devices)
        for end in self._ends(devices):
            if isinstance(fault, LimitData):
                _limit(end, fault)
            elif isinstance(fault, Timeout):
                self._swallow(end, fault)

    async def _heal(self, devices: list[str]) -> None:
        self._refresh(devices)
        for end in self._ends(devices):
            sky = self.weather.over(self._device_of(end))
            if not sky.any(LimitData):
                end.outgoing.limit = end.incoming.limit = None
            if abs(end.number) in self._swallowed and not sky.any(Timeout):
                self._swallowed.discard(abs(end.number))
                end.cut()

    async def _strike(self, fault: Fault, devices: list[str]) -> None:
        match fault:
            case Cut():
                self._each(devices, self._network.cut)
            case ResetPeer(seconds=seconds):
                if seconds:
                    self._later(seconds, partial(self._each, devices, self._network.reset))
                else:
                    self._each(devices, self._network.reset)
            case HalfOpen():
                self._each(devices, self._network.forget)
            case WifiOff() | WifiOn():
                self._wifi(fault, devices)
            case PowerCut() | PowerOn() | KillGateway() | StartGateway():
                await self._life(fault, devices)
            case ClockStep(seconds=seconds):
                for host in self._machines(fault, devices):
                    host.clock_offset += seconds

    def _slow_disk(self, seconds: float | None) -> None:
        self.loop.executor_time = self._executor_time if seconds is None else (seconds, seconds)

    # --- links ------------------------------------------------------------------------------------------------------

    def _refresh(self, devices: list[str]) -> None:
        """Have the links of devices as the weather is."""
        for name in devices:
            sky = self.weather.over(name)
            self.home(name).online = not sky.any(WifiOff)
            for direction in DIRECTIONS:
                for path in self._paths(name, direction):
                    self._set_link(path, sky, direction)
                    path.up = sky.get(Partition, direction) is None and not sky.any(WifiOff)

    def _set_link(self, path: Path, sky: Sky, direction: Direction) -> None:
        good, bad = self._links.get(path, (path.link, path.link))
        if path.link is not bad:
            good = path.link  # somebody else has set it since
        path.link = link_in(sky, direction, good)
        self._links[path] = good, path.link

    def _paths(self, name: str, direction: Direction) -> Iterator[Path]:
        home = self.home(name)
        for host in self._gateways:
            yield self._network.path(home, host) if direction == "to_gateway" else self._network.path(host, home)

    def _each(self, devices: list[str], strike: Callable[[Host, Host], None]) -> None:
        for name in devices:
            for host in self._gateways:
                strike(self.home(name), host)

    def _wifi(self, fault: WifiOff | WifiOn, devices: list[str]) -> None:
        if isinstance(fault, WifiOff):
            self.weather.add(fault)
        else:
            if fault.new_address:
                gone = [name for name in devices if self.weather.over(name).any(WifiOff)]
                self._each(gone, self._network.forget)
            self.weather.end("wifi_off", fault.on)
        self._refresh(devices)

    # --- connections ------------------------------------------------------------------------------------------------

    def _ends(self, devices: list[str]) -> list[ConnectionEnd]:
        """One end of each connection of these devices: theirs or, where their kernel has forgotten it, the other."""
        ends: dict[int, ConnectionEnd] = {}
        for name in devices:
            for host in self._gateways:
                for end in self._network.between(self.home(name), host):
                    ends.setdefault(abs(end.number), end)
        return list(ends.values())

    def _device_of(self, end: ConnectionEnd) -> str:
        addresses = {end.own_address[0], end.peer_address[0]}
        return next((name for name, home in self._homes.items() if home.address in addresses), "")

    def _joined(self, end: ConnectionEnd) -> None:
        """A connection has come."""
        sky = self.weather.over(self._device_of(end))
        for direction in DIRECTIONS:
            limit, timeout = sky.get(LimitData, direction), sky.get(Timeout, direction)
            if limit is not None:
                _stream(end, direction).limit = limit.bytes
            if timeout is not None:
                self._swallow(end, timeout)

    def _swallow(self, end: ConnectionEnd, fault: Timeout) -> None:
        self._swallowed.add(abs(end.number))
        for direction in fault.ways:
            _stream(end, direction).swallow()
        if fault.seconds:
            self._later(fault.seconds, end.cut)

    def _later(self, seconds: float, strike: Callable[[], None]) -> None:
        """Have something happen whatever becomes of the process that has brought it about."""
        self.loop.call_later(seconds, strike, context=self.loop.no_process)

    # --- machines -----------------------------------------------------------------------------------------------------

    def _machines(self, fault: Fault, devices: list[str]) -> list[Host]:
        if fault.on == GATEWAY:
            return list(self._gateways)[:1]
        return [self.home(name) for name in devices]

    async def _life(self, fault: Fault, devices: list[str]) -> None:
        if fault.on == GATEWAY or isinstance(fault, KillGateway | StartGateway):
            await self._life_of_gateway(fault)
            return
        for name in devices:
            body, home = self._devices[name], self.home(name)
            if isinstance(fault, PowerCut):
                if body is not None:
                    await body.power_off()
                home.power_off()
            else:
                home.boot()
                if body is not None:
                    await body.power_on()

    async def _life_of_gateway(self, fault: Fault) -> None:
        gateway = next(iter(self._gateways.values()), None)
        if gateway is None:
            raise Misuse(f"expected a gateway that has been started, for {fault}")
        if isinstance(fault, PowerOn | StartGateway):
            await self._start(gateway)
        elif isinstance(fault, PowerCut):
            await gateway.power_cut()
        else:
            await gateway.kill()


def _stream(end: ConnectionEnd, direction: Direction) -> Stream:
    """One direction of a connection; the end which accepts has a negative number, and gateways do."""
    return end.outgoing if (end.number > 0) == (direction == "to_gateway") else end.incoming


def _limit(end: ConnectionEnd, fault: LimitData) -> None:
    for direction in fault.ways:
        stream = _stream(end, direction)
        stream.limit = stream.arrived + fault.bytes


def link_in(sky: Sky, direction: Direction, good: Link) -> Link:
    """Return what becomes of a link in this weather."""
    changes: dict[str, Any] = {}
    if latency := sky.get(Latency, direction):
        changes |= {"latency": good.latency + latency.seconds, "jitter": good.jitter + latency.jitter}
    if bandwidth := sky.get(Bandwidth, direction):
        changes["bandwidth"] = bandwidth.bytes_per_second
    if loss := sky.get(Loss, direction):
        changes["loss"] = loss.chance
    if slow_close := sky.get(SlowClose, direction):
        changes["slow_close"] = slow_close.seconds
    if slicer := sky.get(Slicer, direction):
        changes["fragment"] = Slices(
            average=slicer.average_bytes, variation=slicer.variation_bytes, seconds=slicer.seconds
        )
    return dataclasses.replace(good, **changes)


__all__ = ["SimulatedGround", "SimulatedMachine", "link_in"]
