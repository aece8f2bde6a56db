"""The network: names, links, and what goes wrong with them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.device.kernel_queue import UNSENT_BYTES
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


@simulated
async def test_cut_by_a_middlebox():
    """Both ends get FIN behind what has arrived; what was on its way is lost, and nobody waits for it."""
    near, far = await joined()
    far.transport.write(b"arrives")
    await asyncio.sleep(0.1)
    near.keeps = True
    far.transport.write(b"too late")
    near.transport.write(b"too late")

    sim().network.cut("localhost", "gw")
    await asyncio.sleep(0.1)

    assert near.said == ["data", "eof"]
    assert bytes(near.heard) == b"arrives"
    assert far.said == ["eof", "lost"]
    near.transport.write(b"x" * (1 << 20))
    near.transport.close()
    await asyncio.sleep(0.1)
    assert near.said == ["data", "eof", "lost"]
    assert sim().network.connections("localhost", "gw") == 0


@pytest.mark.parametrize("how", ["partition", "close", "reset", "forget"])
def test_cut_of_one_that_is_in_trouble(how: str):
    """A cut ends it whatever else has befallen it: both ends are told, and no kernel keeps it."""

    @simulated
    async def scenario() -> None:
        near, far = await joined()
        match how:
            case "partition":
                sim().network.partition("localhost", "gw")
                near.transport.write(b"lost")
                await asyncio.sleep(1)
            case "forget":
                sim().network.forget("localhost", "gw")
                far.transport.write(b"lost")
                await asyncio.sleep(1)
            case "close":
                near.transport.close()
                await asyncio.sleep(0)
            case "reset":
                far.transport.pause_reading()
                near.transport.write(b"unread")
                await asyncio.sleep(0.1)
                far.transport.close()
                await asyncio.sleep(0)

        sim().network.cut("localhost", "gw")
        await asyncio.sleep(0.1)

        assert near.lost.done()
        assert far.lost.done()
        await asyncio.sleep(1000)
        assert sim().network.connections("localhost", "gw") == 0

    scenario()


@simulated
async def test_limit():
    """A connection ends once so many bytes have arrived."""
    near, far = await joined()
    for end in sim().network.between("localhost", "gw"):
        end.incoming.limit = end.incoming.arrived + 5
    far.transport.write(b"123")
    await asyncio.sleep(0.1)
    assert near.said == ["data"]
    far.transport.write(b"456")
    await asyncio.sleep(0.1)

    assert bytes(near.heard) == b"12345"
    assert near.said == ["data", "eof", "lost"]
    assert far.said == ["eof", "lost"]


@simulated
async def test_slow_close():
    """The end of a stream comes later; what was sent before it does not."""
    near, far = await joined()
    sim().network.link("gw", "localhost", slow_close=3.0, both=False)
    began = sim().time()
    far.transport.write(b"last words")
    far.transport.close()
    await asyncio.sleep(0.1)
    assert near.said == ["data"]

    await near.lost
    assert sim().time() - began == pytest.approx(3.0, abs=0.01)


@simulated
async def test_host_without_network():
    """Where there is no network, connecting fails at once; to itself a host can still connect."""
    device = host("device")
    host("gw")
    device.online = False
    with pytest.raises(OSError, match="unreachable"):
        await device.spawn(sim().create_connection(Ear, "gw", 9))
    with pytest.raises(ConnectionRefusedError):
        await device.spawn(sim().create_connection(Ear, "localhost", 9))


@simulated
async def test_joined():
    """Who wants to know of new connections is told before anything travels on them."""
    ends = []
    sim().network.joined = ends.append
    await joined()

    assert [(end.own_address[0], end.incoming.arrived, end.outgoing.arrived) for end in ends] == [("127.0.0.1", 0, 0)]


@simulated
async def test_swallowed_by_a_middlebox():
    """What is sent is acknowledged and goes nowhere, RST too, and nobody gives up, whatever the link was before."""
    near, far = await joined()
    sim().network.partition("localhost", "gw")
    near.transport.write(b"stalled")
    await asyncio.sleep(1)
    for end in sim().network.between("localhost", "gw"):
        end.outgoing.swallow()
    assert near.transport.get_extra_info(UNSENT_BYTES)() == 0
    await asyncio.sleep(2000)
    assert (near.said, far.said) == ([], [])

    sim().network.heal("localhost", "gw")
    far.transport.write(b"swallowed")
    far.transport.pause_reading()
    near.transport.write(b"swallowed")
    for end in sim().network.between("localhost", "gw"):
        end.reset()
        break
    await asyncio.sleep(10)
    assert (near.said, far.said) == ([], [])


@simulated
async def test_reading_what_came_before_a_middlebox_swallowed():
    """What has arrived can still be read, over a link that is down as well, and the connection still ends."""
    near, far = await joined()
    far.transport.pause_reading()
    near.transport.write(b"x" * 100_000)
    await asyncio.sleep(0.1)
    sim().network.partition("localhost", "gw")
    for end in sim().network.between("localhost", "gw"):
        end.outgoing.swallow()
    far.transport.resume_reading()
    await asyncio.sleep(0.1)
    assert len(far.heard) == 100_000

    near.transport.close()
    far.transport.close()
    await asyncio.sleep(0.1)
    assert sim().network.connections("localhost", "gw") == 0


@simulated(seed=2)
async def test_connecting_over_a_lossy_link():
    """SYNs and their answers are lost as all segments are, and sent anew after the time of the profile."""
    await host("gw").spawn(sim().create_server(Ear, port=9))
    sim().network.link("localhost", "gw", loss=0.3)
    waits = []
    for _ in range(30):
        began = sim().time()
        await sim().create_connection(Ear, "gw", 9)
        waits.append(round(sim().time() - began, 3))

    assert 5 < sum(wait >= 1.0 for wait in waits) < 25
    assert set(waits) <= {0.001, *(retried + late for retried in (1.0, 3.0, 7.0) for late in (0.001, 0.0, 0.002))}
