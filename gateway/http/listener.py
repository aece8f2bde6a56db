"""A small HTTP/1.1 server for `gateway.http.connection`: who is connected, how many may be, and the end of all.

It opens no sockets: `HttpListener.protocol_factory` is given to ``loop.create_server``, or to another network.
One task per connection, held by the listener. One `HttpAnswered` record per answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from gateway.http.connection import Connection, HttpLimits
from gateway.http.exchange import Handler, Request, RequestRefused, Response
from gateway.identity import printable
from gateway.observe.clock import WallClock
from gateway.observe.events import HttpAnswered, Observers, OtaRefused
from gateway.protocol.sites import Places, site_of
from gateway.tasks import Tasks

CANCEL_TIMEOUT = 1.0  # seconds for connections to end once they are cancelled: none of them waits for anything then
PRINTED_METHOD_CHARACTERS = 16
PRINTED_PATH_CHARACTERS = 128  # the longest path of ours is an image's name behind the OTA path


class HttpListener:
    """Serves ``handler`` on the connections that are given to its protocols.

    Args:
        handler: answers each request, usually `gateway.http.routes.Routes`.
        observers: are shown one `HttpAnswered` per answer, and one `OtaRefused` where that is a refusal.
        wall_clock: for the Date header.
        is_draining: while it is true, answers carry ``Connection: close``.
        limits: what a peer may use.
    """

    def __init__(
        self,
        handler: Handler,
        observers: Observers,
        wall_clock: WallClock,
        *,
        is_draining: Callable[[], bool] = lambda: False,
        limits: HttpLimits | None = None,
    ) -> None:
        self._handler = handler
        self._observers = observers
        self._wall_clock = wall_clock
        self._is_draining = is_draining
        self.limits = limits or HttpLimits()
        self._tasks = Tasks("HTTP listener")
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._waiting = Places(self.limits.waiting)
        self._kept = Places(self.limits.kept)
        self._closing = False

    def protocol_factory(self) -> asyncio.StreamReaderProtocol:
        """Make the protocol of one connection; for ``loop.create_server``."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self.limits.read_bytes, loop=loop)
        return asyncio.StreamReaderProtocol(reader, self._connected, loop=loop)

    async def close(self, timeout: float) -> None:
        """End all connections: idle ones now, the others after their answer or ``timeout`` seconds; idempotent.

        The caller has closed the server before; a connection that comes all the same is cut off.
        """
        self._closing = True
        for task, connection in tuple(self._connections.items()):
            if connection.idle:
                task.cancel()
        if self._connections:
            await asyncio.wait(tuple(self._connections), timeout=timeout)
        await self._tasks.close(CANCEL_TIMEOUT)

    @property
    def closes_connections(self) -> bool:
        """Whether answers end their connection now."""
        return self._closing or self._is_draining()

    def answered(self, request: Request, response: Response) -> None:
        """Record an answer."""
        self._observers.emit(
            HttpAnswered(
                device=response.device,
                method=printable(request.method, PRINTED_METHOD_CHARACTERS),
                path=printable(request.path, PRINTED_PATH_CHARACTERS),
                status=response.status,
                address=request.address,
            )
        )
        if response.refused:
            self._observers.emit(
                OtaRefused(
                    device=response.device, status=response.status, reason=response.refused, address=request.address
                )
            )

    def headers(self, response: Response) -> dict[str, str]:
        """Return the headers that every answer has, with those of the response."""
        headers = {"Date": formatdate(self._wall_clock(), usegmt=True), **response.headers}
        if response.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            body = response.body
            headers["Content-Length"] = str(len(body) if isinstance(body, bytes) else body.length)
        return headers

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limits = self.limits
        peer = writer.get_extra_info("peername")
        address = printable(peer[0]) if peer else "unknown"
        crowd = len(self._connections)
        site = site_of(address)
        place = self._waiting.of(site)
        if self._closing or crowd >= limits.connections + limits.refusals or not place.take():
            self.answered(Request("", "", address=address), Response(503))
            writer.transport.abort()
            return
        handler = self._handler if crowd < limits.connections else _refuse_for_lack_of_room
        connection = Connection(reader, writer, address, handler, self, place, self._kept.of(site))
        task = self._tasks.spawn(connection.serve(), f"connection of {address}")
        self._connections[task] = connection
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # here and not in the task: one that is cancelled before its first step runs no line of its own
        self._connections.pop(task).abort_unless_closed()


async def _refuse_for_lack_of_room(_request: Request) -> Response:
    raise RequestRefused(503, "too many connections", {"Retry-After": "10", "Connection": "close"})
