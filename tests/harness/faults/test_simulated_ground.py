"""Faults that the simulated network alone can do, and what is exact there; `test_effects` has the others."""

from __future__ import annotations

import asyncio
import time

import pytest

from harness.errors import Misuse
from harness.faults.faults import Faults
from harness.faults.simulated_ground import SimulatedGround, link_in
from harness.faults.vocabulary import (
    GATEWAY,
    KINDS,
    Bandwidth,
    ClockStep,
    Heal,
    KillGateway,
    Latency,
    Loss,
    Partition,
    PowerCut,
    PowerOn,
    Slicer,
    SlowClose,
    SlowDisk,
    StartGateway,
    Timeout,
)
from harness.faults.weather import Weather
from harness.simulation.links import Link, Slices
from tests.harness.faults.lines import REQUEST
from tests.harness.faults.worlds import World, in_simulation
from tests.harness.simulation.stage import host, sim, simulated


def test_all_faults():
    """It lacks none."""
    assert SimulatedGround.possible == frozenset(KINDS)


def test_loss():
    """A lost segment comes a retransmission later."""

    async def case(world: World) -> None:
        device, gateway = await world.pair()
        await world.ground.do(Loss(0.2, direction="to_gateway", on="a"))
        delays = []
        for number in range(1, 31):
            began = world.now
            device.transport.write(b"x")
            await gateway.hears(len(REQUEST) + number)
            delays.append(world.now - began)
        assert min(delays) == pytest.approx(0.0005)
        assert max(delays) > 1.5  # of lwIP
        assert 2 < sum(delay > 1 for delay in delays) < 15

    in_simulation(case)


def test_clock_step():
    """The wall clock of one machine jumps, that of the others and loop time do not."""

    async def case(world: World) -> None:
        async def now() -> float:
            return time.time()

        before = time.time()
        await world.ground.do(ClockStep(3600, on=GATEWAY))
        await world.ground.do(ClockStep(-60, on="a"))
        await world.ground.do(ClockStep(-60, on="a"))
        clocks = [await host(name).spawn(now()) - before for name in ("gw", "a", "b")]
        assert clocks == pytest.approx([3600, -120, 0])
        assert world.now == 0.0

    in_simulation(case)


def test_slow_disk():
    """Work in the executor takes so long, and after a heal as long as before."""

    async def case(world: World) -> None:
        async def seconds() -> float:
            began = world.now
            await sim().run_in_executor(None, int)
            return world.now - began

        usual = sim().executor_time
        await world.ground.do(SlowDisk(0.1))
        assert await seconds() == pytest.approx(0.1)
        await world.ground.do(Heal("partition"))
        assert await seconds() == pytest.approx(0.1)
        await world.ground.do(Heal())
        assert sim().executor_time == usual
        assert await seconds() < 0.01

    in_simulation(case)


def test_power_cut_of_the_gateway():
    """It falls silent, and is there again with its power."""

    async def case(world: World) -> None:
        device, _ = await world.pair()
        await world.ground.do(PowerCut(on=GATEWAY))
        device.transport.write(b"are you there?")
        await world.pair_fails()
        assert device.said == []
        await world.ground.do(PowerOn(on=GATEWAY))
        await world.ground.do(PowerOn(on=GATEWAY))
        assert await device.ends() == "lost ConnectionResetError"
        assert world.gateway.starts == 2
        await world.pair()

    in_simulation(case)


def test_two_that_start_the_gateway():
    """It is started once, whoever comes first."""

    async def case(world: World) -> None:
        await world.ground.do(PowerCut(on=GATEWAY))
        await asyncio.gather(*map(world.ground.do, (PowerOn(on=GATEWAY), StartGateway(), StartGateway())))
        assert world.gateway.starts == 2
        await world.pair()

    in_simulation(case)


@simulated
async def test_without_a_gateway():
    """Where no gateway was started yet, none can die."""
    ground = SimulatedGround(sim())
    ground.add_device("a")
    await ground.do(Latency(0.1))
    with pytest.raises(Misuse, match="a gateway that has been started, for kill_gateway"):
        await ground.do(KillGateway())


def test_gateway_that_comes_later():
    """What is in force is in force for gateways to come."""

    async def case(world: World) -> None:
        await world.ground.do(Latency(0.2, on="a"))
        other = type(world.gateway)(host("gw-2"))
        await other.start()
        world.simulated.add_gateway(other)
        assert sim().network.path("a", "gw-2").link.latency == pytest.approx(0.2005)
        assert sim().network.path("b", "gw-2").link.latency == pytest.approx(0.0005)

    in_simulation(case)


def test_names_of_hosts():
    """A device cannot have the name of another machine."""

    async def case(world: World) -> None:
        for name in ("gw", "localhost"):
            with pytest.raises(Misuse, match="a host of its own"):
                world.ground.add_device(name)

    in_simulation(case)


def test_links_of_the_test_itself():
    """A link that the test has set is the good weather that faults make worse, and that a heal brings back."""

    async def case(world: World) -> None:
        sim().network.link("a", "gw", latency=0.1, bandwidth=1000.0)
        await world.ground.do(Latency(0.2))
        assert sim().network.path("a", "gw").link == Link(latency=pytest.approx(0.3), bandwidth=1000.0)
        await world.ground.do(Heal())
        assert sim().network.path("a", "gw").link == Link(latency=0.1, bandwidth=1000.0)

    in_simulation(case)


def test_trace():
    """Faults stand in the trace."""

    async def case(world: World) -> None:
        await Faults(world.ground, print).partition("a")
        assert sim().trace.lines[-1] == "0.000000000 fault partition on a"

    in_simulation(case)


def test_links():
    """What becomes of a link in bad weather."""
    weather = Weather()
    for fault in (Latency(0.2, 0.1), Bandwidth(5000.0), Loss(0.1), SlowClose(2.0), Slicer(10, 5, 0.5)):
        weather.add(fault)
    weather.add(Partition("to_device"))
    bad = link_in(weather.over("a"), "to_gateway", Link(latency=0.1, jitter=0.1, fragment="byte"))
    assert bad == Link(
        latency=pytest.approx(0.3),
        jitter=pytest.approx(0.2),
        bandwidth=5000.0,
        loss=0.1,
        slow_close=2.0,
        fragment=Slices(average=10, variation=5, seconds=0.5),
    )
    assert link_in(Weather().over("a"), "to_gateway", Link(loss=0.5)) == Link(loss=0.5)


def test_black_hole_that_its_device_has_left():
    """A connection that `Timeout` has silenced ends with it, whoever has given up his end of it meanwhile."""

    async def case(world: World) -> None:
        device, gateway = await world.pair()
        await world.ground.do(Timeout())
        device.transport.abort()
        await asyncio.sleep(1)
        assert gateway.said == ["data"]
        await world.ground.do(Heal())
        assert await gateway.ends() == "lost"

    in_simulation(case)


def test_black_hole_whose_device_dies():
    """Its time is over all the same: who connected into it is not who keeps it."""

    async def case(world: World) -> None:
        _, gateway = await world.pair()
        await world.ground.do(Timeout(5.0, "to_device", on="a"))
        _, at_other = await world.pair()
        await world.ground.do(PowerCut(on="a"))
        await asyncio.sleep(4.9)
        assert (gateway.said, at_other.said) == (["data"], ["data"])
        await asyncio.sleep(0.2)
        assert (gateway.said, at_other.said) == (["data", "eof", "lost"],) * 2

    in_simulation(case)
