"""The simulated network: hosts by name, the links between them, and what goes wrong with those."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from gateway.listening import ProtocolFactory
from harness.errors import Misuse
from harness.simulation.connection_end import ConnectionEnd
from harness.simulation.hosts import Host
from harness.simulation.links import Fragment, Link, Path, Slices
from harness.simulation.processes import current_process
from harness.simulation.profiles import LINUX, Profile
from harness.simulation.servers import Listener, SimulatedServer
from harness.simulation.stream import Stream
from harness.simulation.transport import SimulatedTransport

if TYPE_CHECKING:
    from harness.simulation.loop import SimulatedLoop

P = TypeVar("P", bound=asyncio.BaseProtocol)

Named: TypeAlias = Host | str
"""A host, or its name."""

_LOOPBACK = {"", "localhost", "127.0.0.1"}
_EVERYWHERE = {"0.0.0.0", "::", "::1"}  # noqa: S104 - names of it, nothing is bound


class SimulatedNetwork:
    """All hosts of a simulation, and the TCP between them.

    Tasks that belong to no host are at home on `default_host`, "localhost", 127.0.0.1. For the others the name
    "localhost" means their own host, as it does in the real world.

    Attributes:
        default_link: between hosts for which nothing else was said.
        default_host: where the test itself runs.
        lost_names: names that do not resolve for the time being.
        joined: is shown the nearer end of each new connection; None: nobody is.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        self.default_link = Link()
        self.lost_names: set[str] = set()
        self.joined: Callable[[ConnectionEnd], None] | None = None
        self._loop = loop
        self._chance = loop.stream("network")
        self._hosts: dict[str, Host] = {}
        self._addresses: dict[str, Host] = {}
        self._paths: dict[tuple[Host, Host], Path] = {}
        self._connections = 0
        self.default_host = self._add("localhost", "127.0.0.1", LINUX)

    # --- hosts ----------------------------------------------------------------------------------------------------

    def host(self, name: str, profile: Profile | None = None) -> Host:
        """Return the host of this name; it is made when it is first asked for, by default with the TCP of Linux.

        Raises:
            Misuse: it is there already, with another profile.
        """
        host = self._hosts.get(name)
        if host is None:
            number = len(self._hosts)
            return self._add(name, f"10.0.{number >> 8}.{number & 255}", profile or LINUX)
        if profile is not None and profile is not host.profile:
            raise Misuse(f"expected the host {name} to be new, to give it a profile")
        return host

    def hosts(self) -> list[Host]:
        """Return all hosts, in the order in which they were made."""
        return list(self._hosts.values())

    def here(self) -> Host:
        """Return the host of the running code."""
        process = current_process.get()
        return self.default_host if process is None else self._hosts[process.host]

    def resolve(self, name: str | None) -> Host:
        """Find a host by name or address.

        Raises:
            gaierror: there is none, or its name is lost.
        """
        if name is None or name in _LOOPBACK:
            return self.here()
        if name in self.lost_names:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = self._hosts.get(name) or self._addresses.get(name)
        if host is None:
            raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {name}")
        return host

    def _add(self, name: str, address: str, profile: Profile) -> Host:
        host = self._hosts[name] = self._addresses[address] = Host(self._loop, name, address, profile)
        return host

    def _host(self, named: Named) -> Host:
        if isinstance(named, Host):
            return named
        if named not in self._hosts:
            raise Misuse(f"expected one of the hosts {', '.join(self._hosts)}, found {named!r}; host() makes one")
        return self._hosts[named]

    # --- links ----------------------------------------------------------------------------------------------------

    def path(self, source: Named, target: Named) -> Path:
        """Return one direction between two hosts."""
        pair = self._host(source), self._host(target)
        path = self._paths.get(pair)
        if path is None:
            path = self._paths[pair] = Path(self.default_link, *pair, self._chance)
        return path

    def link(
        self,
        a: Named,
        b: Named,
        *,
        latency: float | None = None,
        jitter: float | None = None,
        bandwidth: float | None = None,
        loss: float | None = None,
        fragment: Fragment | Slices | None = None,
        slow_close: float | None = None,
        both: bool = True,
    ) -> None:
        """Change the qualities of a link (see `Link`) for what is sent from now on; what is None stays.

        Both directions are changed, or, with ``both=False``, only that from a to b.
        """
        changes: dict[str, Any] = {
            name: value
            for name, value in (
                ("latency", latency),
                ("jitter", jitter),
                ("bandwidth", bandwidth),
                ("loss", loss),
                ("fragment", fragment),
                ("slow_close", slow_close),
            )
            if value is not None
        }
        for path in self._directions(a, b, both=both):
            path.link = dataclasses.replace(path.link, **changes)

    def partition(self, a: Named, b: Named, *, both: bool = True) -> None:
        """Let nothing through between two hosts, or, with ``both=False``, nothing from a to b."""
        self._note("partition", a, b, "" if both else " one way")
        for path in self._directions(a, b, both=both):
            path.up = False

    def heal(self, a: Named, b: Named) -> None:
        """Let everything through again, both ways; connections move on with their next retransmission."""
        self._note("heal", a, b)
        for path in self._directions(a, b, both=True):
            path.up = True

    def forget(self, a: Named, b: Named) -> None:
        """Have a middlebox drop its connections between two hosts: nothing gets through on them, and nobody is told.

        New connections are not concerned. That is also what a half-open connection looks like from either side.
        """
        self._note("forget", a, b)
        for end in self.between(a, b):
            end.outgoing.forgotten = True

    def reset(self, a: Named, b: Named) -> None:
        """Have a middlebox reset all connections between two hosts, at both ends."""
        self._note("reset", a, b)
        for end in self.between(a, b):
            end.broken(errno.ECONNRESET)

    def cut(self, a: Named, b: Named) -> None:
        """Have a middlebox end all connections between two hosts: FIN to both ends, behind what has arrived."""
        self._note("cut", a, b)
        for end in self.between(a, b):
            end.cut()

    def connections(self, a: Named, b: Named) -> int:
        """Count the connections between two hosts that the kernel of either knows."""
        return len({abs(end.number) for end in self.between(a, b)})

    def between(self, a: Named, b: Named) -> list[ConnectionEnd]:
        """Return both ends of all connections between two hosts, as far as their kernels know them."""
        one, other = self._host(a), self._host(b)
        ends = [
            end
            for host, peer in ((one, other), (other, one))
            for end in host.connections
            if end.peer_address[0] == peer.address
        ]
        return list(dict.fromkeys(ends))

    def _directions(self, a: Named, b: Named, *, both: bool) -> list[Path]:
        return [self.path(a, b), self.path(b, a)] if both else [self.path(a, b)]

    def _note(self, kind: str, a: Named, b: Named, more: str = "") -> None:
        self._loop.trace.note(self._loop.time(), kind, f"{self._host(a).name} {self._host(b).name}{more}")

    # --- listening and connecting -----------------------------------------------------------------------------------

    def listen(self, factory: ProtocolFactory, address: str | None, port: int, backlog: int) -> SimulatedServer:
        """Listen on a port of the host of the running code.

        Raises:
            OSError: the port is in use, or the address is not of this host.
        """
        here = self.here()
        if address not in _EVERYWHERE and self.resolve(address) is not here:
            raise OSError(errno.EADDRNOTAVAIL, f"{address} is not an address of {here.name}")
        return SimulatedServer(here.bind(port, backlog), factory)

    async def connect(self, factory: Any, name: str | None, port: int) -> tuple[SimulatedTransport, Any]:
        """Connect from the host of the running code.

        Raises:
            OSError: as the real one: refused, timed out, not resolved, no more connections.
        """
        here, there = self.here(), self.resolve(name)
        if not here.online and here is not there:
            raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
        here.check_room()
        listener = await self._handshake(here, there, port)
        end = self._join(here, listener)
        protocol = factory()
        transport = SimulatedTransport(self._loop, end, protocol, contextvars.copy_context())
        transport.begin()
        return transport, protocol

    async def _handshake(self, here: Host, there: Host, port: int) -> Listener:
        """Send SYNs until one is answered."""
        began, retry = self._loop.time(), here.profile.connect_retry
        tried = began
        while True:
            listener = await self._knock(here, there, port)
            if listener is not None:
                return listener
            tried += retry
            retry *= 2
            given_up = began + here.profile.connect_timeout
            await asyncio.sleep(min(tried, given_up) - self._loop.time())
            if tried >= given_up:
                raise TimeoutError(errno.ETIMEDOUT, f"Connect call failed {(there.address, port)}")

    async def _knock(self, here: Host, there: Host, port: int) -> Listener | None:
        """Send one SYN; None if it, or its answer, is lost."""
        out, back = self.path(here, there), self.path(there, here)
        await asyncio.sleep(out.delay())
        if not out.passable or out.loses():
            return None
        listener = there.listeners.get(port)
        if listener is not None and listener.is_full:
            return None
        await asyncio.sleep(back.delay())
        if not back.passable or back.loses():
            return None
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed {(there.address, port)}")
        return listener

    def _join(self, here: Host, listener: Listener) -> ConnectionEnd:
        """Make both ends of a connection; the listener gets to know of its own with the last step of the handshake."""
        there = listener.host
        self._connections += 1
        number, port = self._connections, here.free_port()
        out, back = self.path(here, there), self.path(there, here)
        loop, context = self._loop, self._loop.no_process
        there_sends = Stream(loop, loop.trace, f"{number}<", back, out, listener.profile, here.profile, context)
        here_sends = Stream(loop, loop.trace, f"{number}>", out, back, here.profile, listener.profile, context)
        ours, theirs = (here.address, port), (there.address, listener.port)
        near = ConnectionEnd(number, here_sends, there_sends, ours, theirs, here.forget)
        far = ConnectionEnd(-number, there_sends, here_sends, theirs, ours, there.forget, listener.came)
        here.connections[near] = there.connections[far] = None
        loop.trace.note(loop.time(), "connect", f"{number} {here.name}:{port} {there.name}:{listener.port}")
        if self.joined is not None:
            self.joined(near)
        here_sends.open()
        return near
