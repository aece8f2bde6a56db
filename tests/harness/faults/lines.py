"""Real sockets with a proxy between them, and the waiting for what happens on them."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from harness.faults.passing import Closed
from harness.faults.proxied import Proxied
from harness.faults.proxy import TcpProxy
from tests.harness.simulation.stage import Ear

SOON = 5.0
"""Seconds for what takes a moment, on a machine that is busy."""
REQUEST = b"GET / HTTP/1.1\r\nDevice-Id: AA:BB:CC:DD:EE:FF\r\n\r\n"


class Mouth(Ear):
    """An end of a connection on which one can wait."""

    def __init__(self, **manners: Any) -> None:
        super().__init__(**manners)
        self._news = asyncio.Event()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds, which is looked at whenever it is told anything."""
        async with asyncio.timeout(SOON):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def hears(self, count: int) -> bytes:
        """Wait for so many bytes, and return all there are."""
        await self.until(lambda: len(self.heard) >= count)
        return bytes(self.heard)

    async def ends(self) -> str:
        """Wait for the end of the socket, and return what it was told last."""
        async with asyncio.timeout(SOON):
            await self.lost
        return self.said[-1]

    @property
    def unacknowledged(self) -> int:
        """Bytes that the peer's kernel has not acknowledged."""
        sock = self.transport.get_extra_info("socket")
        return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._news.set()

    def data_received(self, data: bytes) -> None:
        """Note bytes."""
        super().data_received(data)
        self._news.set()

    def eof_received(self) -> bool:
        """Note the end of the stream."""
        self._news.set()
        return super().eof_received()

    def pause_writing(self) -> None:
        """Note it."""
        super().pause_writing()
        self._news.set()

    def resume_writing(self) -> None:
        """Note it."""
        super().resume_writing()
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        super().connection_lost(exc)
        self._news.set()


class Line:
    """A server that stands for the gateway, a proxy in front of it, and what both have told.

    Attributes:
        manners: of the gateway's ends to come.
    """

    def __init__(self, **proxy: Any) -> None:
        self.records: list[Any] = []
        self.manners: dict[str, Any] = {}
        self.proxy = TcpProxy(self._watch, **proxy)
        self._news = asyncio.Event()
        self._came: asyncio.Queue[Mouth] = asyncio.Queue()
        self._ends: list[Mouth] = []
        self._server: asyncio.Server | None = None

    def _watch(self, record: Any) -> None:
        self.records.append(record)
        self._news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds, which is looked at whenever the proxy tells anything."""
        async with asyncio.timeout(SOON):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def open(self) -> None:
        """Listen, both."""
        self._server = await asyncio.get_running_loop().create_server(self._accept, "127.0.0.1", 0)
        await self.proxy.start()
        self.proxy.forward_to("127.0.0.1", self.port)

    async def close(self) -> None:
        """End everything."""
        await self.proxy.aclose()
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            if not end.lost.done():
                end.transport.abort()
                await end.lost

    @property
    def port(self) -> int:
        """Of the gateway itself."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def _accept(self) -> Mouth:
        end = Mouth(**self.manners)
        self._ends.append(end)
        self._came.put_nowait(end)
        return end

    async def device(self, **manners: Any) -> Mouth:
        """Connect to the proxy."""
        _, end = await asyncio.get_running_loop().create_connection(
            lambda: Mouth(**manners), "127.0.0.1", self.proxy.port
        )
        self._ends.append(end)
        return end

    async def gateway(self) -> Mouth:
        """Wait for the next connection that reaches the gateway."""
        async with asyncio.timeout(SOON):
            return await self._came.get()

    async def pair(self, said: bytes = REQUEST, **manners: Any) -> tuple[Mouth, Mouth, Proxied]:
        """Connect, say something, and return both ends, and the connection of the proxy."""
        device = await self.device(**manners)
        device.transport.write(said)
        gateway = await self.gateway()
        if not gateway.paused:
            await gateway.hears(len(said))
        return device, gateway, list(self.proxy.connections.values())[-1]

    async def closed(self, number: int = 1) -> str:
        """Wait until the proxy has told of the end of a connection, and return why it ended."""
        await self.until(lambda: any(one.connection == number for one in self.of(Closed)))
        return next(str(one.why) for one in self.of(Closed) if one.connection == number)

    def of(self, kind: type[Any]) -> list[Any]:
        """The records of one kind."""
        return [record for record in self.records if isinstance(record, kind)]


@asynccontextmanager
async def line(**proxy: Any) -> AsyncIterator[Line]:
    """A line that is open, and closed at the end."""
    opened = Line(**proxy)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()
