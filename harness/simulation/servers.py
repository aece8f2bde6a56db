"""Listening: the kernel's side of it, asyncio's server, and the network a gateway is given."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from gateway.errors import CannotListen, Misuse
from gateway.listening import ACCEPTS_PER_TURN, BACKLOG, TCP_USER_TIMEOUT_MS, Network, ProtocolFactory, What
from gateway.protocol import limits
from harness.simulation.connection_end import ConnectionEnd
from harness.simulation.processes import current_process
from harness.simulation.profiles import Profile
from harness.simulation.transport import SimulatedTransport

if TYPE_CHECKING:
    from harness.simulation.hosts import Host

_ACCEPTS_PER_TURN = 100  # asyncio's default, which it gives to listen() as well (base_events.py, create_server)


class Listener:
    """A listening socket; connections that come are complete before anybody accepts them.

    Attributes:
        port: where it listens.
        profile: the TCP of what is accepted.
    """

    def __init__(self, host: Host, port: int, profile: Profile, backlog: int) -> None:
        self.host = host
        self.port = port
        self.profile = profile
        self._backlog = backlog
        self._waiting: deque[ConnectionEnd] = deque()
        self._accept: Callable[[ConnectionEnd], None] | None = None
        self._per_turn = _ACCEPTS_PER_TURN
        self._context = contextvars.Context()
        self._scheduled = False
        self._open = True

    def __repr__(self) -> str:
        return f"<listener {self.host.name}:{self.port}>"

    @property
    def is_of_the_test(self) -> bool:
        """Whether it is served, by no process that could be killed."""
        return self._accept is not None and self._context.get(current_process) is None

    @property
    def is_full(self) -> bool:
        """Whether so many wait to be accepted that the kernel drops the next SYN."""
        return len(self._waiting) >= self._backlog

    def serve(self, accept: Callable[[ConnectionEnd], None], per_turn: int = _ACCEPTS_PER_TURN) -> None:
        """Accept from now on, in the context of the caller."""
        self._context = contextvars.copy_context()
        self._accept = accept
        self._per_turn = per_turn
        self._accept_soon()

    def came(self, end: ConnectionEnd) -> None:
        """Take a connection that is complete; a socket that is closed by now answers it with RST."""
        if not self._open:
            end.reset()
            return
        self._waiting.append(end)
        if not self._scheduled and self._accept is not None:
            self._context.run(self._accept_some)

    def close(self) -> None:
        """Listen no more; what waits is reset, as nobody can accept it any more. Idempotent."""
        if self._open:
            self._open = False
            self.host.listeners.pop(self.port, None)
            while self._waiting:
                self._waiting.popleft().reset()

    def _accept_soon(self) -> None:
        if self._waiting and not self._scheduled:
            self._scheduled = True
            self.host.loop.call_soon(self._accept_some, context=self._context)

    def _accept_some(self) -> None:
        self._scheduled = False
        for _ in range(self._per_turn):
            if not self._waiting or self._accept is None:
                return
            self._accept(self._waiting.popleft())
        self._accept_soon()


class SimulatedServer(asyncio.AbstractServer):
    """What ``loop.create_server`` returns.

    ``wait_closed`` waits for the connections, as since Python 3.12.
    """

    def __init__(self, listener: Listener, factory: ProtocolFactory) -> None:
        self._listener = listener
        self._factory = factory
        self._serving = False
        self._closed = False
        self._transports: dict[SimulatedTransport, None] = {}
        self._waiters: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self.wait_closed()

    @property
    def sockets(self) -> tuple[Any, ...]:
        """Stand-ins for the listening sockets, which know their address."""
        return () if self._closed else (_Socket((self._listener.host.address, self._listener.port)),)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._listener.host.loop

    def is_serving(self) -> bool:
        """Whether it accepts."""
        return self._serving

    async def start_serving(self) -> None:
        """Accept connections; idempotent."""
        if not self._serving and not self._closed:
            self._serving = True
            self._listener.serve(self._accepted)

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, then close."""
        await self.start_serving()
        try:
            await self.get_loop().create_future()
        finally:
            self.close()
            await self.wait_closed()

    def close(self) -> None:
        """Accept no more; connections that are open stay open. Idempotent."""
        self._closed, self._serving = True, False
        self._listener.close()
        self._wake()

    def close_clients(self) -> None:
        """Close all connections."""
        for transport in tuple(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Abort all connections."""
        for transport in tuple(self._transports):
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until it is closed and its connections are gone."""
        if not self._closed or self._transports:
            waiter = self.get_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def _accepted(self, end: ConnectionEnd) -> None:
        transport = accepted(end, self._factory, self._detached)
        if transport is not None:
            self._transports[transport] = None

    def _detached(self, transport: SimulatedTransport) -> None:
        del self._transports[transport]
        self._wake()

    def _wake(self) -> None:
        if self._closed and not self._transports:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class HostNetwork(Network):
    """The network of a gateway that runs on a host: its two ports, which are its own from the beginning.

    Made by `Host.listening`. What is accepted has the buffers and the user timeout that `gateway.listening` sets on
    the real sockets.
    """

    def __init__(self, host: Host, websocket: Listener, http: Listener) -> None:
        self.warnings: Sequence[str] = ()
        self._host = host
        self._listeners: dict[What, Listener] = {"websocket": websocket, "http": http}
        self._served: set[What] = set()

    def addresses(self, what: What) -> list[str]:
        """Where it is listened: the host's address."""
        return [f"{self._host.address}:{self.port(what)}"]

    def port(self, what: What) -> int:
        """The port."""
        return self._listeners[what].port

    async def serve(self, what: What, factory: ProtocolFactory) -> None:
        """Accept connections from now on.

        Raises:
            Misuse: it is served already.
        """
        if what in self._served:
            raise Misuse(f"expected to serve {what} once")
        self._served.add(what)

        def accept(end: ConnectionEnd) -> None:
            accepted(end, factory)

        self._listeners[what].serve(accept, ACCEPTS_PER_TURN[what])

    def close(self) -> None:
        """Accept no more."""
        for listener in self._listeners.values():
            listener.close()


def gateway_profile(profile: Profile) -> dict[str, Any]:
    """Return what the gateway changes of its host's TCP for the sockets it accepts."""
    return {
        "send_buffer": limits.SOCKET_SEND_BUFFER,
        "receive_buffer": limits.SOCKET_RECEIVE_BUFFER,
        "user_timeout": min(profile.user_timeout, TCP_USER_TIMEOUT_MS / 1000),
    }


GATEWAY_BACKLOG = BACKLOG


def cannot_listen(host: Host, port: int, what: str) -> CannotListen:
    """Make the error of a port that is in use."""
    cause = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    advice = f"stop what holds the port, or give host.listening() another {what}"
    return CannotListen(f"{host.address}:{port}", cause, f"a process on the simulated host {host.name}", advice)


def accepted(
    end: ConnectionEnd, factory: ProtocolFactory, detached: Callable[[SimulatedTransport], None] | None = None
) -> SimulatedTransport | None:
    """Give an accepted connection its protocol, in a context of its own; a factory that raises costs the connection.

    Returns:
        The transport; None if the factory has raised.
    """
    loop = asyncio.get_running_loop()
    try:
        protocol = factory()
    except Exception as error:  # noqa: BLE001 - as asyncio does: one connection must not end the server
        message = "Error on transport creation for incoming connection"
        loop.call_exception_handler({"message": message, "exception": error})
        end.close()
        return None
    transport = SimulatedTransport(loop, end, protocol, contextvars.copy_context(), detached)
    transport.begin()
    return transport


class _Socket:
    """Stands for a listening socket where somebody asks it for its address."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        """Return host and port."""
        return self._address
