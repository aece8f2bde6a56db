"""The simulated loop: from a seed to a run, and what asyncio asks of a loop."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from harness.simulation.loop import SimulatedLoop, loop_factory, run
from tests.harness.simulation.stage import host, sim, simulated


def test_run_returns_what_main_returns():
    """A coroutine function is given the loop, and its result is returned."""

    async def main(loop: SimulatedLoop) -> tuple[int, bool]:
        return loop.seed, loop is asyncio.get_running_loop()

    assert run(main, 17) == (17, True)


def test_run_raises_what_main_raises():
    """An exception comes out as it is."""

    async def main(_: SimulatedLoop) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_streams_are_independent():
    """What is drawn from one stream does not shift another, and a seed decides about all."""
    one, other, third = SimulatedLoop(1), SimulatedLoop(1), SimulatedLoop(2)
    try:
        one.stream("a").random()
        assert one.stream("b").random() == other.stream("b").random()
        assert one.stream("a").random() != other.stream("a").random()
        assert other.stream("b").random() != third.stream("b").random()
        assert one.stream("b") is one.stream("b")
    finally:
        for loop in (one, other, third):
            loop.close()


def test_factory_makes_equal_simulations():
    """Each loop of a factory is one of its own, from the same seed and settings."""
    make = loop_factory(5, keep_trace=True)
    found = []
    for _ in range(2):
        with asyncio.Runner(loop_factory=make) as runner:
            found.append(runner.run(drawn()))

    assert found[0] == found[1]


async def drawn() -> list[float]:
    """What the loop's chance and the global one say."""
    return [sim().stream("x").random(), random.random(), float(len(sim().network.hosts()))]


@simulated
async def test_streams_of_asyncio():
    """``asyncio.start_server`` and ``open_connection`` work, and a connection takes a round trip."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    async with await asyncio.start_server(answer, port=9) as server:
        began = sim().time()
        reader, writer = await asyncio.open_connection("localhost", 9)
        connected = sim().time()
        writer.write(b"abc\n")

        assert await reader.read() == b"ABC\n"
        assert connected - began == pytest.approx(0.001)
        assert sim().time() - connected == pytest.approx(0.001)
        assert server.sockets[0].getsockname() == ("127.0.0.1", 9)
        writer.close()
        await writer.wait_closed()


@simulated
async def test_names():
    """Names and addresses of hosts resolve; others do not."""
    gw = host("gw")
    ((*_, address),) = await sim().getaddrinfo("gw", 80)

    assert address == (gw.address, 80)
    assert await sim().getnameinfo((gw.address, 80)) == ("gw", "80")
    with pytest.raises(socket.gaierror, match="not known: nowhere"):
        await sim().getaddrinfo("nowhere", 80)


@simulated
async def test_server_of_several_addresses():
    """A server on several addresses of its host is one, as all of them are one."""
    server = await sim().create_server(asyncio.Protocol, ["127.0.0.1", "localhost"], 9)

    assert [sock.getsockname() for sock in server.sockets] == [("127.0.0.1", 9)]
    host("other")
    with pytest.raises(OSError, match="not an address of localhost"):
        await sim().create_server(asyncio.Protocol, "other", 9)


def test_disks_are_removed_with_the_loop():
    """Nothing of a simulation is left in the file system."""

    async def main(_: SimulatedLoop):
        path = host("gw").disk.path
        (path / "file").write_text("x")
        return path

    path = run(main)

    assert not path.exists()
    assert not path.parent.exists()
