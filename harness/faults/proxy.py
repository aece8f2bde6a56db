"""A TCP proxy between devices and a gateway, in which faults can be had on real sockets.

::

    proxy = TcpProxy()
    await proxy.start()
    proxy.forward_to("127.0.0.1", 8000)
    ...                                  # devices connect to proxy.port
    await proxy.aclose()

While nothing is asked of it, bytes are handed on as they come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from harness.errors import Misuse
from harness.faults.passing import Closed, Identified, Opened, Passed, Watch
from harness.faults.proxied import Proxied
from harness.faults.unheard import hear_again, stop_hearing

BACKLOG = 4096
"""Connections that the kernel completes ahead of the proxy; the gateway's own, or the proxy would be what refuses."""
CLOSE_SECONDS = 2.0
"""For all sockets to be gone at the end; a socket that was aborted takes a turn of the loop."""
SILENT = 128
"""Connections in which nothing passes any more and that are kept all the same; past them the oldest is closed. Each
holds two descriptors, of the 1,024 that a process has by default."""


def _unwatched(_: Opened | Identified | Passed | Closed) -> None:
    """Look at nothing."""


class Rules(Protocol):
    """What holds for connections, by what is known of them."""

    def apply_to(self, connection: Proxied) -> None:
        """Look at a connection that has just come, or of which the device has just become known."""
        ...


class TcpProxy:
    """A port that devices connect to, and that passes them on to a gateway.

    It belongs to the loop in which it is started; all calls come from there. Every connection has bounded buffers
    (`harness.faults.way`): a side that does not read makes the other one wait.

    Args:
        device: whose connections these are, where all are of one device; empty: each says so in its request.
        watch: is shown who comes, what passes, how it ends; in the loop, in order.
        chance: for jitter and slices; None: one that is seeded by the system.

    Attributes:
        connections: those that are open, by number.
        rules: what holds for connections that come; see `Rules`.
    """

    def __init__(self, watch: Watch = _unwatched, *, device: str = "", chance: random.Random | None = None) -> None:
        self.watch = watch
        self.device = device
        self.connections: dict[int, Proxied] = {}
        self.rules: Rules | None = None
        self._chance = chance or random.Random()  # noqa: S311 - nothing secret depends on it
        self._target: tuple[str, int] | None = None
        self._server: asyncio.Server | None = None
        self._port = 0
        self._numbers = 0
        self._closing: asyncio.Task[None] | None = None

    # --- its life -------------------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0: one that is free, which stays until `aclose`.

        Raises:
            OSError: the address cannot be had.
            Misuse: it was started before.
        """
        if self._server is not None or self._closing is not None:
            raise Misuse("expected a proxy that was never started; make another one")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: self._accept().device_end, host, port, backlog=BACKLOG)
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """End everything: (1) listen no more, (2) close all sockets, (3) wait until they are gone.

        Idempotent, also while it goes on; returns after `CLOSE_SECONDS` at the latest.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="the proxy closes")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        connections = list(self.connections.values())
        for connection in connections:
            connection.abort("the proxy was closed")
        waits = [asyncio.ensure_future(connection.closed.wait()) for connection in connections]
        if waits:
            _, pending = await asyncio.wait(waits, timeout=CLOSE_SECONDS)
            for wait in pending:
                wait.cancel()

    @property
    def port(self) -> int:
        """Where devices connect.

        Raises:
            Misuse: it was not started.
        """
        if not self._port:
            raise Misuse("expected a proxy that was started; await start()")
        return self._port

    # --- where to -------------------------------------------------------------------------------------------------

    def forward_to(self, host: str | None, port: int = 0) -> None:
        """Pass connections on to this address from now on; those that are open stay where they are.

        With None they are accepted and reset, as by a port behind which nobody lives any more.
        """
        self._target = None if host is None else (host, port)

    def hear(self, hears: bool) -> None:
        """Let devices connect, or have the kernel drop their SYNs: they try again for as long as they care to.

        Raises:
            Misuse: it was not started.
        """
        if self._server is None:
            raise Misuse("expected a proxy that was started; await start()")
        for sock in self._server.sockets:
            if hears:
                hear_again(sock)
            else:
                stop_hearing(sock)

    def silenced(self) -> None:
        """Keep the number of silent connections within `SILENT`; to be called when there is one more."""
        silent = [connection for connection in self.connections.values() if connection.silent]
        for connection in silent[:-SILENT]:
            connection.abort("nothing passed any more, and there were too many of its kind")

    # --- connections ----------------------------------------------------------------------------------------------

    def _accept(self) -> Proxied:
        self._numbers += 1
        connection = Proxied(self._numbers, self.device, self._dial, self._known, self._show, self._chance, self._gone)
        self.connections[self._numbers] = connection
        return connection

    def _known(self, connection: Proxied) -> None:
        if self._target is None:
            connection.reset("there is no gateway behind the proxy")
        elif self.rules is not None:
            self.rules.apply_to(connection)

    async def _dial(self, factory: Callable[[], asyncio.Protocol]) -> Any:
        if self._target is None:
            raise ConnectionRefusedError("the proxy was told to pass nothing on")
        host, port = self._target
        return await asyncio.get_running_loop().create_connection(factory, host, port)

    def _show(self, record: Opened | Identified | Passed | Closed) -> None:
        self.watch(record)

    def _gone(self, connection: Proxied) -> None:
        del self.connections[connection.number]
