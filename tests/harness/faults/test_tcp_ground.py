"""What is special on real sockets; `test_effects` has what each fault does."""

from __future__ import annotations

import asyncio

import pytest

from harness.faults.errors import Died, Lacks
from harness.faults.proxy import TcpProxy
from harness.faults.shape import PLAIN, Shape
from harness.faults.tcp_ground import TcpGround, shape_of
from harness.faults.vocabulary import (
    GATEWAY,
    Bandwidth,
    ClockStep,
    Cut,
    Fault,
    KillGateway,
    Latency,
    LimitData,
    Loss,
    Partition,
    PowerCut,
    PowerOn,
    Slicer,
    SlowClose,
    SlowDisk,
    StartGateway,
    Timeout,
    WifiOff,
)
from harness.faults.weather import Weather
from tests.harness.faults.lines import REQUEST, Line, Mouth, line

HALL, ROOF = "02:00:00:00:00:01", "02:00:00:00:00:02"


def says(device_id: str) -> bytes:
    """The request of a device."""
    return f"GET / HTTP/1.1\r\nDevice-Id: {device_id.upper()}\r\n\r\n".encode()


def front(between: Line) -> TcpGround:
    """A ground over a proxy that two devices connect to, of whom it has to learn who they are."""
    ground = TcpGround(wifi=False)
    ground.adopt(between.proxy)
    ground.add_device("hall", device_id=HALL)
    ground.add_device("roof", device_id=ROOF)
    return ground


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Loss(0.1), "TCP through a proxy cannot do loss: a network whose segments can be dropped one by one"),
        (ClockStep(1.0), "TCP through a proxy cannot do clock_step: a machine whose clock is simulated"),
        (SlowDisk(1.0), "TCP through a proxy cannot do slow_disk: a gateway whose threads are simulated"),
        (KillGateway(), "TCP through a proxy cannot do kill_gateway: a gateway that runs as a process of its own"),
        (
            WifiOff(),
            "TCP through a proxy cannot do wifi_off: an access point, or devices whose connecting it can refuse",
        ),
        (
            PowerCut(on=GATEWAY),
            "TCP through a proxy cannot do power_cut of the gateway: a gateway on a machine of its own",
        ),
    ],
)
async def test_lacks(fault: Fault, why: str):
    """What cannot be had on sockets is refused, with what it would take."""
    ground = TcpGround(wifi=False)
    with pytest.raises(Lacks) as found:
        await ground.do(fault)
    assert str(found.value) == why
    assert not ground.can(fault)


async def test_devices_of_one_port():
    """Where devices share a port, a fault on one of them is on its connections alone, from its request on."""
    async with line() as between:
        ground = front(between)
        hall, at_hall, _ = await between.pair(says(HALL))
        roof, at_roof, _ = await between.pair(says(ROOF))
        await ground.do(Cut(on="hall"))
        await hall.ends()
        at_roof.transport.write(b"still here")
        assert await roof.hears(10) == b"still here"
        assert await at_hall.ends() == "lost"

        await ground.do(Partition(on="hall"))
        kept = await between.device()
        kept.transport.write(says(HALL))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(between.gateway(), 0.05)
        assert between.proxy.connections[3].device == HALL


async def test_device_that_nobody_knows():
    """Who has no name among the devices is hit by what is on all, from its first byte on."""
    async with line() as between:
        ground = front(between)
        await ground.do(LimitData(10, direction="to_gateway"))
        await ground.do(LimitData(20, direction="to_gateway", on="hall"))
        stranger = await between.device()
        stranger.transport.write(REQUEST)
        assert len(await (await between.gateway()).hears(10)) == 10
        await stranger.ends()
        hall = await between.device()
        hall.transport.write(says(HALL))
        assert len(await (await between.gateway()).hears(20)) == 20
        await hall.ends()


async def test_adopting_a_proxy_that_runs():
    """What is in force is in force for connections that are open already."""
    async with line() as between:
        device, gateway, _ = await between.pair(says(HALL))
        ground = TcpGround()
        ground.add_device("hall", device_id=HALL)
        await ground.do(Latency(0.2, on="hall"))
        ground.adopt(between.proxy)
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        device.transport.write(b"x")
        await gateway.hears(len(says(HALL)) + 1)
        assert loop.time() - began >= 0.2


async def test_timeout_of_a_device_of_one_port():
    """A black hole for one device swallows its request, too."""
    async with line() as between:
        ground = front(between)
        await ground.do(Timeout(0.05, on="hall"))
        hall = await between.device()
        hall.transport.write(says(HALL))
        assert await hall.ends() == "lost"
        assert hall.heard == b""
        assert await between.closed() == "cut by a fault, 0.05 s after nothing got through"


async def test_power_of_what_has_no_body():
    """A device that nobody has to tell loses its power as well."""
    async with line() as between:
        ground = front(between)
        _, gateway, _ = await between.pair(says(HALL))
        await ground.do(PowerCut(on="hall"))
        gateway.transport.write(b"lost")
        await asyncio.sleep(0.02)
        assert gateway.unacknowledged == 4
        await ground.do(PowerOn(on="hall"))
        assert await gateway.ends() == "lost ConnectionResetError"


async def test_power_and_another_fault():
    """A device that is on again answers for its old connections, whatever else befalls it then."""
    async with line() as between:
        ground = front(between)
        _, gateway, _ = await between.pair(says(HALL))
        await ground.do(PowerCut(on="hall"))
        await ground.do(PowerOn(on="hall"))
        await ground.do(Latency(0.001, on="hall"))
        gateway.transport.write(b"anybody there?")
        assert await gateway.ends() == "lost ConnectionResetError"


class SlowStart:
    """A gateway whose process takes its time to come, and dies on the way the first time."""

    is_running = False

    def __init__(self) -> None:
        self.starts = 0

    async def kill(self) -> None:
        """Die."""

    async def start(self) -> None:
        """Come."""
        self.starts += 1
        await asyncio.sleep(0.01)
        if self.starts == 1:
            raise Died("killed")
        self.is_running = True


async def test_two_that_start_the_gateway():
    """It is started once, whoever comes first; one that is killed on the way is no failure."""
    gateway = SlowStart()
    ground = TcpGround(gateway=gateway)
    await asyncio.gather(*map(ground.do, (StartGateway(), StartGateway(), StartGateway())))
    assert (gateway.starts, gateway.is_running) == (2, True)


async def test_proxies_of_its_own():
    """Each device has a proxy of its own for each gateway, and all of them are closed at the end."""
    async with line() as one, line() as other:
        ground = TcpGround()
        ground.add_device("a")
        ground.add_device("b")
        ends: list[Mouth] = []

        def make() -> Mouth:
            ends.append(Mouth())
            return ends[-1]

        for name in ("a", "b"):
            for port in (one.port, other.port, one.port):
                await ground.dial(name)(make, "127.0.0.1", port, False)
        proxies = list(ground._own.values())
        assert [proxy.device for proxy in proxies] == ["a", "a", "b", "b"]
        assert [len(proxy.connections) for proxy in proxies] == [2, 1, 2, 1]

        await ground.aclose()
        await ground.aclose()
        assert [len(proxy.connections) for proxy in proxies] == [0, 0, 0, 0]
        for end in ends:
            await end.ends()


async def test_two_that_dial_at_once():
    """They get the same proxy."""
    async with line() as between:
        ground = TcpGround()
        ground.add_device("a")
        ends = [Mouth() for _ in range(5)]
        await asyncio.gather(*(ground.dial("a")(lambda end=end: end, "127.0.0.1", between.port, False) for end in ends))
        assert len(ground._own) == 1
        await ground.aclose()
        for end in ends:
            await end.ends()


async def test_secure_gateway():
    """A gateway behind TLS is asked for by its own name, not by that of the proxy."""
    async with line() as between:
        ground = TcpGround()
        ground.add_device("a")
        between.manners = {"keeps": True}
        dialling = asyncio.ensure_future(ground.dial("a")(asyncio.Protocol, "localhost", between.port, True))
        gateway = await between.gateway()
        assert b"localhost" in await gateway.hears(100)  # the name in the ClientHello
        gateway.transport.abort()
        with pytest.raises(ConnectionError):
            await dialling
        await ground.aclose()


def test_shapes():
    """What becomes of a way in bad weather."""
    weather = Weather()
    assert shape_of(weather.over("a"), "to_gateway") is PLAIN
    for fault in (Latency(0.2, 0.1), Bandwidth(5000.0), SlowClose(2.0, direction="to_gateway"), Slicer(10, 5, 0.5)):
        weather.add(fault)
    assert shape_of(weather.over("a"), "to_gateway") == Shape(
        latency=0.2,
        jitter=0.1,
        bytes_per_second=5000.0,
        slice_bytes=10,
        slice_variation=5,
        slice_seconds=0.5,
        slow_close=2.0,
    )
    assert shape_of(weather.over("a"), "to_device").slow_close == 0.0


def test_proxy_is_a_rule_taker():
    """A proxy without rules lets everything pass."""
    assert TcpProxy().rules is None
