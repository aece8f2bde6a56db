"""The proxy on real sockets: what it passes on, how connections end in it, and how it ends itself."""

from __future__ import annotations

import asyncio
import random
import socket

import pytest

from harness.errors import Misuse
from harness.faults import proxy as proxy_module
from harness.faults.passing import Closed, Identified, Opened, Passed
from harness.faults.proxy import TcpProxy
from tests.harness.faults.lines import REQUEST, Mouth, line


async def test_passes_bytes_both_ways():
    """All bytes arrive, in order, however they were written; the watch sees them as they pass."""
    chance = random.Random(4)
    data = chance.randbytes(300_000)
    async with line() as between:
        device, gateway, _ = await between.pair()
        at = 0
        while at < len(data):
            size = chance.randint(1, 40_000)
            device.transport.write(data[at : at + size])
            gateway.transport.write(data[at : at + size])
            at += size
            await asyncio.sleep(0)

        assert await gateway.hears(len(REQUEST) + len(data)) == REQUEST + data
        assert await device.hears(len(data)) == data
        passed = between.of(Passed)
        up = b"".join(record.data for record in passed if record.direction == "to_gateway")
        down = b"".join(record.data for record in passed if record.direction == "to_device")
        assert (up, down) == (REQUEST + data, data)


async def test_several_connections():
    """Connections are numbered in the order in which they come, and do not mix."""
    async with line() as between:
        pairs = [await between.pair(said=b"hello %d" % number) for number in range(5)]
        for number, (device, gateway, connection) in enumerate(pairs):
            assert connection.number == number + 1
            assert bytes(gateway.heard) == b"hello %d" % number
            gateway.transport.write(b"answer %d" % number)
            assert await device.hears(8) == b"answer %d" % number
        assert [record.connection for record in between.of(Opened)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("head", "device"),
    [
        (REQUEST, "aa:bb:cc:dd:ee:ff"),
        (b"GET / HTTP/1.1\r\nHost: x\r\ndevice_id:\t d-1 \r\n\r\n", "d-1"),
        (b"GET / HTTP/1.1\r\nX-Device-Id: d-1\r\n\r\n", "d-1"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nDevice-Id: d-1\r\n", ""),
        (b"\x16\x03\x01 TLS \r\n", ""),
    ],
)
@pytest.mark.parametrize("singly", [False, True])
async def test_identifies_devices(head: bytes, device: str, singly: bool):
    """A request says whose it is, in whatever pieces it comes; what is no request does not."""
    async with line() as between:
        end = await between.device()
        for piece in [bytes([byte]) for byte in head] if singly else [head]:
            end.transport.write(piece)
            await asyncio.sleep(0)
        gateway = await between.gateway()

        assert await gateway.hears(len(head)) == head
        assert between.proxy.connections[1].device == device
        assert [record.device for record in between.of(Identified)] == ([device] if device else [])


async def test_head_without_end():
    """What never ends its head is passed on, and is not kept."""
    async with line() as between:
        device, gateway, connection = await between.pair(said=b"x" * 40_000)
        device.transport.write(b"\r\nDevice-Id: late\r\n\r\n")
        await gateway.hears(40_021)
        assert connection.device == ""


async def test_device_closes():
    """FIN of the device reaches the gateway, whose own then ends it."""
    async with line() as between:
        device, gateway, _ = await between.pair()
        device.transport.close()

        assert await gateway.ends() == "lost"
        assert gateway.said == ["data", "eof", "lost"]
        assert await between.closed() == "closed by the device"
        assert between.proxy.connections == {}


async def test_gateway_closes():
    """FIN of the gateway reaches the device, behind what it has said."""
    async with line() as between:
        device, gateway, _ = await between.pair()
        gateway.transport.write(b"bye")
        gateway.transport.close()

        assert await device.ends() == "lost"
        assert device.said == ["data", "eof", "lost"]
        assert bytes(device.heard) == b"bye"
        assert await between.closed() == "closed by the gateway"


async def test_half_close():
    """A side that has ended can still be answered."""
    async with line() as between:
        between.manners = {"keeps": True}
        device, gateway, _ = await between.pair()
        device.transport.write_eof()
        await gateway.until(lambda: "eof" in gateway.said)
        gateway.transport.write(b"answer")
        assert await device.hears(6) == b"answer"
        gateway.transport.close()

        assert await device.ends() == "lost"
        assert await between.closed() == "closed by the device"


@pytest.mark.parametrize("by", ["device", "gateway"])
async def test_reset(by: str):
    """RST of one side is RST for the other."""
    async with line() as between:
        between.manners = {"paused": by == "gateway"}
        device, gateway, _ = await between.pair(paused=by == "device")
        resets, other = (device, gateway) if by == "device" else (gateway, device)
        other.transport.write(b"never read")
        await between.until(lambda: any(record.data == b"never read" for record in between.of(Passed)))
        await asyncio.sleep(0.01)  # the kernel's way to the socket
        resets.transport.abort()  # with something unread: RST

        assert await other.ends() == "lost ConnectionResetError"
        assert await between.closed() == f"reset by the {by}"


async def test_device_that_says_nothing():
    """The gateway is dialled with the first bytes; who goes before that has never been there."""
    async with line() as between:
        silent = await between.device()
        await asyncio.sleep(0.02)
        silent.transport.close()
        assert await between.closed() == "closed by the device"

        _, gateway, _ = await between.pair()
        assert bytes(gateway.heard) == REQUEST


async def test_forward_to():
    """New connections go where they are told to; open ones stay; with nowhere to go they are reset."""
    async with line() as between, line() as other:
        device, gateway, _ = await between.pair()
        between.proxy.forward_to("127.0.0.1", other.port)
        second = await between.device()
        second.transport.write(b"moved")
        assert await (await other.gateway()).hears(5) == b"moved"
        device.transport.write(b" stays")
        assert await gateway.hears(len(REQUEST) + 6) == REQUEST + b" stays"

        between.proxy.forward_to(None)
        third = await between.device()
        assert await third.ends() == "lost ConnectionResetError"
        assert await between.closed(3) == "there is no gateway behind the proxy"
        between.proxy.forward_to("127.0.0.1", between.port)
        fourth = await between.device()
        fourth.transport.write(b"back")
        assert await (await between.gateway()).hears(4) == b"back"


async def test_unreachable_gateway():
    """A device whose gateway cannot be reached is reset, and the record says why."""
    async with line() as between:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            free = taken.getsockname()[1]
        between.proxy.forward_to("127.0.0.1", free)
        device = await between.device()
        device.transport.write(REQUEST)

        assert await device.ends() == "lost ConnectionResetError"
        assert "could not be reached: " in await between.closed()


async def test_back_pressure():
    """A gateway that does not read makes the device wait; what the proxy holds is bounded, and nothing is lost."""
    total = 24 << 20
    async with line() as between:
        between.manners = {"paused": True}
        device, gateway, _ = await between.pair()
        device.transport.write(b"x" * total)
        before = -1
        while (passed := sum(len(record.data) for record in between.of(Passed))) != before or passed == 0:
            before = passed
            await asyncio.sleep(0.05)
        assert passed < total / 2  # the buffers of two kernels, and the proxy's own
        assert device.said == ["pause"]

        gateway.transport.resume_reading()
        await gateway.hears(total + len(REQUEST))
        assert device.said == ["pause", "resume"]


async def test_start_and_port():
    """The port is stable, and only there once it is started; it starts once."""
    proxy = TcpProxy()
    with pytest.raises(Misuse, match="await start"):
        _ = proxy.port
    with pytest.raises(Misuse, match="await start"):
        proxy.hear(False)
    await proxy.start()
    port = proxy.port
    with pytest.raises(Misuse, match="never started"):
        await proxy.start()
    proxy.forward_to(None)
    assert proxy.port == port
    await proxy.aclose()
    with pytest.raises(Misuse, match="never started"):
        await proxy.start()

    again = TcpProxy()
    await again.start(port=port)
    assert again.port == port
    await again.aclose()


async def test_close():
    """At the end nobody is listened to, all sockets are gone, and calling it again, or twice at once, is nothing."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        silent, _, other = await between.pair()
        other.silence()
        waiting = await between.device()
        port = between.proxy.port

        await asyncio.gather(between.proxy.aclose(), between.proxy.aclose())
        await between.proxy.aclose()

        assert connection.closed.is_set()
        assert other.closed.is_set()
        assert {record.why for record in between.of(Closed)} == {"the proxy was closed"}
        for end in (device, gateway, silent, waiting):
            await end.ends()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().create_connection(Mouth, "127.0.0.1", port)


async def test_close_while_it_dials():
    """A connection whose gateway does not answer ends with the proxy, at once."""
    async with line() as between:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            address = full.getsockname()
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            between.proxy.forward_to(*address)
            device = await between.device()
            device.transport.write(REQUEST)
            await between.until(lambda: between.of(Identified))

            async with asyncio.timeout(1.0):
                await between.proxy.aclose()
            assert await device.ends() in ("lost", "lost ConnectionResetError")
            for filler in fillers:
                filler.close()


async def test_close_before_start():
    """A proxy that was never started can be closed."""
    await TcpProxy().aclose()


async def test_silent_connections_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """Connections in which nothing passes any more are kept, but not without end: the oldest go first."""
    monkeypatch.setattr(proxy_module, "SILENT", 2)
    async with line() as between:
        for _ in range(4):
            _, _, connection = await between.pair()
            connection.silence()
            between.proxy.silenced()
        await between.closed(1)
        await between.closed(2)
        assert list(between.proxy.connections) == [3, 4]
