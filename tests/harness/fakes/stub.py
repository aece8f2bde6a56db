"""A server that does exactly what a test tells it to, for what a real gateway never does."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

from websockets.frames import Close, Frame, Opcode
from websockets.utils import accept_key

from harness.fakes.device import FakeDevice

SOON = 5.0
"""Seconds for anything that happens at once."""


class Stub:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = b""

    async def read_request(self) -> bytes:
        """Read the upgrade request, and nothing behind it."""
        self.request = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON)
        return self.request

    async def accept(self) -> None:
        """Read the upgrade request and answer 101."""
        await self.read_request()
        self.writer.write(self.switching_protocols())

    def switching_protocols(self) -> bytes:
        """The 101 answer to the request."""
        headers = dict(line.split(": ", 1) for line in self.request.decode().split("\r\n")[1:-2])
        return (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(headers['Sec-WebSocket-Key'])}\r\n\r\n"
        ).encode()

    def send(self, message: Any) -> None:
        """Send a JSON message."""
        self.frame(Opcode.TEXT, json.dumps(message).encode())

    def frame(self, opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one frame."""
        self.writer.write(Frame(opcode, payload, fin).serialize(mask=False))

    def close(self, code: int, reason: str = "") -> None:
        """Send a Close frame."""
        self.frame(Opcode.CLOSE, Close(code, reason).serialize())

    async def read_frame(self) -> tuple[Opcode, bytes]:
        """Read one frame, whole and masked as a client's must be."""
        async with asyncio.timeout(SOON):
            first, second = await self.reader.readexactly(2)
            assert first & 0x80, "the firmware does not fragment"
            assert second & 0x80, "a client's frames are masked"
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            mask = await self.reader.readexactly(4)
            masked = await self.reader.readexactly(size)
        return Opcode(first & 0x0F), bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))

    async def read_message(self) -> Any:
        """Read one JSON message."""
        opcode, payload = await self.read_frame()
        assert opcode is Opcode.TEXT
        return json.loads(payload)

    async def rest(self) -> bytes:
        """All that comes until the device's side ends."""
        return await asyncio.wait_for(self.reader.read(), SOON)


class Stubs:
    """Where devices connect to; hands out the connections in their order."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Stub] = asyncio.Queue()
        self.url = ""
        self.all: list[Stub] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take an accepted connection."""
        self.all.append(Stub(reader, writer))
        self.connections.put_nowait(self.all[-1])

    async def next(self) -> Stub:
        """The next connection."""
        return await asyncio.wait_for(self.connections.get(), SOON)

    async def meet(self, device: FakeDevice) -> Stub:
        """Have a device connect, and return the other end, open."""

        async def accept() -> Stub:
            stub = await self.next()
            await stub.accept()
            return stub

        _, stub = await asyncio.gather(device.connect(), accept())
        return stub
