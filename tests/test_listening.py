"""Real sockets: bound first, told apart, refused with reasons, handed over by systemd, served, given up."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import listening, systemd
from gateway.config import ServerConfig
from gateway.errors import CannotListen, Misuse
from gateway.listening import (
    Address,
    Bound,
    ListeningSockets,
    SeveralCannotListen,
    address_text,
    bind,
    open_network,
)
from gateway.protocol import limits

DEADLINE = 5.0
ANYWHERE = ServerConfig(ws_port=0, http_port=0)

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's socket options")

Open = Callable[..., ListeningSockets]
PassOn = Callable[..., dict[str, str]]


@pytest.fixture
def pass_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[PassOn]:
    """Do as systemd does: put descriptors in a row, and say so in the environment."""
    first = 700
    monkeypatch.setattr(systemd, "FIRST_DESCRIPTOR", first)

    def put(*descriptors: int, names: str | None = None) -> dict[str, str]:
        for number, descriptor in enumerate(descriptors, first):
            os.dup2(descriptor, number)
        environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors)), "HOME": "/"}
        return environ if names is None else environ | {"LISTEN_FDNAMES": names}

    yield put
    for number in range(first, first + 8):
        try:
            os.close(number)
        except OSError:
            continue


@pytest.fixture
def opened(pass_on: PassOn) -> Iterator[Open]:
    """`open_network` with an environment without systemd; what it opened is closed in the end, before descriptors."""
    networks: list[ListeningSockets] = []

    def open_and_note(server: ServerConfig = ANYWHERE, environ: dict[str, str] | None = None) -> ListeningSockets:
        networks.append(open_network(server, {} if environ is None else environ))
        return networks[-1]

    yield open_and_note
    for network in networks:
        network.close()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Every socket that is bound in the test."""
    sockets: list[socket.socket] = []
    original = listening._listening_socket

    def note(address: Address) -> socket.socket:
        sockets.append(original(address))
        return sockets[-1]

    monkeypatch.setattr(listening, "_listening_socket", note)
    return sockets


@pytest.fixture
def held() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, unless: Callable[[Address], bool]) -> None:
    """Make the system refuse addresses."""
    original = listening._listening_socket

    def refusing(address: Address) -> socket.socket:
        if unless(address):
            return original(address)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(listening, "_listening_socket", refusing)


class TestBind:
    """Listening on each address of each host."""

    def test_one_port_for_both_families(self):
        """Port 0 becomes one real port, the same for IPv4 and IPv6."""
        bound = bind(["127.0.0.1", "::1"], 0, "websocket")

        names = [sock.getsockname()[:2] for sock in bound.sockets]
        listening._close(bound.sockets)
        port = names[0][1]
        assert names == [("127.0.0.1", port), ("::1", port)]
        assert port > 0
        assert bound.warnings == []

    def test_everywhere(self):
        """``0.0.0.0`` and ``::`` stand beside each other on one port."""
        bound = bind(["0.0.0.0", "::"], 0, "websocket")

        families = [sock.family for sock in bound.sockets]
        listening._close(bound.sockets)
        assert families == [socket.AF_INET, socket.AF_INET6]

    def test_same_address_twice(self):
        """An address that comes in twice, by name and by number, is bound once."""
        bound = bind(["127.0.0.1", "localhost", "127.0.0.1"], 0, "websocket")

        names = [sock.getsockname()[0] for sock in bound.sockets]
        listening._close(bound.sockets)
        assert names.count("127.0.0.1") == 1

    @needs_linux
    def test_options(self):
        """The sockets do not block, are not inherited by children, and have what accepted ones shall have."""
        (sock,) = bind(["127.0.0.1"], 0, "websocket").sockets
        with sock:
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            # Linux doubles what it is told, for its own overhead (socket(7))
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * limits.SOCKET_SEND_BUFFER
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * limits.SOCKET_RECEIVE_BUFFER

    @needs_linux
    def test_receive_buffer(self, monkeypatch: pytest.MonkeyPatch):
        """It is set, also where the system begins with the same: only then the kernel does not let it grow."""
        monkeypatch.setattr(limits, "SOCKET_RECEIVE_BUFFER", 48 * 1024)
        (sock,) = bind(["127.0.0.1"], 0, "websocket").sockets
        with sock, socket.create_connection(sock.getsockname()):
            sock.setblocking(True)
            accepted, _ = sock.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 96 * 1024

    @needs_linux
    def test_restart_at_once(self):
        """A port with a connection in TIME_WAIT can be bound again at once."""
        (sock,) = bind(["127.0.0.1"], 0, "websocket").sockets
        address = sock.getsockname()
        with sock, socket.create_connection(address):
            sock.setblocking(True)
            accepted, _ = sock.accept()
            accepted.close()

        (again,) = bind(["127.0.0.1"], address[1], "websocket").sockets
        again.close()

    def test_chosen_port_is_taken_elsewhere(self, monkeypatch: pytest.MonkeyPatch, made: list[socket.socket]):
        """With port 0, when the chosen port is taken on the second address, another one is chosen."""
        refusals = iter([True, True, False])
        refuse(monkeypatch, errno.EADDRINUSE, lambda address: address[0] == "127.0.0.1" or not next(refusals))

        bound = bind(["127.0.0.1", "::1"], 0, "websocket")

        assert len({sock.getsockname()[1] for sock in bound.sockets}) == 1
        assert len(made) == 4
        assert [sock.fileno() for sock in made[:2]] == [-1, -1]
        listening._close(bound.sockets)

    def test_no_port_is_free(self, monkeypatch: pytest.MonkeyPatch, made: list[socket.socket]):
        """Choosing again has an end, and nothing stays open after it."""
        refuse(monkeypatch, errno.EADDRINUSE, lambda address: address[0] == "127.0.0.1")

        with pytest.raises(CannotListen):
            bind(["127.0.0.1", "::1"], 0, "websocket")
        assert len(made) == listening.PORT_TRIES + 1
        assert {sock.fileno() for sock in made} == {-1}


class TestNoIpv6:
    """A machine without IPv6."""

    @pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
    @pytest.mark.parametrize(("hosts", "left_out"), [(["127.0.0.1", "::1"], "[::1]"), (["::", "0.0.0.0"], "[::]")])
    def test_left_out(self, monkeypatch: pytest.MonkeyPatch, number: int, hosts: list[str], left_out: str):
        """The loopback and the unspecified address are left out with a warning."""
        refuse(monkeypatch, number, lambda address: ":" not in address[0])

        bound = bind(hosts, 0, "websocket")

        listening._close(bound.sockets)
        assert len(bound.sockets) == 1
        (warning,) = bound.warnings
        assert warning.startswith(f"this machine has no IPv6: not listening on {left_out}:")

    @pytest.mark.parametrize("hosts", [["::1"], ["127.0.0.1", "2001:db8::1"]])
    def test_not_left_out(self, monkeypatch: pytest.MonkeyPatch, hosts: list[str]):
        """An address that was meant, or the only one, is a failure."""
        refuse(monkeypatch, errno.EAFNOSUPPORT, lambda address: ":" not in address[0])

        with pytest.raises(CannotListen, match=r"this machine has no IPv6, change server\.host"):
            bind(hosts, 0, "websocket")

    def test_other_refusals_count(self, monkeypatch: pytest.MonkeyPatch):
        """A taken port on ``::1`` is no lack of IPv6."""
        refuse(monkeypatch, errno.EACCES, lambda address: ":" not in address[0])

        with pytest.raises(CannotListen, match=r"\[::1\]"):
            bind(["127.0.0.1", "::1"], 0, "websocket")

    def test_warnings_of_both(self, monkeypatch: pytest.MonkeyPatch, opened: Open):
        """The warnings of both ports are those of the network."""
        refuse(monkeypatch, errno.EADDRNOTAVAIL, lambda address: ":" not in address[0])

        assert len(opened().warnings) == 2


class TestRefused:
    """Why an address cannot be had, and what to do."""

    def test_taken(self, held: int):
        """A taken port is named with its address, its holder and both ways to change it."""
        with pytest.raises(CannotListen) as caught:
            bind(["127.0.0.1"], held, "websocket")

        error = caught.value
        assert error.address == f"127.0.0.1:{held}"
        assert error.cause.errno == errno.EADDRINUSE
        assert error.advice == "stop what holds the port, or change server.ws_port (WSDEVICE_SERVER_WS_PORT)"
        if sys.platform == "linux":
            assert error.holder == f"pid {os.getpid()} (this very process)"

    def test_taken_on_one_address(self, held: int, made: list[socket.socket]):
        """When one address of two is taken, the other one is given back."""
        with pytest.raises(CannotListen) as caught:
            bind(["127.0.0.1", "127.0.0.2"], held, "http")

        assert "server.http_port (WSDEVICE_SERVER_HTTP_PORT)" in caught.value.advice
        assert [sock.fileno() for sock in made] == [-1]

    def test_ipv6_in_brackets(self):
        """An IPv6 address is written as it would be typed, with the port behind brackets."""
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(CannotListen, match=rf"^cannot listen on \[::1\]:{port}: Address already in use"):
                bind(["::1"], port, "websocket")

    def test_privileged(self, monkeypatch: pytest.MonkeyPatch, held: int):
        """A privileged port is said to be one, and whoever listens there is not blamed for it."""
        refuse(monkeypatch, errno.EACCES, lambda _: False)

        with pytest.raises(CannotListen, match=r"ports up to 1023 are privileged.*CAP_NET_BIND_SERVICE") as caught:
            bind(["127.0.0.1"], held, "websocket")
        assert caught.value.holder is None

    def test_not_ours(self):
        """An address of another machine points at the setting of the hosts."""
        with pytest.raises(CannotListen, match=r"not an address of this machine.*WSDEVICE_SERVER_HOST"):
            bind(["192.0.2.99"], 0, "websocket")

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "", "nul\0"])
    def test_unknown_name(self, monkeypatch: pytest.MonkeyPatch, host: str):
        """A name that does not resolve is told from an address that cannot be bound."""
        original = socket.getaddrinfo

        def getaddrinfo(name: str, *args: int, **kwargs: int) -> list[tuple[object, ...]]:
            if name.endswith(".invalid"):  # whether there is a name server or not
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return original(name, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

        with pytest.raises(CannotListen, match=r"the name does not resolve, change server\.host") as caught:
            bind([host], 8000, "websocket")
        assert str(caught.value).isprintable()

    def test_link_local(self):
        """A link-local address without its interface gets the right hint, or is not ours."""
        with pytest.raises(CannotListen, match=r"fe80::1%eth0|not an address of this machine|no IPv6"):
            bind(["fe80::1:2:3:4"], 0, "websocket")

    def test_something_else(self, monkeypatch: pytest.MonkeyPatch):
        """Any other error of the system is passed on with the settings it may come from."""
        refuse(monkeypatch, errno.EMFILE, lambda _: False)

        with pytest.raises(CannotListen, match=r"Too many open files; see server\.host .* and server\.ws_port"):
            bind(["127.0.0.1"], 0, "websocket")

    def test_both_ports_at_once(self, held: int, made: list[socket.socket]):
        """All that is wrong with a start is said at once, and nothing stays open."""
        # .99: an address that nothing else on this machine asks a free port of
        server = ServerConfig(host=["127.0.0.1", "192.0.2.99", "127.0.0.99"], ws_port=held, http_port=held)

        with pytest.raises(SeveralCannotListen) as caught:
            open_network(server, {})

        assert [failure.address for failure in caught.value.failures] == [
            f"127.0.0.1:{held}",
            f"192.0.2.99:{held}",
            f"127.0.0.1:{held}",
            f"192.0.2.99:{held}",
            f"127.0.0.99:{held}",
        ]
        told = f"wsdevice: {caught.value}".splitlines()
        assert len(told) == 5
        assert all(line.startswith("wsdevice: cannot listen on ") for line in told)
        assert caught.value.address == f"127.0.0.1:{held}"
        assert {sock.fileno() for sock in made} == {-1}

    def test_one_of_two_ports(self, held: int, made: list[socket.socket]):
        """When only the HTTP port is taken, the WebSocket port is given back."""
        with pytest.raises(CannotListen, match=r"server\.http_port") as caught:
            open_network(ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=held), {})

        assert not isinstance(caught.value, SeveralCannotListen)
        assert [sock.fileno() for sock in made] == [-1]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 8000), "127.0.0.1:8000"),
        (("::1", 8000, 0, 0), "[::1]:8000"),
        (("fe80::1", 8000, 0, 2), "[fe80::1%2]:8000"),
        (("gateway.example", 8000), "gateway.example:8000"),
        (("evil\x1b[2J", 8000), "evil\\x1b[2J:8000"),
    ],
)
def test_address_text(address: Address, text: str):
    """Addresses are written as they would be typed."""
    assert address_text(address) == text


class Echo(asyncio.Protocol):
    """Keeps its transport, and sends back what it receives."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        assert self.transport is not None
        self.transport.write(data)


async def echo(port: int, host: str = "127.0.0.1") -> bytes:
    """Connect, and say hello."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello")
        answer = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
    return answer


class TestNetwork:
    """What the gateway does with its network."""

    async def test_serves_each_address(self, opened: Open):
        """Each kind is served on all its addresses, and under its real port."""
        network = opened()
        await network.serve("websocket", Echo)
        await network.serve("http", Echo)

        for what in ("websocket", "http"):
            port = network.port(what)
            assert network.addresses(what) == [f"127.0.0.1:{port}", f"[::1]:{port}"]
            assert await echo(port) == b"hello"
            assert await echo(port, "::1") == b"hello"
        assert network.port("websocket") != network.port("http")

    async def test_peer_that_came_early(self, opened: Open):
        """A peer that connects between binding and serving is not refused; it is served when it begins."""
        network = opened()
        early = asyncio.ensure_future(echo(network.port("websocket")))
        await asyncio.sleep(0.01)
        assert not early.done()

        await network.serve("websocket", Echo)

        assert await early == b"hello"

    @needs_linux
    async def test_accepted_socket(self, opened: Open):
        """An accepted connection has the buffers and the timeout of its listening socket, and no delay."""
        network = opened()
        accepted: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

        class Noted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.put_nowait(transport)

        await network.serve("websocket", Noted)
        with socket.create_connection(("127.0.0.1", network.port("websocket"))):
            transport = await asyncio.wait_for(accepted.get(), DEADLINE)
            sock = transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * limits.SOCKET_SEND_BUFFER
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * limits.SOCKET_RECEIVE_BUFFER
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            transport.close()

    @needs_linux
    async def test_backlog(self, opened: Open):
        """Serving leaves the backlog as large as the kernel allows, though a turn accepts fewer."""
        network = opened()
        await network.serve("websocket", Echo)

        allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())  # noqa: ASYNC240 - /proc does not block
        for sock in network._sockets["websocket"]:
            # of a listening socket, tcpi_sacked is the largest backlog (tcp_get_info in net/ipv4/tcp.c)
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
            assert struct.unpack_from("I", info, 8 + 5 * 4)[0] == min(listening.BACKLOG, allowed)

    async def test_close(self, opened: Open):
        """Closing refuses new connections and leaves those that are open alone; twice is as good as once."""
        network = opened()
        await network.serve("websocket", Echo)
        port = network.port("websocket")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        assert await asyncio.wait_for(reader.readexactly(1), DEADLINE) == b"a"

        network.close()
        network.close()

        with pytest.raises(ConnectionRefusedError):
            await echo(port)
        writer.write(b"b")
        assert await asyncio.wait_for(reader.readexactly(1), DEADLINE) == b"b"
        writer.close()
        await writer.wait_closed()

    async def test_serve_twice(self, opened: Open):
        """One kind cannot be served twice."""
        network = opened()
        await network.serve("websocket", Echo)

        with pytest.raises(Misuse, match="serve websocket once"):
            await network.serve("websocket", Echo)


class TestPassed:
    """Sockets that systemd bound."""

    def test_by_name(self, opened: Open, pass_on: PassOn):
        """Named sockets go where their names say, several of one name together, with our options on them."""
        with (
            socket.create_server(("127.0.0.1", 0)) as http,
            socket.create_server(("127.0.0.1", 0)) as one,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
        ):
            ports = [sock.getsockname()[1] for sock in (http, one, other)]
            environ = pass_on(*(s.fileno() for s in (http, one, other)), names="http:websocket:websocket")

        network = opened(ServerConfig(), environ)

        assert network.addresses("http") == [f"127.0.0.1:{ports[0]}"]
        assert network.addresses("websocket") == [f"127.0.0.1:{ports[1]}", f"[::1]:{ports[2]}"]
        assert environ == {"HOME": "/"}
        for sock in network._sockets["websocket"]:
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            assert sock.proto == socket.IPPROTO_TCP
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * limits.SOCKET_SEND_BUFFER

    @pytest.mark.parametrize("names", [None, "wsdevice.socket:wsdevice.socket", "one:two"])
    def test_by_position(self, opened: Open, pass_on: PassOn, names: str | None):
        """Without a name of ours, the first is for WebSocket and the second for HTTP."""
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            ports = [sock.getsockname()[1] for sock in (first, second)]
            environ = pass_on(first.fileno(), second.fileno(), names=names)

        network = opened(ServerConfig(), environ)

        assert [network.port("websocket"), network.port("http")] == ports

    async def test_only_one(self, opened: Open, pass_on: PassOn):
        """What was not passed is bound as configured; what was passed is served."""
        with socket.create_server(("127.0.0.1", 0)) as passed:
            port = passed.getsockname()[1]
            environ = pass_on(passed.fileno(), names="websocket")

        network = opened(ANYWHERE, environ)
        await network.serve("websocket", Echo)

        assert len(network.addresses("http")) == 2
        assert await echo(port) == b"hello"

    def test_too_many_without_names(self, pass_on: PassOn):
        """A third one without a name cannot be told what it is for."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            environ = pass_on(*[sock.fileno()] * 3)

        with pytest.raises(CannotListen, match=r"descriptor 702 \(\): expected the name websocket or http"):
            open_network(ANYWHERE, environ)

    def test_strange_name(self, pass_on: PassOn):
        """Beside a name of ours, another one is a mistake."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            environ = pass_on(sock.fileno(), sock.fileno(), names="websocket:htpp\x1b")

        with pytest.raises(
            CannotListen, match=r"descriptor 701 \(htpp\\x1b\): expected the name .*FileDescriptorName="
        ):
            open_network(ANYWHERE, environ)

    def test_wrong_kind(self, pass_on: PassOn):
        """A file, datagrams, a local socket, one that does not listen, and one that is not there are refused."""
        with (
            Path("/dev/null").open() as null,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_UNIX) as local,
            socket.socket() as idle,
        ):
            local.bind(f"\0wsdevice-test-{os.getpid()}")
            local.listen()
            environ = pass_on(*(f.fileno() for f in (null, datagrams, local, idle)), names=":".join(["http"] * 5))
            environ["LISTEN_FDS"] = "5"

        with pytest.raises(SeveralCannotListen) as caught:
            open_network(ANYWHERE, environ)

        assert [failure.cause.strerror for failure in caught.value.failures] == [
            "Socket operation on non-socket",
            "expected a listening TCP socket",
            "expected a listening TCP socket",
            "expected a listening TCP socket",
            "Bad file descriptor",
        ]
        assert "ListenStream=" in caught.value.advice

    def test_beyond_loopback(self, opened: Open, pass_on: PassOn):
        """A socket for the world needs a host for the world, on which it hangs whether tokens are asked for."""
        with socket.create_server(("0.0.0.0", 0)) as sock:
            environ = pass_on(sock.fileno(), names="websocket")
            again = dict(environ)
            with pytest.raises(CannotListen, match=r"0\.0\.0\.0:\d+ is beyond loopback, which server.host"):
                open_network(ANYWHERE, environ)
            pass_on(sock.fileno())

        network = opened(ServerConfig(host=["0.0.0.0"], http_port=0), again)

        assert network.addresses("websocket")[0].startswith("0.0.0.0:")

    def test_of_another_process(self, opened: Open):
        """Variables that were meant for another process pass nothing, and are taken out all the same."""
        environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2"}

        assert len(opened(ANYWHERE, environ).addresses("websocket")) == 2
        assert environ == {}

    def test_real_descriptors(self):
        """A process that is started as systemd starts it takes descriptors 3 and 4."""
        program = """
import os, socket
for number in (50, 51):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        print(sock.getsockname()[1])
        os.dup2(sock.fileno(), number)
for number in (3, 4):
    os.dup2(number + 47, number)
    os.close(number + 47)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="http:websocket")

from gateway.config import ServerConfig
from gateway.listening import open_network

network = open_network(ServerConfig())
print(network.port("http"), network.port("websocket"), sep="\\n")
print([name for name in os.environ if name.startswith("LISTEN_")])
network.close()
"""
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

        assert ended.returncode == 0, ended.stderr
        first, second, http, websocket, left = ended.stdout.splitlines()
        assert (http, websocket, left) == (first, second, "[]")


def test_nothing_left_open_by_an_empty_network():
    """A network that was never served closes its sockets."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    network = ListeningSockets(Bound(sockets[:1], []), Bound(sockets[1:], []))

    network.close()

    assert [sock.fileno() for sock in sockets] == [-1, -1]
