"""The TCP ports of a board: one client at a time, gone and back, and what a slow client costs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import serial

from harness.errors import Misuse
from harness.virtual.errors import CannotServe
from harness.virtual.ports.raw_tcp import RawTcp
from harness.virtual.ports.rfc2217 import Rfc2217
from harness.virtual.ports.tcp import TcpPort

pyserial_warns = pytest.mark.filterwarnings("ignore:set(Daemon|Name)")
"""pyserial 3.5 sets its reader thread up as Python 2 did."""


class Board:
    """The board's side, which keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self._changed = threading.Condition()
        self.hold = threading.Event()
        self.hold.set()

    def _tell(self, what: object) -> None:
        with self._changed:
            self.told.append(what)
            self._changed.notify_all()

    def host_sent(self, data: bytes, baud: int | None) -> None:
        """Keep it."""
        self._tell((data, baud))
        self.hold.wait(8)

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Keep it."""
        self._tell({"dtr": dtr, "rts": rts})

    def connected(self, url: str) -> None:
        """Keep it."""
        self._tell("connected")

    def disconnected(self, url: str) -> None:
        """Keep it."""
        self._tell("disconnected")

    def wait_for(self, what: object, times: int = 1) -> None:
        """Wait until it was told so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.told.count(what) >= times, 5), self.told


@pytest.fixture
def board():
    """A board's side."""
    return Board()


@pytest.fixture
def raw(board) -> Iterator[TcpPort]:
    """A port that carries bytes."""
    port = TcpPort(board, "socket", RawTcp)
    yield port
    port.close()


@pytest.fixture
def rfc2217(board) -> Iterator[TcpPort]:
    """A port with everything."""
    port = TcpPort(board, "rfc2217", Rfc2217)
    yield port
    port.close()


def client_of(port: TcpPort) -> socket.socket:
    """A client, on the wire itself."""
    client = socket.create_connection((port.host, port.port), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read(client: socket.socket, size: int) -> bytes:
    """So many bytes."""
    got = b""
    while len(got) < size and (more := client.recv(size - len(got))):
        got += more
    return got


def test_bytes_both_ways(board, raw):
    """Without a baud rate, and without a word about lines at the end."""
    with client_of(raw) as client:
        client.sendall(b"abc\xff")
        board.wait_for((b"abc\xff", None))
        raw.deliver(b"def\xff")
        assert read(client, 4) == b"def\xff"
    board.wait_for("disconnected")

    assert board.told == ["connected", (b"abc\xff", None), "disconnected"]
    assert raw.url == f"socket://127.0.0.1:{raw.port}"
    assert raw.clients == 1


def test_one_client_at_a_time(board, raw):
    """A second one waits, and is served when the first has gone."""
    first, second = client_of(raw), client_of(raw)
    board.wait_for("connected")
    second.sendall(b"second")
    first.sendall(b"first")
    board.wait_for((b"first", None))
    assert (b"second", None) not in board.told
    first.close()
    board.wait_for((b"second", None))
    raw.deliver(b"for the second")
    assert read(second, 14) == b"for the second"
    second.close()

    assert raw.clients == 2


def test_without_a_client(board, raw):
    """What is delivered is lost, as on a wire that nobody listens at."""
    raw.deliver(b"lost")
    with client_of(raw) as client:
        board.wait_for("connected")
        raw.deliver(b"heard")
        assert read(client, 5) == b"heard"
    assert raw.lost == 0


def test_client_that_does_not_read(board, raw):
    """It holds up nobody; at last the oldest bytes are lost, and what it reads goes on after a gap."""
    with client_of(raw) as client:
        board.wait_for("connected")
        began = time.monotonic()
        for number in range(20_000):
            raw.deliver(b"%07d\n" % number * 64)
        assert time.monotonic() - began < 5
        assert raw.lost > 0
        lost, got = raw.lost, read(client, 20_000 * 512 - raw.lost)

    assert len(got) == 20_000 * 512 - lost
    assert got.endswith(b"0019999\n")
    assert got.startswith(b"0000000\n")


def test_purge(board, rfc2217):
    """What waits for a client that has asked to forget it does not come any more; what comes after does."""
    client = socket.socket()
    client.settimeout(5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with client:
        client.connect((rfc2217.host, rfc2217.port))
        board.wait_for("connected")
        rfc2217._client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that next to all has to wait
        rfc2217.deliver(b"old" * 300_000)
        client.sendall(b"\xff\xfa\x2c\x0c\x01\xff\xf0x")
        board.wait_for((b"x", 115200))
        rfc2217.deliver(b"new")
        got = b""
        while not got.endswith(b"new"):
            got += client.recv(1 << 16)

    assert len(got) < 450_000
    assert b"\xff\xfa\x2c\x70\x01\xff\xf0" in got
    assert rfc2217.lost == 0


def test_vanished_and_back(board, raw):
    """Clients are cut and refused meanwhile; then it is there at the same number."""
    client = client_of(raw)
    board.wait_for("connected")
    raw.vanish()
    raw.vanish()
    assert read(client, 1) == b""
    client.close()
    raw.deliver(b"lost")
    with pytest.raises(ConnectionRefusedError):
        client_of(raw)
    raw.come_back()
    raw.come_back()
    with client_of(raw):
        board.wait_for("connected", 2)


@pyserial_warns
def test_vanish_drops_both_lines(board, rfc2217):
    """So that the board is not reset by it."""
    client = serial.serial_for_url(rfc2217.url)
    board.wait_for({"dtr": None, "rts": True})
    rfc2217.vanish()
    client.close()

    assert board.told[-2:] == [{"dtr": False, "rts": False}, "disconnected"]


def test_taken_port(board, raw):
    """It says where, and what can be done."""
    with pytest.raises(CannotServe, match=f"127.0.0.1:{raw.port}: Address already in use; another port may be free"):
        TcpPort(board, "socket", RawTcp, port=raw.port)


def test_taken_while_it_was_away(board, raw):
    """Its number is kept, but not from one who insists: it says so, and comes back when that one has gone."""
    raw.vanish()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", raw.port))
        other.listen()
        with pytest.raises(CannotServe, match="Address already in use"):
            raw.come_back()
    raw.come_back()
    with client_of(raw):
        board.wait_for("connected")


def test_vanish_from_its_own_thread(board, raw):
    """What the port calls must not close it, as it would wait for itself."""
    seen = []

    def close(data: bytes, baud: int | None) -> None:
        with pytest.raises(Misuse, match="another thread than its own"):
            raw.vanish()
        seen.append(data)

    board.host_sent = close
    with client_of(raw) as client:
        client.sendall(b"x")
        assert read(client, 1) == b""  # it ends all the same, for good

    assert seen == [b"x"]


def test_client_that_resets(board, raw):
    """A reset of the connection is an end like any other."""
    client = client_of(raw)
    board.wait_for("connected")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    board.wait_for("disconnected")
    raw.deliver(b"lost")
    with client_of(raw):
        board.wait_for("connected", 2)


@pyserial_warns
def test_pyserial_client(board, rfc2217):
    """The RFC 2217 client of pyserial opens, sets the rate and the lines, sends and receives, and closes."""
    with serial.serial_for_url(rfc2217.url, baudrate=115200, timeout=5) as client:
        assert (client.dtr, client.rts) == (True, True)
        board.wait_for({"dtr": True, "rts": None})
        client.baudrate = 921600
        assert rfc2217.baud == 921600
        client.write(b"a\xffb")
        board.wait_for((b"b", 921600))
        rfc2217.deliver(bytes(range(256)))
        assert client.read(256) == bytes(range(256))
        client.rts = False
        board.wait_for({"dtr": None, "rts": False})
        assert client.cts
        client.reset_input_buffer()
    board.wait_for("disconnected")

    assert board.told[-2] == {"dtr": False, "rts": False}
    assert rfc2217.baud is None
