"""The start: both ports are its own from the first moment, or it fails at once, says why, and holds nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import closing

import pytest

from gateway.errors import CannotListen
from gateway.feature import Feature
from pytest_wsdevice.conformance.own_gateways import device_of
from pytest_wsdevice.types import Devices, Gateways, OwnGateway

# a simulated network has its own way to refuse a port; what is to be seen here is that of the gateway
pytestmark = [pytest.mark.asyncio, pytest.mark.ws_needs("config", "tcp")]

AT_ONCE = 5.0  # seconds: the protocol says one; a busy machine may need more to begin at all
IPV4, IPV6 = "127.0.0.1", "::1"
SETTINGS = ("ws_port", "http_port")


def has_ipv6() -> bool:
    """Whether this machine has the loopback address of IPv6."""
    try:
        with closing(listening(IPV6)):
            return True
    except OSError:
        return False


HOSTS = [IPV4, pytest.param(IPV6, marks=pytest.mark.skipif("not has_ipv6()", reason="this machine has no IPv6"))]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_a_port_that_is_taken_fails_the_start(ws_gateways: Gateways, host: str, setting: str) -> None:
    """At once, naming the address, the cause, and what to change; on IPv6 as on IPv4."""
    hosts = [IPV4] if host == IPV4 else [IPV4, IPV6]
    with closing(listening(host)) as holder:
        port = holder.getsockname()[1]
        error = await refused_start(ws_gateways, hosts, {setting: port})

    said = str(error)
    for what, words in {
        "address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "cause": "in use",
        "setting to change": f"server.{setting}",
    }.items():
        assert words in said, f"the failed start does not name the {what} ({words}): {said}"


async def test_a_second_gateway_on_the_same_ports_fails(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """It does not go on beside the first one, which is not disturbed."""
    first = await ws_gateways()
    taken = {"ws_port": first.gateway.network.port("websocket"), "http_port": first.gateway.network.port("http")}

    error = await refused_start(ws_gateways, [IPV4], taken)

    assert all(str(port) in str(error) for port in taken.values()), f"not all ports that are taken are named: {error}"
    device = await device_of(first, ws_devices, "device")
    await device.send({"type": "ping"})
    await device.expect("pong")


@pytest.mark.parametrize("setting", SETTINGS)
async def test_a_failed_start_holds_nothing(ws_gateways: Gateways, setting: str) -> None:
    """The other port is free again: whoever tries again does not stand in its own way."""
    (other,) = set(SETTINGS) - {setting}
    port = free_port()
    with closing(listening(IPV4)) as holder:
        await refused_start(ws_gateways, [IPV4], {setting: holder.getsockname()[1], other: port})

    assert is_free(IPV4, port), f"a start that failed for server.{setting} still holds the port of server.{other}"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("setting", SETTINGS)
async def test_the_ports_are_held_from_the_first_moment(ws_gateways: Gateways, host: str, setting: str) -> None:
    """While the gateway starts nobody else can take them: they are bound, not looked at and bound later."""
    port = free_port()
    thief = _Thief(host, port)

    await ws_gateways({"features": [thief]}, server={"host": [IPV4, IPV6] if host == IPV6 else [IPV4], setting: port})

    assert thief.could_take is False, f"the port of server.{setting} on {host} was free while the gateway started"


@pytest.mark.skipif("not has_ipv6()", reason="this machine has no IPv6")
async def test_devices_connect_over_both_families(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """With hosts of IPv4 and IPv6, a port is the same on both."""
    gateway = await ws_gateways(server={"host": [IPV4, IPV6]})
    path = gateway.config.server.paths[0]
    port = gateway.gateway.network.port("websocket")

    for number, host in enumerate((IPV4, f"[{IPV6}]")):
        try:
            await device_of(gateway, ws_devices, f"device-{number}", url=f"ws://{host}:{port}{path}")
        except Exception as error:
            raise AssertionError(f"a device cannot connect to {host}:{port}: {error}") from error


# --- what is tried ----------------------------------------------------------------------------------------------


async def refused_start(gateways: Gateways, hosts: list[str], ports: dict[str, int]) -> CannotListen:
    """Start a gateway that cannot have its ports, and return why."""
    begun: list[OwnGateway] = []
    try:
        async with asyncio.timeout(AT_ONCE):
            begun.append(await gateways(server={"host": hosts, **ports}))
    except CannotListen as error:
        return error
    except TimeoutError:
        raise AssertionError(f"a start on ports that are taken did not fail within {AT_ONCE:g} s") from None
    where = ", ".join(f"{name} {port}" for name, port in ports.items())
    raise AssertionError(f"a gateway started though its port was taken ({where}), and said nothing")


class _Thief(Feature):
    """Tries to take a port while the gateway starts."""

    def __init__(self, host: str, port: int) -> None:
        self.could_take: bool | None = None
        self._address = host, port

    async def start(self) -> None:
        self.could_take = is_free(*self._address)


def listening(host: str, port: int = 0) -> socket.socket:
    """Listen on an address; port 0: one that is free, on IPv4 and IPv6."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def is_free(host: str, port: int) -> bool:
    """Whether somebody could listen there now."""
    try:
        listening(host, port).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(listening(IPV4)) as sock:
        return int(sock.getsockname()[1])
