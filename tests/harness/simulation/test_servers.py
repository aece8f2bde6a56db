"""Listening: asyncio's server, and the gateway's network."""

from __future__ import annotations

import asyncio
import errno

import pytest

from gateway.errors import CannotListen, Misuse
from gateway.listening import ACCEPTS_PER_TURN, TCP_USER_TIMEOUT_MS
from gateway.protocol import limits
from harness.simulation.stream import Stream
from tests.harness.simulation.stage import Ear, host, sim, simulated


async def client(name: str = "localhost", port: int = 9) -> Ear:
    """Connect."""
    _, ear = await sim().create_connection(Ear, name, port)
    return ear


@simulated
async def test_port_in_use():
    """A port can be had once; free again after the close."""
    server = await sim().create_server(Ear, port=9)
    with pytest.raises(OSError, match="bind") as found:
        await sim().create_server(Ear, port=9)
    assert found.value.errno == errno.EADDRINUSE
    server.close()
    (await sim().create_server(Ear, port=9)).close()


@simulated
async def test_wait_closed():
    """A server is closed when it is told to and its connections are gone."""
    server = await sim().create_server(Ear, port=9)
    ear = await client()
    await asyncio.sleep(1)
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    waiting = asyncio.create_task(server.wait_closed())
    await asyncio.sleep(1)
    assert not waiting.done()
    ear.transport.close()
    await asyncio.sleep(1)
    assert waiting.done()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await client()


@simulated
async def test_clients_are_ended():
    """A server can close its connections, or abort them."""
    for end in ("close_clients", "abort_clients"):
        server = await sim().create_server(Ear, port=9)
        ear = await client()
        await asyncio.sleep(1)
        server.close()
        getattr(server, end)()
        await asyncio.wait_for(server.wait_closed(), 1)
        await asyncio.sleep(0.1)
        assert ear.said == ["eof", "lost"]


@simulated
async def test_serve_forever():
    """Cancelling it closes the server."""
    server = await sim().create_server(Ear, port=9, start_serving=False)
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0.1)
    assert server.is_serving()
    task.cancel()
    await asyncio.wait((task,))
    assert not server.is_serving()


@simulated
async def test_peers_wait_until_they_are_accepted():
    """A connection is complete before anybody accepts it, and what was sent by then is read."""
    heard: list[Ear] = []

    def accept() -> Ear:
        heard.append(Ear())
        return heard[-1]

    server = await sim().create_server(accept, port=9, start_serving=False)
    ear = await client()
    ear.transport.write(b"early")
    await asyncio.sleep(1)
    assert heard == []
    await server.start_serving()
    await asyncio.sleep(1)

    assert [bytes(one.heard) for one in heard] == [b"early"]


@simulated
async def test_closed_while_peers_wait():
    """Who waited to be accepted is reset when the listening ends."""
    server = await sim().create_server(Ear, port=9, start_serving=False)
    ear = await client()
    await asyncio.sleep(1)
    server.close()

    assert isinstance(await ear.lost, ConnectionResetError)


@simulated
async def test_full_backlog():
    """Past the backlog a SYN is dropped, and comes again after a second."""
    server = await sim().create_server(Ear, port=9, start_serving=False, backlog=1)
    await client()
    await asyncio.sleep(0.1)
    began = sim().time()
    second = asyncio.create_task(client())
    await asyncio.sleep(0.5)
    await server.start_serving()
    await second

    assert sim().time() - began == pytest.approx(1.001)


@simulated
async def test_factory_that_raises():
    """A factory that raises costs its connection, and is reported."""
    reported = []
    sim().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def accept() -> Ear:
        raise ZeroDivisionError

    await sim().create_server(accept, port=9)
    ear = await client()
    await ear.lost

    assert [type(error) for error in reported] == [ZeroDivisionError]


# --- the gateway's network --------------------------------------------------------------------------------------------


@simulated
async def test_gateway_network():
    """Its addresses are those of the host, its ports as given or free ones, and it serves both."""
    gw = host("gw")
    fixed, free = gw.listening(8000, 8003), gw.listening()

    assert fixed.addresses("websocket") == [f"{gw.address}:8000"]
    assert (fixed.port("websocket"), fixed.port("http")) == (8000, 8003)
    assert len({fixed.port("websocket"), fixed.port("http"), free.port("websocket"), free.port("http"), 0}) == 5
    assert list(fixed.warnings) == []
    await fixed.serve("websocket", Ear)
    with pytest.raises(Misuse, match="serve websocket once"):
        await fixed.serve("websocket", Ear)


@simulated
async def test_gateway_port_in_use():
    """A port that is in use is told as by the real network, and the other one is free then."""
    gw = host("gw")
    gw.listening(8000, 8003)
    with pytest.raises(
        CannotListen, match=rf"cannot listen on {gw.address}:8003: Address already in use \(held"
    ) as found:
        gw.listening(8001, 8003)
    assert found.value.cause.errno == errno.EADDRINUSE
    gw.listening(8001, 8004)
    with pytest.raises(CannotListen):
        gw.listening(9000, 9000)


@simulated
async def test_gateway_network_closes():
    """Closed, its ports are free; twice is as good as once."""
    gw = host("gw")
    network = gw.listening(8000, 8003)
    network.close()
    network.close()
    gw.listening(8000, 8003)


@simulated
async def test_gateway_sockets():
    """What the gateway accepts has the buffers and the user timeout that it sets on real sockets."""
    gw, made = host("gw"), list[Ear]()

    def accept() -> Ear:
        made.append(Ear(paused=True))
        return made[-1]

    network = gw.listening(8000, 8003)
    await network.serve("websocket", accept)
    ear = await client("gw", 8000)
    ear.transport.write(bytes(1 << 20))
    await asyncio.sleep(1)
    outgoing: Stream = ear.transport.end.outgoing  # type: ignore[attr-defined]
    assert outgoing.unacknowledged == (1 << 20) - limits.SOCKET_RECEIVE_BUFFER

    sim().network.partition("localhost", "gw")
    began = sim().time()
    made[0].transport.write(b"x")
    made[0].transport.resume_reading()
    assert isinstance(await made[0].lost, TimeoutError)
    assert sim().time() - began == pytest.approx(TCP_USER_TIMEOUT_MS / 1000, abs=0.01)


@simulated
async def test_gateway_accepts_some_a_turn():
    """A rush of connections is accepted in portions, one a turn."""
    gw, made = host("gw"), list[Ear]()

    def accept() -> Ear:
        made.append(Ear())
        return made[-1]

    network = gw.listening(8000, 8003)
    await asyncio.gather(*(client("gw", 8003) for _ in range(10)))
    await asyncio.sleep(1)
    await network.serve("http", accept)
    counts = []
    for _ in range(4):
        await asyncio.sleep(0)
        counts.append(len(made))

    assert ACCEPTS_PER_TURN["http"] == 4
    assert counts == [4, 8, 10, 10]
