"""What the peer's TCP has not taken, on real sockets and on a transport without a kernel."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.device.kernel_queue import UNSENT_BYTES, unsent_bytes

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the length of its send queue")

DEADLINE = 5.0


class Connected:
    """One real connection: our transport, and the peer's socket, which reads only when told."""

    def __init__(self, transport: asyncio.Transport, peer: socket.socket) -> None:
        self.transport = transport
        self.peer = peer


async def until(reached: Callable[[], bool]) -> None:
    """Wait for the kernel to have come to a state, which it does not announce."""
    async with asyncio.timeout(DEADLINE):
        while not reached():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    """A connection with small kernel buffers, so that little is needed to stall it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening, socket.socket() as peer:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        peer.connect(listening.getsockname())
        accepted, _ = listening.accept()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
        yield Connected(transport, peer)
        transport.abort()
        await asyncio.sleep(0)


@needs_linux
async def test_nothing_written(connected: Connected):
    """A fresh connection has nothing unsent."""
    assert unsent_bytes(connected.transport) == 0


@needs_linux
async def test_small_write(connected: Connected):
    """A small message is soon with the peer's kernel, though nobody there reads."""
    connected.transport.write(b"hello")

    await until(lambda: unsent_bytes(connected.transport) == 0)


@needs_linux
async def test_stalled_reader(connected: Connected):
    """What a peer that does not read has no room for stays counted, in the kernel and above it; reading ends it."""
    connected.transport.write(bytes(1 << 20))
    await until(lambda: (unsent_bytes(connected.transport) or 0) < 1 << 20)

    stalled = unsent_bytes(connected.transport)

    assert stalled is not None
    assert stalled > connected.transport.get_write_buffer_size() > 0
    connected.peer.setblocking(False)
    loop = asyncio.get_running_loop()
    received = 0
    async with asyncio.timeout(DEADLINE):
        while received < 1 << 20:
            received += len(await loop.sock_recv(connected.peer, 1 << 16))
    await until(lambda: unsent_bytes(connected.transport) == 0)


@needs_linux
async def test_reset_is_no_delivery(connected: Connected):
    """When the peer resets the connection, what it had not taken does not turn to 0."""
    connected.transport.write(bytes(1 << 20))
    connected.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.peer.close()

    assert unsent_bytes(connected.transport) != 0
    await until(connected.transport.is_closing)
    assert unsent_bytes(connected.transport) != 0


@needs_linux
async def test_closed_socket(connected: Connected):
    """Of a closed socket nothing can be known."""
    connected.transport.abort()

    await until(lambda: unsent_bytes(connected.transport) is None)


class Simulated(asyncio.Transport):
    """A transport without a socket."""

    def __init__(self, extra: dict[str, Any]) -> None:
        super().__init__(extra)

    def get_write_buffer_size(self) -> int:
        """Something that must not be added to the transport's own answer."""
        return 1000


def test_transport_that_answers_itself():
    """A simulated transport's answer is taken as it is."""
    assert unsent_bytes(Simulated({UNSENT_BYTES: lambda: 7})) == 7


def test_transport_without_socket():
    """Where there is neither a socket nor an answer, it cannot be known."""
    assert unsent_bytes(Simulated({})) is None


def test_other_systems(monkeypatch: pytest.MonkeyPatch):
    """On another system than Linux it cannot be known."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket() as sock:
        assert unsent_bytes(Simulated({"socket": sock})) is None
