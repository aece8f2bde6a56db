"""The network: names, links, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from harness.errors import Misuse
from harness.simulation.links import Link
from harness.simulation.profiles import ESP32, LINUX
from tests.harness.simulation.stage import Ear, host, sim, simulated


async def joined() -> tuple[Ear, Ear]:
    """A connection from the test to the host gw."""
    ears: list[Ear] = []

    def accept() -> Ear:
        ears.append(Ear())
        return ears[-1]

    await host("gw").spawn(sim().create_server(accept, port=9))
    _, near = await sim().create_connection(Ear, "gw", 9)
    await asyncio.sleep(0.1)
    return near, ears[0]


@simulated
async def test_hosts():
    """A host is made when it is first named, with an address of its own."""
    gw, d1 = host("gw"), host("d1", ESP32)

    assert host("gw") is gw
    assert gw.profile is LINUX
    assert d1.profile is ESP32
    assert host("d1") is d1
    assert len({gw.address, d1.address, "127.0.0.1"}) == 3
    assert sim().network.hosts() == [sim().network.default_host, gw, d1]
    with pytest.raises(Misuse, match="host gw to be new"):
        host("gw", ESP32)


@simulated
async def test_unknown_host():
    """A fault between hosts that are not there is a mistake of the test."""
    host("gw")
    with pytest.raises(Misuse, match=r"one of the hosts localhost, gw, found 'gv'"):
        sim().network.partition("localhost", "gv")


@simulated
async def test_lost_name():
    """A name can be lost for a while; the address still works."""
    gw = host("gw")
    sim().network.lost_names.add("gw")
    with pytest.raises(socket.gaierror, match="Temporary failure") as found:
        await sim().create_connection(Ear, "gw", 9)
    assert found.value.errno == socket.EAI_AGAIN
    with pytest.raises(ConnectionRefusedError):
        await sim().create_connection(Ear, gw.address, 9)
    sim().network.lost_names.clear()
    with pytest.raises(ConnectionRefusedError):
        await sim().create_connection(Ear, "gw", 9)


@simulated
async def test_link_changes_what_is_named():
    """Of a link only what is named is changed, both ways or one way."""
    network = sim().network
    for name in "abc":
        host(name)
    network.default_link = Link(latency=0.25, jitter=0.125)
    network.link("a", "b", latency=0.5)
    network.link("a", "b", bandwidth=1000, both=False)

    assert network.path("a", "b").link == Link(latency=0.5, jitter=0.125, bandwidth=1000)
    assert network.path("b", "a").link == Link(latency=0.5, jitter=0.125)
    assert network.path("a", "c").link == network.default_link


@simulated
async def test_latency_both_ways():
    """Connecting takes one latency there and one back."""
    host("gw")
    sim().network.link("localhost", "gw", latency=0.3)
    sim().network.link("gw", "localhost", latency=0.2, both=False)
    began = sim().time()
    with pytest.raises(ConnectionRefusedError):
        await sim().create_connection(Ear, "gw", 9)

    assert sim().time() - began == pytest.approx(0.5)


@pytest.mark.parametrize("cut", ["both ways", "there", "back"])
@simulated
async def test_connecting_through_a_partition(cut: str):
    """A SYN into a partition, or one whose answer is lost, is sent again after 1 s, then after 2 s more."""
    network, server = sim().network, host("gw").spawn(sim().create_server(Ear, port=9))
    await server
    ends = ("gw", "localhost") if cut == "back" else ("localhost", "gw")
    network.partition(*ends, both=cut == "both ways")
    connecting = asyncio.create_task(sim().create_connection(Ear, "gw", 9))
    began = sim().time()
    await asyncio.sleep(2)
    network.heal("localhost", "gw")
    await connecting

    assert sim().time() - began == pytest.approx(3.001)


@simulated
async def test_forgotten_by_a_middlebox():
    """On a forgotten connection nothing gets through, either way, and nobody is told; a new one works."""
    near, far = await joined()
    sim().network.forget("localhost", "gw")
    near.transport.write(b"hello")
    far.transport.write(b"hello")
    await asyncio.sleep(60)
    assert (near.said, far.said) == ([], [])
    _, again = await sim().create_connection(Ear, "gw", 9)
    assert sim().network.connections("localhost", "gw") == 2

    assert isinstance(await near.lost, TimeoutError)
    assert again.said == []


@simulated
async def test_reset_by_a_middlebox():
    """A reset from outside ends both ends."""
    near, far = await joined()
    sim().network.reset("gw", "localhost")
    await asyncio.sleep(0.1)

    assert (near.said, far.said) == (["lost ConnectionResetError"], ["lost ConnectionResetError"])
    assert sim().network.connections("localhost", "gw") == 0


@simulated
async def test_no_connection_is_left():
    """Connections that have ended are not counted."""
    near, _ = await joined()
    assert sim().network.connections("localhost", "gw") == 1
    near.transport.close()
    await asyncio.sleep(1)

    assert sim().network.connections("localhost", "gw") == 0


@simulated(keep_trace=True)
async def test_what_is_traced():
    """A trace tells of connections, segments, ends, and faults."""
    near, _ = await joined()
    near.transport.write(b"hello")
    await asyncio.sleep(0.1)
    sim().network.partition("localhost", "gw", both=False)
    near.transport.close()
    await asyncio.sleep(0.3)
    sim().network.heal("localhost", "gw")
    await asyncio.sleep(5)
    host("gw").kill()

    kinds = [line.split(" ", 1)[1] for line in sim().trace.lines]
    assert kinds == [
        "connect 1 localhost:40001 gw:9",
        "data 1> 5 3610a686",
        "partition localhost gw one way",
        "stall 1>",
        "heal localhost gw",
        "again 1>",
        "fin 1>",
        "fin 1<",
        "kill gw",
    ]
