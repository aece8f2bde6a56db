"""A listener on a real loopback port, and a client that sends bytes as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import h11
import msgspec

from gateway.http.exchange import Request, Response, Stream, text_response
from gateway.http.listener import HttpListener
from gateway.observe.events import HttpAnswered, OtaRefused

DEADLINE = 5.0
"""Seconds after which a test that waits for something has failed."""


class Answer(msgspec.Struct):
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True


class Client:
    """One connection to the listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def send(self, pieces: bytes | Iterable[bytes]) -> None:
        """Send bytes, each piece in a packet of its own as far as the kernel lets us."""
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer, as one that follows a request with this method."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        # h11 has to believe that it sent the request
        self._http.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        self._http.send(h11.EndOfMessage())
        answer = Answer(0, {}, b"")
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    event = self._http.next_event()
                except h11.RemoteProtocolError:
                    answer.whole = False
                    return answer
                if event is h11.NEED_DATA:
                    try:
                        self._http.receive_data(await self.reader.read(65536))
                    except ConnectionError:
                        answer.whole = False
                        return answer
                elif isinstance(event, h11.Response):
                    answer.status = event.status_code
                    answer.headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    answer.body += event.data
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                    return answer

    async def rest(self) -> bytes:
        """Read to the end of the connection, which may be a reset."""
        got = b""
        async with asyncio.timeout(DEADLINE):
            try:
                while data := await self.reader.read(65536):
                    got += data
            except ConnectionError:
                pass
        return got


class Served:
    """A listener that serves a handler."""

    def __init__(
        self, listener: HttpListener, port: int, events: list[HttpAnswered], refused: list[OtaRefused]
    ) -> None:
        self.listener = listener
        self.port = port
        self.events = events
        self.refused = refused

    async def connect(self, **settings: Any) -> Client:
        """Open a connection."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, **settings))

    async def until_somebody_is_connected(self) -> None:
        """Wait until the listener has a connection."""
        async with asyncio.timeout(DEADLINE):
            while not self.listener._connections:  # noqa: ASYNC110 - the listener tells nobody that it has accepted
                await asyncio.sleep(0)

    async def until_nobody_is_connected(self) -> None:
        """Wait until the listener holds no connection any more."""
        async with asyncio.timeout(DEADLINE):
            while self.listener._connections:
                await asyncio.wait(tuple(self.listener._connections))


Serve = Callable[..., Awaitable[Served]]


# --- requests and handlers --------------------------------------------------------------------------------------------

GET = b"GET /hello?token=secret HTTP/1.1\r\nHost: gw\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\nhello"
SOON = 0.15
"""Seconds that stand for a limit of several in these tests."""


async def echo(request: Request) -> Response:
    """Answer with what was asked."""
    return text_response(f"{request.method} {request.path} {request.body.decode()}")


def singly(data: bytes) -> list[bytes]:
    """Cut into single bytes."""
    return [data[i : i + 1] for i in range(len(data))]


class EndlessBody:
    """A body of a terabyte, which tells when its sender has given up."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = asyncio.Event()

    async def handle(self, _request: Request) -> Response:
        """Answer with it."""
        return Response(200, Stream(10**12, self.chunks))

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Make it."""
        chunk = bytes(256 * 1024)
        try:
            while True:
                self.sent += len(chunk)
                yield chunk
        finally:
            self.closed.set()
