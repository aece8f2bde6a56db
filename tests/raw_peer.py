"""A peer made of one raw socket: it sends exactly the bytes a test says, and reads only when told to."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

DEADLINE = 5.0
"""Seconds after which a test that waits for something has failed."""

KEY = base64.b64encode(b"0123456789abcdef").decode()
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def upgrade(
    path: str = "/xiaozhi/v1/",
    *headers: tuple[str, str],
    method: str = "GET",
    protocol: str = "HTTP/1.1",
    drop: Iterable[str] = (),
    **named: str,
) -> bytes:
    """An upgrade request; named headers are written with underscores for dashes, and replace those of the same name."""
    fields = {
        "Host": "gateway",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **{name.replace("_", "-"): value for name, value in named.items()},
    }
    lines = [f"{method} {path} {protocol}"]
    lines += [f"{name}: {value}" for name, value in (*fields.items(), *headers) if name not in drop]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def frame(
    opcode: int,
    payload: bytes | str = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\x56\x78",
    length: int | None = None,
) -> bytes:
    """One frame as a client sends it, or, on request, as none should: ``length`` is what the header claims."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if length is None else length
    first, masked = (0x80 if fin else 0) | rsv | opcode, 0x80 if mask is not None else 0
    if size < 126:
        header = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        header = struct.pack("!BBH", first, masked | 126, size)
    else:
        header = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return header + data
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return header + mask + (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data))


def say(message: Any) -> bytes:
    """One JSON message as a text frame; text is sent as it is."""
    return frame(TEXT, message if isinstance(message, str | bytes) else json.dumps(message))


class Received(NamedTuple):
    """One frame from the gateway."""

    opcode: int
    payload: bytes

    @property
    def message(self) -> Any:
        """The JSON in it."""
        return json.loads(self.payload)

    @property
    def code(self) -> int:
        """The code of a Close."""
        return int.from_bytes(self.payload[:2], "big")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Gone(Exception):
    """The gateway has closed the connection: ``reset`` tells how."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "end of stream")
        self.reset = reset


class RawPeer:
    """One TCP connection to the gateway; nothing is read from it but within the calls below."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._unread = b""

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None) -> Self:
        """Connect to a port of this machine; a small receive buffer makes a slow reader felt early."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer = cls(sock)
        try:
            async with asyncio.timeout(DEADLINE):
                await peer._loop.sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return peer

    @classmethod
    async def open(cls, port: int, request: bytes = b"", *, receive_buffer: int | None = None) -> Self:
        """Connect and have the upgrade answered with 101."""
        peer = await cls.connect(port, receive_buffer=receive_buffer)
        try:
            await peer.send(request or upgrade())
            answer = await peer.answer()
            assert answer.status == 101, answer
        except BaseException:
            peer.cut()
            raise
        return peer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    async def send(self, data: bytes) -> None:
        """Send these bytes."""
        async with asyncio.timeout(DEADLINE):
            await self._loop.sock_sendall(self.sock, data)

    async def send_pieces(self, data: bytes, size: int = 1) -> None:
        """Send these bytes, each piece in a packet of its own as far as the kernel lets us."""
        for start in range(0, len(data), size):
            await self.send(data[start : start + size])
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Close the socket."""
        self.sock.close()

    def reset(self) -> None:
        """Close the socket with a reset, as a device does that was switched off and on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        """Say that no more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    # --- reading --------------------------------------------------------------------------------------------------

    async def answer(self) -> Answer:
        """Read one HTTP answer."""
        async with asyncio.timeout(DEADLINE):
            while b"\r\n\r\n" not in self._unread:
                await self._read()
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(headers.get("content-length", 0))
            while len(self._unread) < size:
                await self._read()
            body, self._unread = self._unread[:size], self._unread[size:]
            return Answer(int(status.split(" ")[1]), headers, body)

    async def frame(self, timeout: float = DEADLINE) -> Received:
        """Read one frame.

        Raises:
            Gone: the connection ended instead.
        """
        async with asyncio.timeout(timeout):
            while (found := self._cut_frame()) is None:
                await self._read()
            return found

    async def message(self, timeout: float = DEADLINE) -> Any:
        """Read one JSON message."""
        found = await self.frame(timeout)
        assert found.opcode == TEXT, found
        return found.message

    async def all_frames(self) -> list[Received]:
        """Read to the end of the connection; an incomplete frame at the end is left out."""
        found: list[Received] = []
        try:
            while True:
                found.append(await self.frame())
        except Gone:
            return found

    async def closed(self) -> int | None:
        """Read to the end of the connection; return the code of the Close frame, None where there was none."""
        frames = await self.all_frames()
        assert all(one.opcode != CLOSE for one in frames[:-1]), frames
        return frames[-1].code if frames and frames[-1].opcode == CLOSE else None

    async def end(self) -> bytes:
        """Read to the end of the connection; return what came."""
        async with asyncio.timeout(DEADLINE):
            try:
                while True:
                    await self._read()
            except Gone:
                rest, self._unread = self._unread, b""
                return rest

    async def take(self, size: int) -> int:
        """Read that many bytes at most, forget them, and return how many they were."""
        async with asyncio.timeout(DEADLINE):
            return len(await self._loop.sock_recv(self.sock, size))

    async def _read(self) -> None:
        try:
            data = await self._loop.sock_recv(self.sock, 65536)
        except ConnectionError:
            raise Gone(reset=True) from None
        if not data:
            raise Gone(reset=False)
        self._unread += data

    def _cut_frame(self) -> Received | None:
        data = self._unread
        if len(data) < 2:
            return None
        assert data[1] < 128, "a server must not mask"
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start or len(data) < start + size:
            return None
        self._unread = data[start + size :]
        return Received(data[0] & 15, data[start : start + size])
