"""What each fault does to both ends of a connection: the same on the simulated network and on real sockets.

A case returns what was seen; what is expected stands beside it once, for both grounds. A float is a time, in seconds:
exact on the simulated network, on sockets not less, and as much more as a busy machine may need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest

from harness.faults.vocabulary import (
    KINDS,
    Bandwidth,
    Cut,
    HalfOpen,
    Heal,
    KillGateway,
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
from tests.harness.faults.lines import REQUEST, Mouth
from tests.harness.faults.worlds import World, at_once, in_simulation, seen_in

Case: TypeAlias = Callable[[World], Awaitable[Any]]

CASES: dict[str, tuple[Case, Any]] = {}


def sees(expected: Any) -> Callable[[Case], Case]:
    """Register a case with what is to be seen."""

    def register(case: Case) -> Case:
        CASES[case.__name__] = (case, expected)
        return case

    return register


async def quiet(*ends: Mouth) -> None:
    """Long enough for whatever could come in a moment."""
    await asyncio.sleep(0.08)


# --- connections end ----------------------------------------------------------------------------------------------


@sees((["data", "eof", "lost"], ["data", "eof", "lost"], b"before"))
async def cut(world: World) -> Any:
    """FIN at both ends, behind what has arrived."""
    device, gateway = await world.pair()
    gateway.transport.write(b"before")
    await device.hears(6)
    await world.ground.do(Cut(on="a"))
    await device.ends()
    await gateway.ends()
    return device.said, gateway.said, bytes(device.heard)


@sees((["eof", "lost"], ["data"], ["data"]))
async def cut_of_one_device(world: World) -> Any:
    """Another device's connection stays."""
    device, _ = await world.pair("a")
    other, others = await world.pair("b")
    await world.ground.do(Cut(on="a"))
    await device.ends()
    others.transport.write(b"still here")
    await other.hears(10)
    return device.said, other.said, others.said


@sees((["lost ConnectionResetError"], ["data", "lost ConnectionResetError"]))
async def reset_peer(world: World) -> Any:
    """RST at both ends."""
    device, gateway = await world.pair()
    await world.ground.do(ResetPeer())
    await device.ends()
    await gateway.ends()
    return device.said, gateway.said


@sees((["lost ConnectionResetError"], 0.6))
async def reset_peer_later(world: World) -> Any:
    """The same after a while."""
    device, _ = await world.pair()
    began = world.now
    await world.ground.do(ResetPeer(0.6))
    await device.ends()
    return device.said, world.since(began)


@sees(([], ["data"], b"new"))
async def half_open(world: World) -> Any:
    """Nothing gets through, nobody is told; a new connection is fine."""
    device, gateway = await world.pair()
    await world.ground.do(HalfOpen(on="a"))
    device.transport.write(b"lost")
    gateway.transport.write(b"lost")
    await quiet()
    said = list(device.said), list(gateway.said)
    device.transport.close()
    await quiet()
    _, second = await world.pair(said=b"new")
    await world.ground.do(Heal())
    await asyncio.sleep(0.5)
    return said[0], gateway.said, bytes(second.heard)


# --- how bytes travel ---------------------------------------------------------------------------------------------


@sees((0.6, 1.2))
async def latency(world: World) -> Any:
    """One way it takes so long, both ways twice as long."""
    device, gateway = await world.pair()
    await world.ground.do(Latency(0.6, on="a"))
    began = world.now
    device.transport.write(b"ping")
    await gateway.hears(len(REQUEST) + 4)
    one_way = world.since(began)
    gateway.transport.write(b"pong")
    await device.hears(4)
    return one_way, world.since(began)


@sees((0.0, 0.6))
async def latency_one_way(world: World) -> Any:
    """In the direction that was asked for alone."""
    device, gateway = await world.pair()
    await world.ground.do(Latency(0.6, direction="to_device"))
    began = world.now
    device.transport.write(b"ping")
    await gateway.hears(len(REQUEST) + 4)
    one_way = world.since(began)
    gateway.transport.write(b"pong")
    await device.hears(4)
    return one_way, world.since(began)


@sees(0.6)
async def latency_of_new_connections(world: World) -> Any:
    """What lasts is in force for connections to come; here: their first answer."""
    await world.ground.do(Latency(0.6, direction="to_device"))
    device = await world.dial()
    began = world.now
    device.transport.write(REQUEST)
    gateway = await world.gateway.next()
    await gateway.hears(1)
    gateway.transport.write(b"101")
    await device.hears(3)
    return world.since(began)


@sees((True, True))
async def jitter(world: World) -> Any:
    """Each piece is later by a different time, never out of order."""
    device, gateway = await world.pair()
    await world.ground.do(Latency(0.0, 0.05, on="a"))
    delays = []
    for number in range(12):
        began = world.now
        device.transport.write(b"%d" % (number % 10))
        await gateway.hears(len(REQUEST) + number + 1)
        delays.append(world.now - began)
    in_order = bytes(gateway.heard) == REQUEST + b"012345678901"
    return in_order, max(delays) - min(delays) > 0.01


@sees((0.0, 0.0))
async def healed_latency(world: World) -> Any:
    """After a heal everything is as before."""
    device, gateway = await world.pair()
    await world.ground.do(Latency(0.6))
    await world.ground.do(Heal(on="a"))
    began = world.now
    device.transport.write(b"ping")
    await gateway.hears(len(REQUEST) + 4)
    one_way = world.since(began)
    gateway.transport.write(b"pong")
    await device.hears(4)
    return one_way, world.since(began)


@sees((0.6, 6000))
async def bandwidth(world: World) -> Any:
    """So many bytes a second."""
    device, gateway = await world.pair()
    await world.ground.do(Bandwidth(10_000, on="a"))
    began = world.now
    device.transport.write(b"x" * 6000)
    heard = await gateway.hears(len(REQUEST) + 6000)
    return world.since(began), len(heard) - len(REQUEST)


@sees((7, 0.6))
async def slicer(world: World) -> Any:
    """Small pieces, one after the other."""
    device, gateway = await world.pair()
    pieces: list[bytes] = []
    take = gateway.data_received
    gateway.data_received = lambda data: (pieces.append(data), take(data))  # type: ignore[assignment,func-returns-value]
    await world.ground.do(Slicer(5, seconds=0.1, on="a"))
    began = world.now
    device.transport.write(b"x" * 35)
    await gateway.hears(len(REQUEST) + 35)
    return len(pieces), world.since(began)


@sees((["data", "eof", "lost"], b"12345", ["data", "eof", "lost"]))
async def limit_data(world: World) -> Any:
    """The connection ends once so many bytes have got through."""
    device, gateway = await world.pair()
    await world.ground.do(LimitData(5, direction="to_device", on="a"))
    gateway.transport.write(b"123")
    await device.hears(3)
    gateway.transport.write(b"4567")
    await device.ends()
    await gateway.ends()
    return device.said, bytes(device.heard), gateway.said


@sees((len(REQUEST), ["eof", "lost"]))
async def limit_data_of_new_connections(world: World) -> Any:
    """On a new connection it counts from the beginning."""
    await world.ground.do(LimitData(len(REQUEST), direction="to_gateway"))
    device, gateway = await world.pair()
    await device.ends()
    return len(gateway.heard), device.said


@sees((b"12345678", ["data"]))
async def healed_limit(world: World) -> Any:
    """After a heal any number of bytes gets through, on connections to come as well."""
    device, gateway = await world.pair()
    await world.ground.do(LimitData(5, on="a"))
    gateway.transport.write(b"123")
    await device.hears(3)
    await world.ground.do(Heal("limit_data"))
    gateway.transport.write(b"45678")
    heard = await device.hears(8)
    _, second = await world.pair("a", said=b"as long as it likes")
    return heard, second.said


@sees(([], ["data"], ["data", "eof", "lost"], ["eof", "lost"], 0.6))
async def timeout(world: World) -> Any:
    """Nothing gets through, then the connection ends."""
    device, gateway = await world.pair()
    began = world.now
    await world.ground.do(Timeout(0.6, on="a"))
    device.transport.write(b"to nobody")
    gateway.transport.write(b"to nobody")
    await quiet()
    before = list(device.said), list(gateway.said)
    await device.ends()
    await gateway.ends()
    return *before, gateway.said, device.said, world.since(began)


@sees((True, b"to the device"))
async def timeout_one_way(world: World) -> Any:
    """The other way goes on, and what is sent into the black hole is acknowledged."""
    device, gateway = await world.pair()
    await world.ground.do(Timeout(direction="to_gateway", on="a"))
    device.transport.write(b"to nobody")
    gateway.transport.write(b"to the device")
    heard = await device.hears(13)
    return bytes(gateway.heard) == REQUEST, heard


@sees((["eof", "lost"], b"after"))
async def healed_timeout(world: World) -> Any:
    """With a heal it ends those that it has silenced: their bytes are lost; new ones are fine."""
    device, _ = await world.pair()
    await world.ground.do(Timeout())
    silenced = await world.dial("b")
    silenced.transport.write(REQUEST)
    await quiet()
    await world.ground.do(Heal())
    await device.ends()
    await silenced.ends()
    _, second = await world.pair(said=b"after")
    return device.said, bytes(second.heard)


@sees((["data"], 0.6))
async def slow_close(world: World) -> Any:
    """The end comes later than what was said before it."""
    device, gateway = await world.pair()
    await world.ground.do(SlowClose(0.6, on="a"))
    began = world.now
    gateway.transport.write(b"bye")
    gateway.transport.close()
    await device.hears(3)
    before = list(device.said)
    await device.ends()
    return before, world.since(began)


@sees(([], ["data"], b"held", b"held too", True))
async def partition(world: World) -> Any:
    """Nothing gets through, and after a heal all of it does, with the next retransmission."""
    device, gateway = await world.pair()
    await world.ground.do(Partition(on="a"))
    device.transport.write(b"held")
    gateway.transport.write(b"held too")
    await quiet()
    before = list(device.said), list(gateway.said)
    await world.ground.do(Heal())
    healed = world.now
    await gateway.hears(len(REQUEST) + 4)
    await device.hears(8)
    return *before, bytes(gateway.heard)[len(REQUEST) :], bytes(device.heard), world.now - healed < 3.0


@sees((b"", b"arrives", b"held"))
async def partition_to_gateway(world: World) -> Any:
    """One way only, the other way gets through."""
    device, gateway = await world.pair()
    await world.ground.do(Partition("to_gateway", on="a"))
    device.transport.write(b"held")
    gateway.transport.write(b"arrives")
    heard = await device.hears(7)
    before = bytes(gateway.heard)[len(REQUEST) :]
    await world.ground.do(Heal())
    await gateway.hears(len(REQUEST) + 4)
    return before, heard, bytes(gateway.heard)[len(REQUEST) :]


@sees((b"", b"arrives", b"held"))
async def partition_to_device(world: World) -> Any:
    """The same the other way round."""
    device, gateway = await world.pair()
    await world.ground.do(Partition("to_device", on="a"))
    gateway.transport.write(b"held")
    device.transport.write(b"arrives")
    heard = (await gateway.hears(len(REQUEST) + 7))[len(REQUEST) :]
    before = bytes(device.heard)
    await world.ground.do(Heal())
    await device.hears(4)
    return before, heard, bytes(device.heard)


@sees(("TimeoutError", 0, b"after", "other"))
async def partition_of_new_connections(world: World) -> Any:
    """Who connects waits, and reaches nobody; after a heal it gets through; others are not concerned."""
    await world.ground.do(Partition(on="a"))
    try:
        await asyncio.wait_for(world.dial("a"), 0.1)
        result = "connected"
    except TimeoutError as error:
        result = type(error).__name__
    _, other = await world.pair("b", said=b"other")
    others = bytes(other.heard).decode()
    came = len(world.gateway.ends) - 1
    await world.ground.do(Heal())
    _, gateway = await world.pair("a", said=b"after")
    return result, came, bytes(gateway.heard), others


@sees((["data"], ["lost ConnectionResetError"]))
async def end_during_partition(world: World) -> Any:
    """What ends in a partition is not told; after the heal, what still comes for it is answered with RST."""
    device, gateway = await world.pair()
    await world.ground.do(Partition(on="a"))
    gateway.transport.write(b"x" * 10)  # unread at the device, whose socket is gone then: its end is a reset
    device.transport.abort()
    await quiet()
    before = list(gateway.said)
    await world.ground.do(Heal())
    gateway.transport.write(b"are you there?")
    await gateway.until(gateway.lost.done)
    return before, gateway.said[-1:]


# --- machines -------------------------------------------------------------------------------------------------------


@sees(("Network is unreachable", [], ["data"], b"held"))
async def wifi_off(world: World) -> Any:
    """Connecting fails at once; with the same address, an open connection goes on afterwards."""
    device, gateway = await world.pair()
    await world.ground.do(WifiOff(on="a"))
    device.transport.write(b"held")
    try:
        await world.dial("a")
        error = "none"
    except OSError as failure:
        error = str(failure.strerror)
    await quiet()
    before = list(device.said), list(gateway.said)
    await world.ground.do(WifiOn())
    await gateway.hears(len(REQUEST) + 4)
    return error, *before, bytes(gateway.heard)[len(REQUEST) :]


@sees((["data"], b"new"))
async def wifi_with_a_new_address(world: World) -> Any:
    """What was open is dead from both sides; new connections are fine."""
    device, gateway = await world.pair()
    await world.ground.do(WifiOff(on="a"))
    device.transport.write(b"lost")
    await world.ground.do(WifiOn(True))
    await asyncio.sleep(0.5)
    before = list(gateway.said)
    _, second = await world.pair(said=b"new")
    return before, bytes(second.heard)


@sees((["off", "on"], ["data"], "lost ConnectionResetError", [], b"booted"))
async def power_cut(world: World) -> Any:
    """It falls silent; with power again, what comes for its old connection is answered with RST."""
    device, gateway = await world.pair()
    await world.ground.do(PowerCut(on="a"))
    gateway.transport.write(b"are you there?")
    await quiet()
    before = list(gateway.said)
    await world.ground.do(PowerOn(on="a"))
    end = await gateway.ends()
    _, second = await world.pair(said=b"booted")
    return world.bodies["a"].told, before, end, device.said, bytes(second.heard)


@sees((["on"], b"still here"))
async def power_on_of_what_has_power(world: World) -> Any:
    """Nothing happens to its connections."""
    device, gateway = await world.pair()
    await world.ground.do(PowerOn(on="a"))
    gateway.transport.write(b"still here")
    return world.bodies["a"].told, await device.hears(10)


@sees(("lost", False, "CannotConnect", b"again"))
async def kill_gateway(world: World) -> Any:
    """Its sockets are closed for it, nobody can connect; started again, it is there."""
    device, _ = await world.pair()
    await world.ground.do(KillGateway())
    end = await device.ends()
    running = world.gateway.is_running
    try:
        late = await world.dial()
        late.transport.write(REQUEST)
        await late.ends()
        result = "CannotConnect" if not late.heard else "answered"
    except OSError:
        result = "CannotConnect"
    await world.ground.do(StartGateway())
    await world.ground.do(StartGateway())
    assert world.gateway.starts == 2
    _, second = await world.pair(said=b"again")
    return end, running, result, bytes(second.heard)


@pytest.fixture(scope="module")
def real() -> Any:
    """What is seen on sockets: many cases at once, as they do little but wait."""
    return at_once(seen_in, {name: case for name, (case, _) in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_simulated(name: str):
    """A fault does what it says on the simulated network."""
    case, expected = CASES[name]
    check(in_simulation(case), expected, slack=0.01)


@pytest.mark.parametrize("name", CASES)
def test_real(name: str, real: Callable[[str], Any]):
    """It does the same on real sockets."""
    check(real(name), CASES[name][1], slack=0.5)


def check(seen: Any, expected: Any, slack: float) -> None:
    """Compare; times may be so much longer."""
    for one, other in zip(*[part if isinstance(part, tuple) else (part,) for part in (seen, expected)], strict=True):
        if isinstance(other, float):
            assert other - 0.003 <= one <= other + slack
        else:
            assert one == other


def test_every_fault_has_a_case():
    """The table above leaves out only what one ground alone can do."""
    done = {name for name in KINDS if any(case.startswith(name) for case in CASES)}
    assert set(KINDS) - done == {"loss", "wifi_on", "start_gateway", "clock_step", "slow_disk"}
