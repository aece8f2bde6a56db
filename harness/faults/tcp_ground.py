"""Faults on real sockets: devices connect through proxies in which things go wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from typing import Any, ClassVar

from harness.fakes.link import Dial
from harness.faults.errors import Lacks
from harness.faults.ground import Body, LocalGround, Machine
from harness.faults.passing import DIRECTIONS, Direction
from harness.faults.proxied import Proxied
from harness.faults.proxy import TcpProxy
from harness.faults.shape import PLAIN, Shape
from harness.faults.vocabulary import (
    GATEWAY,
    KINDS,
    Bandwidth,
    Cut,
    Fault,
    HalfOpen,
    KillGateway,
    Lasting,
    Latency,
    LimitData,
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

_OF_GATEWAYS = {"kill_gateway", "start_gateway"}
_OF_WIFI = {"wifi_off", "wifi_on"}


class TcpGround(LocalGround):
    """Faults between devices and gateways that talk over TCP.

    A device that connects with `dial` has a proxy of its own for each gateway, so that it is known from its SYN on. A
    proxy that others connect to (`adopt`) learns from each request whose it is.

    Args:
        gateway: can be killed; None: no gateway can.
        wifi: whether all devices connect with `dial`, which can refuse; else there is no ``wifi_off``.
        chance: for jitter and slices; None: seeded by the system.
    """

    where = "TCP through a proxy"
    possible: ClassVar[frozenset[str]] = frozenset(KINDS) - {"loss", "clock_step", "slow_disk"}

    def __init__(
        self, *, gateway: Machine | None = None, wifi: bool = True, chance: random.Random | None = None
    ) -> None:
        super().__init__(self.possible - (set() if gateway else _OF_GATEWAYS) - (set() if wifi else _OF_WIFI))
        self._gateway = gateway
        self._chance = chance or random.Random()  # noqa: S311 - nothing secret depends on it
        self._proxies: list[TcpProxy] = []
        self._own: dict[tuple[str, str, int], TcpProxy] = {}
        self._dialling = asyncio.Lock()
        self._names: dict[str, str] = {}  # of devices, by their ids

    def add_device(self, name: str, body: Body | None = None, *, device_id: str = "") -> None:
        """Get to know a device, as `Ground.add_device` does.

        Args:
            name: what faults call it.
            body: loses its power and gets it back.
            device_id: what it says in its requests; for those who come by a proxy that was adopted.
        """
        super().add_device(name, body)
        if device_id:
            self._names[device_id] = name

    def remove_device(self, name: str) -> None:
        """Forget a device, as `LocalGround.remove_device` does; its connections are as those of nobody are."""
        connections = self._connections([name])
        super().remove_device(name)
        for _, connection in connections:
            self._apply(connection)
        self._names = {device_id: other for device_id, other in self._names.items() if other != name}

    async def aclose(self) -> None:
        """Close the proxies of its own; idempotent."""
        for proxy in self._own.values():
            await proxy.aclose()

    # --- how devices connect ----------------------------------------------------------------------------------------

    def adopt(self, proxy: TcpProxy) -> None:
        """Have faults on the connections of this proxy as well, now and in future."""
        proxy.rules = self
        self._proxies.append(proxy)
        for connection in proxy.connections.values():
            self._apply(connection)

    def dial(self, name: str) -> Dial:
        """Return how this device connects; also where it has no Wi-Fi, with an `OSError`."""

        async def connect(factory: Callable[[], asyncio.Protocol], host: str, port: int, secure: bool) -> None:
            if self.weather.over(name).any(WifiOff):
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            proxy = await self._proxy(name, host, port)
            tls: dict[str, Any] = {"ssl": True, "server_hostname": host} if secure else {}
            await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", proxy.port, **tls)

        return connect

    async def _proxy(self, name: str, host: str, port: int) -> TcpProxy:
        async with self._dialling:
            proxy = self._own.get((name, host, port))
            if proxy is None:
                proxy = self._own[name, host, port] = TcpProxy(device=name, chance=self._chance)
                await proxy.start()
                proxy.forward_to(host, port)
                self.adopt(proxy)
                self._refresh_port(proxy)
            return proxy

    # --- `Ground` -------------------------------------------------------------------------------------------------

    def check(self, fault: Fault) -> None:
        """Raise what `do` would raise before it does anything."""
        if fault.on == GATEWAY and fault.of_machines and fault.name in self.capabilities:
            raise Lacks(self.where, f"{fault.name} of the gateway", "a gateway on a machine of its own")
        super().check(fault)

    async def _begin(self, fault: Lasting, devices: list[str]) -> None:
        for _, connection in self._connections(devices):
            self._apply(connection)
            if isinstance(fault, LimitData):
                self._limit(connection, fault)
            elif isinstance(fault, Timeout):
                self._swallow(connection, fault)
        self._refresh_ports(devices)

    async def _heal(self, devices: list[str]) -> None:
        for _, connection in self._connections(devices):
            sky = self._apply(connection)
            if not sky.any(LimitData):
                connection.to_gateway.set_limit(None)
                connection.to_device.set_limit(None)
            if connection.is_swallowed and not sky.any(Timeout):
                connection.cut("cut, since the black hole it was in is gone")
        self._refresh_ports(devices)

    async def _strike(self, fault: Fault, devices: list[str]) -> None:
        match fault:
            case Cut():
                for _, connection in self._connections(devices):
                    connection.cut()
            case ResetPeer(seconds=seconds):
                for _, connection in self._connections(devices):
                    if seconds:
                        asyncio.get_running_loop().call_later(seconds, connection.reset)
                    else:
                        connection.reset()
            case HalfOpen():
                self._silence(devices)
            case WifiOff() | WifiOn():
                self._wifi(fault, devices)
            case PowerCut() | PowerOn():
                await self._power(fault, devices)
            case KillGateway() if self._gateway is not None and self._gateway.is_running:
                await self._gateway.kill()
            case StartGateway() if self._gateway is not None:
                await self._start(self._gateway)

    def _wifi(self, fault: WifiOff | WifiOn, devices: list[str]) -> None:
        if isinstance(fault, WifiOff):
            self.weather.add(fault)
        else:
            if fault.new_address:
                self._silence([name for name in devices if self.weather.over(name).any(WifiOff)])
            self.weather.end("wifi_off", fault.on)
        for _, connection in self._connections(devices):
            self._apply(connection)
        self._refresh_ports(devices)

    async def _power(self, fault: PowerCut | PowerOn, devices: list[str]) -> None:
        for name in devices:
            body = self._devices[name]
            if isinstance(fault, PowerCut):
                for connection in self._silence([name]):
                    connection.lost_power = True
                if body is not None:
                    await body.power_off()
            else:
                for _, connection in self._connections([name]):
                    if connection.lost_power:
                        connection.refuse()
                if body is not None:
                    await body.power_on()

    def _silence(self, devices: list[str]) -> list[Proxied]:
        found = self._connections(devices)
        for proxy, connection in found:
            connection.silence()
            proxy.silenced()
        return [connection for _, connection in found]

    # --- connections ----------------------------------------------------------------------------------------------

    def _connections(self, devices: list[str]) -> list[tuple[TcpProxy, Proxied]]:
        """All that are open, of these devices; a proxy's list may change while one goes through it."""
        return [
            (proxy, connection)
            for proxy in self._proxies
            for connection in tuple(proxy.connections.values())
            if self._name_of(connection) in devices
        ]

    def _name_of(self, connection: Proxied) -> str:
        return self._names.get(connection.device, connection.device)

    def apply_to(self, connection: Proxied) -> None:
        """Have a connection that has come, or of which it has become known whose it is, as the weather is."""
        sky = self._apply(connection)
        for direction in DIRECTIONS:
            limit, timeout = sky.get(LimitData, direction), sky.get(Timeout, direction)
            if limit is not None:
                connection.way(direction).set_limit(connection.way(direction).bytes_passed + limit.bytes)
            if timeout is not None:
                self._swallow(connection, timeout)

    def _apply(self, connection: Proxied) -> Sky:
        """Have a connection as the weather is; what is counted from a beginning is not begun anew."""
        sky = self.weather.over(self._name_of(connection))
        for direction in DIRECTIONS:
            connection.way(direction).set_shape(shape_of(sky, direction))
            connection.hold(direction, sky.get(Partition, direction) is not None or sky.any(WifiOff))
        return sky

    def _limit(self, connection: Proxied, fault: LimitData) -> None:
        for direction in fault.ways:
            way = connection.way(direction)
            way.set_limit(way.bytes_passed + fault.bytes)

    def _swallow(self, connection: Proxied, fault: Timeout) -> None:
        for direction in fault.ways:
            connection.swallow(direction)
        if fault.seconds:
            why = f"cut by a fault, {fault.seconds:g} s after nothing got through"
            asyncio.get_running_loop().call_later(fault.seconds, connection.cut, why)

    # --- ports ------------------------------------------------------------------------------------------------------

    def _refresh_ports(self, devices: list[str]) -> None:
        for proxy in self._own.values():
            if proxy.device in devices:
                self._refresh_port(proxy)

    def _refresh_port(self, proxy: TcpProxy) -> None:
        sky = self.weather.over(proxy.device)
        proxy.hear(not (sky.any(Partition) or sky.any(WifiOff)))


def shape_of(sky: Sky, direction: Direction) -> Shape:
    """Return the shape of a direction in this weather."""
    latency, bandwidth = sky.get(Latency, direction), sky.get(Bandwidth, direction)
    slicer, slow_close = sky.get(Slicer, direction), sky.get(SlowClose, direction)
    shape = Shape(
        latency=latency.seconds if latency else 0.0,
        jitter=latency.jitter if latency else 0.0,
        bytes_per_second=bandwidth.bytes_per_second if bandwidth else 0.0,
        slice_bytes=slicer.average_bytes if slicer else 0,
        slice_variation=slicer.variation_bytes if slicer else 0,
        slice_seconds=slicer.seconds if slicer else 0.0,
        slow_close=slow_close.seconds if slow_close else 0.0,
    )
    return PLAIN if shape == PLAIN else shape
