"""The sockets of the process: the real listening ones, bound before anything else, and the seam for those that are not.

A port is not *checked* and bound later: between the two somebody else may take it. It is bound, and the bound socket is
handed to the server. A start that cannot have all its addresses fails with all of them named, and holds none.

The gateway needs no more of a network than `Network`; a simulation brings its own.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from gateway.config import LOOPBACK_HOSTS, ServerConfig
from gateway.errors import CannotListen, Misuse
from gateway.identity import printable
from gateway.port_holder import port_holder
from gateway.protocol import limits
from gateway.systemd import Notifier, PassedDescriptor, notify_address, passed_descriptors, watchdog_interval

_log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections the kernel completes ahead of us; its own bound (net.core.somaxconn) since Linux 5.4. After a restart all
devices of a site come in the same second; past the backlog their SYN is dropped, and they wait 1 s, then 2 s more."""
TCP_USER_TIMEOUT_MS = 30_000
"""After which unacknowledged data ends a connection. A device that vanished would otherwise keep its connection until
the kernel's retransmissions end (15 minutes, tcp_retries2), or until `idle_close`: messages small enough for the send
buffer never trip the send deadline. Shorter, and a device that changes its access point would be cut off."""
PORT_TRIES = 32
"""With port 0, the port the system chose for the first address may be taken on another one; then it chooses again."""

What: TypeAlias = Literal["websocket", "http"]
"""What is served on a socket; also the ``FileDescriptorName=`` of those that systemd passes."""

ACCEPTS_PER_TURN: Mapping[What, int] = {"websocket": 64, "http": 4}
"""Connections taken in one turn of the loop, some 30 us each: a rush of new devices holds up the others by 2 ms. On the
HTTP port, where one address may have 32 without a request, a rush of 1,000 so has 8 at a time; the rest is still in the
backlog, where its requests come in."""

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]

Address: TypeAlias = tuple[Any, ...]
"""Of a socket: (host, port), with flow and scope behind them for IPv6."""
Refusal: TypeAlias = tuple[Address, OSError]
"""An address, and why it could not be had."""

_PORTS: dict[What, str] = {
    "websocket": "server.ws_port (WSDEVICE_SERVER_WS_PORT)",
    "http": "server.http_port (WSDEVICE_SERVER_HTTP_PORT)",
}
_HOSTS = "server.host (WSDEVICE_SERVER_HOST)"


class Network(Protocol):
    """All that the gateway needs of a network: addresses that are its own already, to be served and given up.

    Attributes:
        warnings: what is not as configured, one sentence each, to be logged once.
    """

    warnings: Sequence[str]

    def addresses(self, what: What) -> list[str]:
        """Where it is listened, as ``host:port``, IPv6 in brackets; never empty."""
        ...

    def port(self, what: What) -> int:
        """The port of the first address, as it really is: never 0."""
        ...

    async def serve(self, what: What, factory: ProtocolFactory) -> None:
        """Accept connections from now on: each gets a protocol from the factory, and its ``connection_made`` called.

        Peers that came earlier have been waiting and are accepted now. To be called once for each.
        """
        ...

    def close(self) -> None:
        """Accept no more; connections that are open stay open. Idempotent, does not wait."""


class SeveralCannotListen(CannotListen):
    """More than one address could not be had; its facts are those of the first.

    Attributes:
        failures: each of them, in the order of the configuration, those of the WebSocket port first.
    """

    def __init__(self, failures: Sequence[CannotListen]) -> None:
        first = failures[0]
        super().__init__(first.address, first.cause, first.holder, first.advice)
        self.failures = tuple(failures)

    def __str__(self) -> str:
        return "\nwsdevice: ".join(str(failure) for failure in self.failures)  # the first line has it from who prints


class Bound(NamedTuple):
    """Listening sockets of one kind, and what was left out."""

    sockets: list[socket.socket]
    warnings: list[str]


class ListeningSockets(Network):
    """The real network: sockets that listen already."""

    def __init__(self, websocket: Bound, http: Bound) -> None:
        self.warnings = (*websocket.warnings, *http.warnings)
        self._sockets: dict[What, list[socket.socket]] = {"websocket": websocket.sockets, "http": http.sockets}
        self._servers: dict[What, list[asyncio.Server]] = {}

    def addresses(self, what: What) -> list[str]:
        """Where it is listened."""
        return [address_text(sock.getsockname()) for sock in self._sockets[what]]

    def port(self, what: What) -> int:
        """The port of the first address."""
        return int(self._sockets[what][0].getsockname()[1])

    async def serve(self, what: What, factory: ProtocolFactory) -> None:
        """Accept connections from now on.

        Raises:
            Misuse: it is served already.
        """
        if what in self._servers:
            raise Misuse(f"expected to serve {what} once")
        servers = self._servers[what] = []
        loop = asyncio.get_running_loop()
        for sock in self._sockets[what]:
            # asyncio uses one number for two things: what the kernel may complete, and what one turn may accept
            servers.append(await loop.create_server(factory, sock=sock, backlog=ACCEPTS_PER_TURN[what]))
            sock.listen(BACKLOG)

    def close(self) -> None:
        """Accept no more."""
        for servers in self._servers.values():
            for server in servers:
                server.close()
        for sockets in self._sockets.values():
            _close(sockets)


def open_network(server: ServerConfig, environ: MutableMapping[str, str] | None = None) -> ListeningSockets:
    """Take the listening sockets that systemd passed, and bind the others.

    Passed sockets are told apart by their ``FileDescriptorName=``, ``websocket`` or ``http``; where none has such a
    name, the first is for WebSocket and the second for HTTP. What was not passed is bound as configured. The variables
    are taken out of ``environ``, by default the process's own, so that nobody takes the sockets twice.

    Blocks while names resolve: to be called before the loop runs, or in a thread; needs no loop.

    Raises:
        CannotListen: an address, or several (`SeveralCannotListen`), could not be had; no socket is left open.
    """
    environ = os.environ if environ is None else environ
    bound, failures = _take_passed(environ, server)
    ports: dict[What, int] = {"websocket": server.ws_port, "http": server.http_port}
    for what, port in ports.items():
        if what not in bound:
            bound[what], refused = _bind(server.host, port, what)
            failures += refused
    _raise_any(failures, bound.values())
    return ListeningSockets(bound["websocket"], bound["http"])


def bind(hosts: Sequence[str], port: int, what: What) -> Bound:
    """Bind and listen on each address of each host; IPv4 and IPv6 apart, so that ``0.0.0.0`` and ``::`` can both be.

    With port 0 the system chooses one, the same for all addresses. On a machine without IPv6, ``::1`` and ``::`` are
    left out, with a warning, if there is another address: they stand in the default, and in what everybody writes for
    "everywhere". Any other address must be had, since somebody meant that very one.

    Raises:
        CannotListen: an address, or several (`SeveralCannotListen`), could not be had; no socket is left open.
    """
    bound, failures = _bind(hosts, port, what)
    _raise_any(failures, [bound])
    return bound


def address_text(address: Address) -> str:
    """Write a socket's address as it would be typed: ``127.0.0.1:8000``, ``[fe80::1%2]:8000``."""
    host, port, *rest = address
    if ":" not in str(host):
        return f"{printable(host)}:{port}"
    scope = f"%{rest[1]}" if len(rest) == 2 and rest[1] else ""
    return f"[{host}{scope}]:{port}"


def notifier(environ: Mapping[str, str] = os.environ) -> Notifier:
    """Connect to systemd's notification socket, where there is one; a `Notifier` that does nothing otherwise."""
    address = notify_address(environ)
    if address is None:
        return Notifier(None)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(address)
    except OSError as error:
        sock.close()
        _log.warning("cannot reach systemd on NOTIFY_SOCKET: %s", error)
        return Notifier(None)
    return Notifier(sock, watchdog_interval(environ, os.getpid()))


# --- binding ------------------------------------------------------------------------------------------------------


def _bind(hosts: Sequence[str], port: int, what: What) -> tuple[Bound, list[CannotListen]]:
    addresses, unknown = _resolve(hosts, port)
    sockets, refused = _bind_all(addresses)
    for _ in range(PORT_TRIES):
        if port or all(error.errno != errno.EADDRINUSE for _, error in refused):
            break
        _close(sockets)
        sockets, refused = _bind_all(addresses)
    missing = [refusal for refusal in refused if sockets and _lacks_ipv6(refusal)]
    warnings = [
        f"this machine has no IPv6: not listening on {address_text(address)} ({error.strerror})"
        for address, error in missing
    ]
    failures = [_failure(refusal, what) for refusal in unknown + refused if refusal not in missing]
    return Bound(sockets, warnings), failures


def _resolve(hosts: Sequence[str], port: int) -> tuple[list[Address], list[Refusal]]:
    """Resolve names to addresses, each once, in order."""
    addresses: dict[Address, None] = {}
    unknown: list[Refusal] = []
    for host in hosts:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:  # UnicodeError: no name at all, such as one with an empty label
            cause = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "not a host name")
            unknown.append(((host, port), cause))
        else:
            addresses.update((address, None) for *_, address in found)
    return list(addresses), unknown


def _bind_all(addresses: Sequence[Address]) -> tuple[list[socket.socket], list[Refusal]]:
    sockets: list[socket.socket] = []
    refused: list[Refusal] = []
    for host, port, *rest in addresses:
        address = (host, port or (sockets[0].getsockname()[1] if sockets else 0), *rest)
        try:
            sockets.append(_listening_socket(address))
        except OSError as error:
            refused.append((address, error))
    return sockets, refused


def _listening_socket(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is given by number, not as the 0 that would do here
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # or a restart waits for connections in TIME_WAIT; on Windows it means to share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _tune(sock)
        sock.bind(address)
        sock.listen(BACKLOG)  # at once: with SO_REUSEADDR two may be bound to a port, but only one can listen
    except OSError:
        sock.close()
        raise
    return sock


def _tune(sock: socket.socket) -> None:
    """Set what accepted sockets inherit (those of Linux do), and what asyncio expects."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SOCKET_SEND_BUFFER)
    # before it listens: the scale of the window is said in the SYN
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.SOCKET_RECEIVE_BUFFER)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _lacks_ipv6(refusal: Refusal) -> bool:
    address, error = refusal
    return address[0] in {"::1", "::"} and error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def _failure(refusal: Refusal, what: What) -> CannotListen:
    address, error = refusal
    holder = port_holder(address[0], address[1]) if error.errno == errno.EADDRINUSE else None
    return CannotListen(address_text(address), error, holder, _advice(error, what))


def _advice(error: OSError, what: What) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve, change {_HOSTS}"
    port = _PORTS[what]
    advice = {
        errno.EADDRINUSE: f"stop what holds the port, or change {port}",
        errno.EACCES: f"ports up to 1023 are privileged, set {port} above, or grant CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: f"it is not an address of this machine, change {_HOSTS}",
        errno.EAFNOSUPPORT: f"this machine has no IPv6, change {_HOSTS}",
        errno.EINVAL: f"a link-local address needs its interface, as in fe80::1%eth0, in {_HOSTS}",
    }
    return advice.get(error.errno or 0, f"see {_HOSTS} and {port}")


def _raise_any(failures: Sequence[CannotListen], bound: Iterable[Bound]) -> None:
    if not failures:
        return
    for each in bound:
        _close(each.sockets)
    raise failures[0] if len(failures) == 1 else SeveralCannotListen(failures)


# --- sockets that systemd passed ----------------------------------------------------------------------------------


def _take_passed(
    environ: MutableMapping[str, str], server: ServerConfig
) -> tuple[dict[str, Bound], list[CannotListen]]:
    passed = passed_descriptors(environ, os.getpid())
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(variable, None)
    if not any(name in _PORTS for _, name in passed):
        passed[: len(_PORTS)] = [
            PassedDescriptor(number, name) for (number, _), name in zip(passed, _PORTS, strict=False)
        ]
    bound: dict[str, Bound] = {}
    failures: list[CannotListen] = []
    for number, name in passed:
        try:
            sock = _adopt(number, name, server)
        except OSError as error:
            advice = "see ListenStream= and FileDescriptorName= of the socket unit"
            failures.append(CannotListen(f"descriptor {number} ({printable(name)})", error, None, advice))
        else:
            bound.setdefault(name, Bound([], [])).sockets.append(sock)
    return bound, failures


def _adopt(number: int, name: str, server: ServerConfig) -> socket.socket:
    """Take over a passed descriptor.

    Raises:
        OSError: it is not what is needed, in words.
    """
    sock = socket.socket(fileno=number)
    try:
        if name not in _PORTS:
            raise OSError(errno.EINVAL, f"expected the name {' or '.join(_PORTS)}")
        if sock.family not in {socket.AF_INET, socket.AF_INET6} or not sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise OSError(errno.EINVAL, "expected a listening TCP socket")
        _check_reach(sock, server)
        _tune(sock)
        sock.set_inheritable(False)
    except OSError:
        sock.close()
        raise
    return sock


def _check_reach(sock: socket.socket, server: ServerConfig) -> None:
    # whether devices need a token hangs on server.host: a socket unit must not open an unguarded gateway to the world
    host, port = sock.getsockname()[:2]
    if LOOPBACK_HOSTS.issuperset(server.host) and not ip_address(host.partition("%")[0]).is_loopback:
        raise OSError(errno.EPERM, f"{address_text((host, port))} is beyond loopback, which {_HOSTS} does not allow")
