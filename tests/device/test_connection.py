"""One socket and everything a peer may do to it, over real loopback connections; no gateway behind it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from gateway.config import Config, HandshakeConfig, LimitsConfig, ServerConfig
from gateway.device.connection import Connection, Switchboard
from gateway.device.kernel_queue import UNSENT_BYTES
from gateway.device.outbox import Sent
from gateway.errors import HandshakeRefused
from gateway.protocol import limits
from gateway.protocol.close_codes import CloseCode
from tests.protocol.test_frames import streams
from tests.raw_peer import (
    BINARY,
    CLOSE,
    CONT,
    DEADLINE,
    PING,
    PONG,
    TEXT,
    Gone,
    RawPeer,
    Received,
    frame,
    say,
    upgrade,
)
from tests.virtual_time import VirtualTimeLoop, timers, virtual_time


class Receiver:
    """Takes what a connection receives, and notes it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.seen: list[tuple[str, Any]] = []
        self.answers_pings = True
        self.on_text: Callable[[bytes], Any] = lambda _payload: None
        self.end: tuple[int, str, str, bool] | None = None

    def opened(self) -> None:
        """The upgrade was answered."""
        self.seen.append(("opened", b""))

    def text_received(self, payload: bytes) -> None:
        """Note it, and do what the test wants."""
        self.seen.append(("text", bytes(payload)))
        self.on_text(payload)

    def binary_received(self, payload: bytes) -> None:
        """Note it."""
        self.seen.append(("binary", bytes(payload)))

    def ping_received(self) -> bool:
        """Note it, and say whether it is to be answered."""
        self.seen.append(("ping", b""))
        return self.answers_pings

    def other_received(self) -> None:
        """Note it."""
        self.seen.append(("other", b""))

    def audio_dropped(self) -> None:
        """Note it."""
        self.seen.append(("dropped", b""))

    def closed(self, code: int, reason: str, by: str, *, aborted: bool) -> None:
        """Note how it ended."""
        assert self.end is None, "told twice"
        self.end = (code, reason, by, aborted)

    def of(self, kind: str) -> list[Any]:
        """What was seen of one kind, in order."""
        return [what for name, what in self.seen if name == kind]


class Reception:
    """Takes everybody, or refuses."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []
        self.refusals: list[int] = []
        self.refuse: Exception | None = None
        self.address = "127.0.0.1"

    def receive(self, connection: Connection, request: Request, address: str) -> Receiver:
        """Take the connection."""
        assert address == self.address
        if self.refuse is not None:
            raise self.refuse
        self.receivers.append(Receiver(connection))
        return self.receivers[-1]

    def refused(self, refusal: HandshakeRefused, address: str) -> None:
        """Note the status."""
        self.refusals.append(refusal.status)


class Stand:
    """A switchboard that is being served, and its reception."""

    def __init__(self, board: Switchboard, reception: Reception, port: int) -> None:
        self.board = board
        self.reception = reception
        self.port = port

    async def open(self, request: bytes = b"", *, receive_buffer: int | None = None) -> tuple[RawPeer, Receiver]:
        """Open one connection: the peer's end and ours."""
        peer = await RawPeer.open(self.port, request, receive_buffer=receive_buffer)
        peers.append(peer)
        return peer, self.reception.receivers[-1]

    async def connect(self) -> RawPeer:
        """Connect and say nothing yet."""
        peers.append(await RawPeer.connect(self.port))
        return peers[-1]


Serve = Callable[..., Awaitable[Stand]]
peers: list[RawPeer] = []


@pytest.fixture
async def serve(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Serve]:
    """Return a function that serves connections with these limits; at the end nothing of them may be left."""
    caplog.set_level(logging.WARNING)
    servers: list[asyncio.Server] = []
    stands: list[Stand] = []

    async def start(
        config: Config | None = None,
        *,
        send_buffer: int | None = None,
        receive_buffer: int | None = None,
        **changed: Any,
    ) -> Stand:
        reception = Reception()
        board = Switchboard(config or Config(limits=LimitsConfig(**changed)), reception)
        server = await asyncio.get_running_loop().create_server(board.connection, "127.0.0.1", 0)
        if send_buffer is not None:
            server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if receive_buffer is not None:
            server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        servers.append(server)
        stands.append(Stand(board, reception, server.sockets[0].getsockname()[1]))
        return stands[-1]

    try:
        yield start
        for peer in peers:
            peer.cut()
        for stand in stands:
            await until(lambda stand=stand: not stand.board.connections)
            assert all(receiver.end is not None for receiver in stand.reception.receivers)
        assert not timers_of_connections()
        assert not any(len(stand.board.unanswered) for stand in stands)
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    finally:
        peers.clear()
        for server in servers:
            server.close()


def timers_of_connections() -> list[asyncio.TimerHandle]:
    """Timers that a connection has set in the running loop."""
    scheduled = asyncio.get_running_loop()._scheduled
    return [
        timer
        for timer in scheduled
        if not timer.cancelled() and isinstance(getattr(timer._callback, "__self__", None), Connection)
    ]


async def until(condition: Callable[[], Any], within: float = DEADLINE) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.002)


async def stalled(stand: Stand, held: int = 3 * limits.WRITE_HIGH_WATER // 4) -> tuple[RawPeer, Receiver]:
    """Open a connection whose peer reads nothing, and write until that much waits for it and stays."""
    peer, receiver = await stand.open(receive_buffer=4096)
    connection = receiver.connection
    steady = 0
    async with asyncio.timeout(DEADLINE):
        while steady < 5:  # the two kernels may move a little more
            while connection.queued < held:
                steady = 0
                connection.send_text(b"f" * 1000)
                await asyncio.sleep(0)
            steady += 1
            await asyncio.sleep(0.005)
    return peer, receiver


async def fill(connection: Connection) -> None:
    """Send until what is sent has to wait."""
    async with asyncio.timeout(DEADLINE):
        while connection.send_text(b"f" * 2000) is Sent.WRITTEN:  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0)


def now() -> float:
    """The time of the running loop."""
    return asyncio.get_running_loop().time()


BOUNDED = 4.0
"""Seconds that no close comes near, however loaded the machine; one that is not bounded takes longer, or for ever."""

SMALL = {"send_buffer": 8192}  # a kernel that holds little, so that a slow reader is felt early


# --- the request -------------------------------------------------------------------------------------------------


async def test_open_timeout_ends_whoever_says_nothing(serve: Serve):
    """No answer, just the end; half a request is as good as none."""
    stand = await serve(Config(handshake=HandshakeConfig(open_timeout=0.15)))
    silent, half, slow = await stand.connect(), await stand.connect(), await stand.connect()
    began = now()
    await half.send(upgrade()[:-1])

    await slow.send_pieces(upgrade()[:40])
    assert [await peer.end() for peer in (silent, half, slow)] == [b""] * 3
    assert 0.1 < now() - began < 1.0
    assert stand.reception.refusals == [408] * 3
    assert not stand.reception.receivers


async def test_open_timeout_is_over_with_the_answer(serve: Serve):
    """A device that is silent after its upgrade is another matter."""
    stand = await serve(Config(handshake=HandshakeConfig(open_timeout=0.1)))
    peer, receiver = await stand.open()
    await asyncio.sleep(0.2)
    assert receiver.connection.is_open
    await peer.send(frame(TEXT, b"here"))
    await until(lambda: receiver.of("text") == [b"here"])


async def test_request_in_single_bytes(serve: Serve):
    """However slowly it comes, as long as it comes in time."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send_pieces(upgrade())
    assert (await peer.answer()).status == 101


async def test_answer_is_that_of_rfc_6455(serve: Serve):
    """The key's answer, and neither extension nor subprotocol, whatever is offered."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(
        upgrade(
            Sec_WebSocket_Extensions="permessage-deflate",
            Sec_WebSocket_Protocol="chat",
            Connection="keep-alive, Upgrade",
        )
    )
    answer = await peer.answer()
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == "BACScCJPNqyz+UBoqMH89VmURoA="
    assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(answer.headers)


@pytest.mark.parametrize("split", [1, 10, 100], ids=lambda size: f"last {size} bytes apart")
async def test_frames_that_come_with_the_request_are_heard_after_the_101(serve: Serve, split: int):
    """Some clients do not wait for the answer; whole frames and the beginning of one are not lost."""
    stand = await serve()
    peer = await stand.connect()
    frames = frame(TEXT, b"one") + frame(BINARY, b"two") + frame(TEXT, b"three" * 30)
    data = upgrade() + frames
    await peer.send(data[:-split])
    await until(lambda: stand.reception.receivers)
    await peer.send(data[-split:])
    (receiver,) = stand.reception.receivers
    await until(lambda: len(receiver.seen) == 4)
    assert receiver.seen == [("opened", b""), ("text", b"one"), ("binary", b"two"), ("text", b"three" * 30)]
    assert (await peer.answer()).status == 101


async def test_broken_frame_in_the_packet_of_the_request_is_refused_after_the_101(serve: Serve):
    """The request was good; the frame was not."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(upgrade() + frame(TEXT, b"x", mask=None))
    assert (await peer.answer()).status == 101
    assert await peer.closed() == 1002


async def test_end_in_the_packet_of_the_request(serve: Serve):
    """A peer that asks and leaves is answered, and gone."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(upgrade())
    peer.half_close()
    assert (await peer.answer()).status == 101
    assert await peer.end() == b""
    await until(lambda: stand.reception.receivers[0].end)
    assert stand.reception.receivers[0].end[0] == 1006


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /any?thing=1 HTTP/1.0\r\n\r\n"])
async def test_plain_get_is_told_that_the_server_is_running(serve: Serve, request_: bytes):
    """People's port check, and a load balancer's; the socket is closed after it."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(request_)
    answer = await peer.answer()
    assert (answer.status, answer.body) == (200, b"Server is running\n")
    assert await peer.end() == b""
    assert not stand.reception.refusals
    peer.cut()
    await until(lambda: not stand.board.connections)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (upgrade("/" + "a" * 9000), 414),
        (upgrade("/", ("X", "a" * 9000)), 431),
        (upgrade("/", *[("X", "a" * 4000)] * 5), 431),
        (b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaa\r\n" * 2000, 431),
        (upgrade(method="POST"), 405),
        (upgrade(protocol="HTTP/1.0"), 505),
        (upgrade(drop=["Upgrade"]), 426),
        (upgrade(drop=["Sec-WebSocket-Key"]), 400),
    ],
    ids=["line", "header", "whole", "without end", "POST", "HTTP/1.0", "no Upgrade", "no key"],
)
async def test_bad_request_is_answered_recorded_once_and_closed(serve: Serve, data: bytes, status: int):
    """Exactly one record, whoever found the fault."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(data)
    answer = await peer.answer()
    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert b"aaaa" not in answer.body
    assert await peer.end() == b""
    assert stand.reception.refusals == [status]


@pytest.mark.parametrize("body", [b"hello", b""], ids=["body", "body announced"])
async def test_request_with_a_body_is_dropped_at_once(serve: Serve, body: bytes):
    """Not read, not answered, and not waited for."""
    stand = await serve()
    peer = await stand.connect()
    began = now()
    await peer.send(upgrade(Content_Length="5") + body)
    assert await peer.end() == b""
    assert now() - began < 0.5
    assert stand.reception.refusals == [400]


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", upgrade(method="POST"), b"\0\r\n\r\n"])
async def test_one_request_is_answered_once(serve: Serve, first: bytes):
    """What comes after an answer is not read as another request."""
    stand = await serve()
    peer = await stand.connect()
    await peer.send(first)
    await asyncio.sleep(0.02)
    await peer.send(b"GET / HTTP/1.1\r\n\r\n" + upgrade())
    assert (await peer.end()).count(b"HTTP/1.1 ") == (0 if first.startswith(b"\0") else 1)
    peer.cut()
    await until(lambda: not stand.board.connections)
    assert len(stand.reception.refusals) == (0 if first.startswith(b"GET") else 1)
    assert not stand.reception.receivers


async def test_reception_refuses_with_status_reason_and_headers(serve: Serve):
    """What it raises is what the peer gets."""
    stand = await serve()
    stand.reception.refuse = HandshakeRefused(503, "full", {"Retry-After": "7"})
    peer = await stand.connect()
    await peer.send(upgrade() + frame(TEXT, b"too early"))
    answer = await peer.answer()
    assert (answer.status, answer.body, answer.headers["retry-after"]) == (503, b"full\n", "7")
    assert await peer.end() == b""
    assert stand.reception.refusals == [503]


async def test_failing_reception_costs_one_device_a_500(serve: Serve, caplog: pytest.LogCaptureFixture):
    """Nothing of the exception reaches the peer; it is in our log."""
    stand = await serve()
    stand.reception.refuse = ZeroDivisionError("secret")
    peer = await stand.connect()
    await peer.send(upgrade())
    answer = await peer.answer()
    assert (answer.status, answer.body) == (500, b"internal error\n")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]
    caplog.clear()
    stand.reception.refuse = None
    await stand.open()


async def test_peer_that_does_not_read_its_refusal_is_gone_too(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """It keeps its socket for the close timeout, no longer."""
    monkeypatch.setattr(limits, "CLOSE_TIMEOUT", 0.1)
    stand = await serve()
    peer = await stand.connect()
    await peer.send(upgrade(method="POST"))
    await until(lambda: stand.reception.refusals)
    await until(lambda: not stand.board.connections, within=1.0)


async def test_sockets_past_the_limit_are_dropped_and_recorded(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """Those that are there stay; the one too many costs nothing but a record."""
    monkeypatch.setattr(limits, "UNANSWERED", 1)
    stand = await serve(Config(server=ServerConfig(max_connections=1)))
    first, second = await stand.connect(), await stand.connect()
    await until(lambda: len(stand.board.connections) == 2)
    third = await stand.connect()
    assert await third.end() == b""
    assert stand.reception.refusals == [503]
    for peer in (first, second):
        await peer.send(upgrade())
        assert (await peer.answer()).status == 101


async def test_unanswered_sockets_of_one_address_are_limited(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """Its place is free again once the request is complete, or the socket gone; those that are open do not count."""
    monkeypatch.setattr(limits, "UNANSWERED_PER_SITE", 2)
    stand = await serve()
    first, second = await stand.connect(), await stand.connect()
    await until(lambda: len(stand.board.connections) == 2)
    assert await (await stand.connect()).end() == b""
    assert stand.reception.refusals == [503]
    await first.send(upgrade())
    assert (await first.answer()).status == 101
    third = await stand.connect()
    second.cut()
    await until(lambda: len(stand.board.connections) == 2)
    await stand.open()
    await third.send(upgrade(method="POST"))
    assert (await third.answer()).status == 405
    assert stand.reception.refusals == [503, 405]


# --- closing -----------------------------------------------------------------------------------------------------


async def test_close_is_answered(serve: Serve):
    """The usual way: Close, Close, gone; long before the timeout."""
    stand = await serve()
    peer, receiver = await stand.open()
    began = now()
    receiver.connection.close(CloseCode.GOING_AWAY, "bye", 60.0)
    assert not receiver.connection.is_open
    found = await peer.frame()
    assert (found.opcode, found.code, found.payload[2:]) == (CLOSE, 1001, b"bye")
    await peer.send(frame(CLOSE, found.payload))
    with pytest.raises(Gone):
        await peer.frame()
    peer.cut()
    await receiver.connection.wait_closed()
    assert now() - began < BOUNDED
    assert receiver.end == (1001, "bye", "gateway", False)


async def test_close_that_is_not_answered_is_bounded(serve: Serve):
    """The firmware reads Close and never answers it."""
    stand = await serve()
    peer, receiver = await stand.open()
    began = now()
    receiver.connection.close(CloseCode.REPLACED, "replaced", 0.2)
    await receiver.connection.wait_closed()
    assert 0.15 < now() - began < BOUNDED
    assert receiver.end == (4001, "replaced", "gateway", True)
    assert await peer.closed() == 4001


async def test_close_that_is_answered_but_not_followed_by_the_end_is_bounded(serve: Serve):
    """The peer's Close does not buy it more time."""
    stand = await serve()
    peer, receiver = await stand.open()
    began = now()
    receiver.connection.close(CloseCode.REPLACED, "replaced", 0.2)
    await peer.frame()
    await peer.send(frame(CLOSE, b"\x0f\xa1"))
    await receiver.connection.wait_closed()
    assert now() - began < BOUNDED


async def test_close_of_a_peer_that_reads_nothing_is_bounded(serve: Serve):
    """Its buffers are full, the Close cannot even be written."""
    stand = await serve(**SMALL)
    _, receiver = await stalled(stand)
    began = now()
    receiver.connection.close(CloseCode.GOING_AWAY, "bye", 0.2)
    await receiver.connection.wait_closed()
    assert 0.15 < now() - began < BOUNDED
    assert receiver.end == (1001, "bye", "gateway", True)


async def test_close_of_a_peer_that_has_reset(serve: Serve):
    """Nobody is there; nothing is waited for, and nothing breaks."""
    stand = await serve()
    peer, receiver = await stand.open()
    peer.reset()
    receiver.connection.close(CloseCode.GOING_AWAY, "bye", 0.2)
    await receiver.connection.wait_closed()
    assert receiver.end[:3] == (1001, "bye", "gateway")


async def test_second_close_can_only_shorten(serve: Serve):
    """The first code stays; an earlier end wins, a later one does not."""
    stand = await serve()
    peer, receiver = await stand.open()
    began = now()
    receiver.connection.close(CloseCode.GOING_AWAY, "first", 60.0)
    receiver.connection.close(CloseCode.REPLACED, "second", 0.1)
    receiver.connection.close(CloseCode.REPLACED, "third", 60.0)
    await receiver.connection.wait_closed()
    assert now() - began < BOUNDED
    assert receiver.end == (1001, "first", "gateway", True)
    assert await peer.closed() == 1001
    receiver.connection.close(CloseCode.NORMAL, "too late")
    receiver.connection.abort("too late")
    await receiver.connection.wait_closed()


@pytest.mark.parametrize("how", ["close", "fail"])
async def test_close_is_readable_by_a_peer_that_goes_on_sending(serve: Serve, how: str):
    """What the peer sends meanwhile is read away: unread bytes would reset the connection and eat the Close frame."""
    stand = await serve()
    peer, receiver = await stand.open()
    flood = frame(BINARY, b"f" * 1000) * 8
    stop = asyncio.Event()

    async def send_on() -> None:
        try:
            while not stop.is_set():
                await peer.send(flood)
                await asyncio.sleep(0)
        except ConnectionError:
            pass

    task = asyncio.create_task(send_on())
    await until(lambda: len(receiver.seen) > 20)
    getattr(receiver.connection, how)(CloseCode.POLICY, "enough")
    receiver.connection.close(CloseCode.POLICY, "enough", 0.3)
    await asyncio.sleep(0.1)  # for the flood to go on into the closing connection
    assert await peer.closed() == 1008
    stop.set()
    await task


async def test_nothing_is_heard_after_close(serve: Serve):
    """Neither the rest of the same read, nor what comes later."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.on_text = lambda _: receiver.connection.close(CloseCode.NORMAL, "", 60.0)
    await peer.send(frame(TEXT, b"last") + frame(TEXT, b"same read") + frame(TEXT, b"half")[:5])
    await peer.frame()
    await peer.send(
        frame(TEXT, b"half")[5:] + frame(TEXT, b"later") + frame(PING, b"anybody") + frame(CLOSE, b"\x03\xe8")
    )
    with pytest.raises(Gone) as gone:  # no pong; and the peer's Close is found behind the half frame
        await peer.frame(BOUNDED)
    assert not gone.value.reset
    assert receiver.of("text") == [b"last"]


async def test_close_of_the_peer_right_behind_is_found(serve: Serve):
    """In the same read as what made us close; so that it is not waited for until the timeout."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.on_text = lambda _: receiver.connection.close(CloseCode.NORMAL, "", 5.0)
    await peer.send(frame(TEXT, b"last") + frame(TEXT, b"left alone") + frame(CLOSE, b"\x03\xe8"))
    assert await peer.closed() == 1000
    peer.cut()
    await receiver.connection.wait_closed()
    assert receiver.end == (1000, "", "gateway", False)
    assert receiver.of("text") == [b"last"]


async def test_pings_into_a_closing_connection_are_not_answered(serve: Serve):
    """Or a peer that does not read could have its pongs pile up past every limit."""
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    receiver.connection.close(CloseCode.GOING_AWAY, "bye", 0.3)
    held = receiver.connection.queued
    flood = asyncio.create_task(peer.send(frame(PING, b"x" * 125) * 20000))
    while not receiver.connection.lost:
        assert receiver.connection.queued <= held
        await asyncio.sleep(0.01)
    await asyncio.gather(flood, return_exceptions=True)


@pytest.mark.parametrize("code", [CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.TOO_BIG])
async def test_fail_says_why_and_ends_our_side(serve: Serve, code: CloseCode):
    """Close, then the end of the stream, without waiting for an answer."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.connection.send_text(b"before")
    receiver.connection.fail(code, "because")
    assert receiver.connection.send_text(b"after") is Sent.FAILED
    assert [one[:2] for one in await peer.all_frames()] == [
        (TEXT, b"before"),
        (CLOSE, code.to_bytes(2, "big") + b"because"),
    ]
    peer.cut()
    await receiver.connection.wait_closed()
    assert receiver.end == (code, "because", "gateway", False)


async def test_fail_of_a_peer_that_reads_nothing_is_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """As with close."""
    monkeypatch.setattr(limits, "CLOSE_TIMEOUT", 0.1)
    stand = await serve(**SMALL)
    _, receiver = await stalled(stand)
    receiver.connection.fail(CloseCode.TOO_BIG, "big")
    async with asyncio.timeout(BOUNDED):
        await receiver.connection.wait_closed()
    assert receiver.end == (1009, "big", "gateway", True)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xf4bye", b"\x0f\xa1", b"\x13\x87"])
async def test_close_of_the_peer_is_echoed(serve: Serve, payload: bytes):
    """Code and reason as they came, then the end."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.connection.send_text(b"before")
    await peer.send(frame(CLOSE, payload) + frame(TEXT, b"late"))
    assert await peer.all_frames() == [Received(TEXT, b"before"), Received(CLOSE, payload)]
    assert not receiver.connection.is_open
    peer.cut()
    await receiver.connection.wait_closed()
    code = int.from_bytes(payload[:2], "big") or 1005
    assert receiver.end == (code, "", "peer", False)
    assert receiver.of("text") == []


async def test_peer_that_says_close_and_stays_is_gone_all_the_same(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """It had its echo; it does not keep the socket."""
    monkeypatch.setattr(limits, "CLOSE_TIMEOUT", 0.1)
    stand = await serve()
    peer, receiver = await stand.open()
    await peer.send(frame(CLOSE, b"\x03\xe8"))
    await until(lambda: receiver.end, within=BOUNDED)
    assert receiver.end == (1000, "", "peer", True)


async def test_end_without_close_is_1006(serve: Serve):
    """A device that is switched off, one that resets."""
    stand = await serve()
    for end in (RawPeer.cut, RawPeer.reset):
        peer, receiver = await stand.open()
        end(peer)
        await receiver.connection.wait_closed()
        assert receiver.end == (1006, "", "peer", False)


async def test_half_closed_peer_that_does_not_read_is_gone_in_time(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """It has said that it will send no more, and what waits for it cannot be written: it must not wait for ever."""
    monkeypatch.setattr(limits, "CLOSE_TIMEOUT", 0.1)
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    peer.half_close()
    async with asyncio.timeout(BOUNDED):
        await receiver.connection.wait_closed()
    assert receiver.end == (1006, "", "peer", True)


async def test_abort_is_at_once_and_drops_what_waits(serve: Serve):
    """No Close; what is sent after it in the same turn of the loop has failed."""
    stand = await serve()
    peer, receiver = await stand.open()
    connection = receiver.connection
    assert connection.send_text(b"never written") is Sent.WRITTEN
    connection.abort("enough")
    assert not connection.is_open
    assert (connection.send_text(b""), connection.send_audio(b""), connection.send_ping()) == (Sent.FAILED,) * 3
    await connection.wait_closed()
    assert receiver.end == (1006, "enough", "gateway", True)
    assert await peer.end() == b""
    assert (connection.queued, connection.lost) == (0, True)


async def test_a_bug_is_not_the_peers_end(serve: Serve, caplog: pytest.LogCaptureFixture):
    """What nobody has caught ends the connection, and is told as ours; a reset is the peer's."""
    stand = await serve()
    peer, receiver = await stand.open()

    def fail(_payload: bytes) -> None:
        raise RuntimeError("a bug")

    receiver.on_text = fail
    await peer.send(say("x"))
    await until(lambda: receiver.end is not None)
    assert receiver.end == (CloseCode.ABNORMAL, "internal error: RuntimeError", "gateway", False)
    assert "Fatal error: protocol.buffer_updated() call failed." in caplog.text
    caplog.clear()

    peer, receiver = await stand.open()
    peer.cut()
    await until(lambda: receiver.end is not None)
    assert receiver.end == (CloseCode.ABNORMAL, "", "peer", False)


# --- what breaks RFC 6455 ----------------------------------------------------------------------------------------

BROKEN = {
    "unmasked": (frame(TEXT, b"hi", mask=None), 1002),
    "reserved bit": (frame(TEXT, b"hi", rsv=0x40), 1002),
    "unknown opcode": (frame(3, b""), 1002),
    "unknown control opcode": (frame(11, b""), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "unmasked ping": (frame(PING, b"x", mask=None), 1002),
    "ping with reserved bit": (frame(PING, b"x", rsv=0x10), 1002),
    "stray continuation": (frame(CONT, b"x"), 1002),
    "message within a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
    "close of one byte": (frame(CLOSE, b"x"), 1002),
    "close 999": (frame(CLOSE, b"\x03\xe7"), 1002),
    "close 1005": (frame(CLOSE, b"\x03\xed"), 1002),
    "close 5000": (frame(CLOSE, b"\x13\x88"), 1002),
    "close reason not UTF-8": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "close within a message": (frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8"), 1002),
    "declared 2^63": (frame(BINARY, b"", length=2**63), 1009),
    "text over its limit": (frame(TEXT, b"x" * 65537), 1009),
    "binary over its limit": (frame(BINARY, b"x" * 16385), 1009),
}


@pytest.mark.parametrize("answers", [True, False], ids=["", "over the ping budget"])
@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("split", [None, 3], ids=["whole", "in two"])
async def test_broken_frame_ends_the_connection(serve: Serve, data: bytes, code: int, split: int | None, answers: bool):
    """With its code, and nothing that was behind it is heard, however the bytes come."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.answers_pings = answers
    await peer.send(data[:split])
    if split is not None:
        await asyncio.sleep(0.02)
    await peer.send((data[split:] if split is not None else b"") + frame(TEXT, b"smuggled") * 3)
    assert await peer.closed() == code
    assert receiver.of("text") == []
    peer.cut()
    await receiver.connection.wait_closed()
    peer_closed = "close within" in next(name for name, row in BROKEN.items() if row[0] == data)
    assert receiver.end[0] == (1000 if peer_closed else code)


async def test_messages_at_their_limits_are_taken(serve: Serve):
    """64 KiB of text, 16 KiB of binary; in one frame or in pieces."""
    stand = await serve()
    peer, receiver = await stand.open()
    for opcode, kind, size in ((TEXT, "text", 65536), (BINARY, "binary", 16384)):
        whole = b"x" * size
        await peer.send(frame(opcode, whole))
        await peer.send(frame(opcode, whole[: size // 2], fin=False) + frame(CONT, whole[size // 2 :]))
        await until(lambda kind=kind, whole=whole: receiver.of(kind) == [whole] * 2)


@pytest.mark.parametrize(("opcode", "size"), [(TEXT, 65537), (BINARY, 16385)], ids=["text", "binary"])
@pytest.mark.parametrize("pieces", [2, 7])
async def test_fragmented_message_over_its_limit(serve: Serve, opcode: int, size: int, pieces: int):
    """1009 as soon as it is known, not when the last piece has come."""
    stand = await serve()
    peer, receiver = await stand.open()
    each = size // pieces + 1
    parts = [each] * (size // each) + [size % each]
    await peer.send(frame(opcode, b"x" * parts[0], fin=False))
    for part in parts[1:]:
        await peer.send(frame(CONT, b"x" * part, fin=False))
    assert await peer.closed() == 1009
    assert receiver.end is None or receiver.end[0] == 1009


async def test_binary_limit_may_be_the_larger_one(serve: Serve):
    """Each limit is its own, also for messages in pieces."""
    stand = await serve(text_bytes=1024, binary_bytes=4096)
    peer, receiver = await stand.open()
    whole = b"x" * 4096
    await peer.send(frame(BINARY, whole) + frame(BINARY, whole[:2000], fin=False) + frame(CONT, whole[2000:]))
    await until(lambda: receiver.of("binary") == [whole] * 2)
    await peer.send(frame(TEXT, b"x" * 1000, fin=False) + frame(CONT, b"x" * 25))
    assert await peer.closed() == 1009


async def test_fragments_at_and_past_their_number(serve: Serve):
    """4096 pieces are a message, 4097 are an attack, empty or not."""
    stand = await serve(frames_per_second=1e6, frame_burst=100000)
    peer, receiver = await stand.open()
    pieces = frame(TEXT, b"a", fin=False) + frame(CONT, b"", fin=False) * 4094
    await peer.send(pieces + frame(CONT, b"z"))
    await until(lambda: receiver.of("text") == [b"az"])
    await peer.send(pieces + frame(CONT, b"", fin=False) + frame(CONT, b"z"))
    assert await peer.closed() == 1009
    assert receiver.of("text") == [b"az"]


# --- pings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"1", b"x" * 125])
async def test_ping_is_answered_with_its_payload(serve: Serve, payload: bytes):
    """Also the longest there may be."""
    stand = await serve()
    peer, _ = await stand.open()
    await peer.send(frame(PING, payload))
    assert await peer.frame() == Received(PONG, payload)


async def test_ping_that_the_receiver_will_not_have_answered(serve: Serve):
    """Its budget; the connection stays."""
    stand = await serve()
    peer, receiver = await stand.open()
    receiver.answers_pings = False
    await peer.send(frame(PING, b"1"))
    await until(lambda: receiver.of("ping"))
    receiver.answers_pings = True
    await peer.send(frame(PING, b"2"))
    assert await peer.frame() == Received(PONG, b"2")


async def test_pings_between_fragments(serve: Serve):
    """Control frames may stand within a message; it is whole all the same."""
    stand = await serve()
    peer, receiver = await stand.open()
    data = (
        frame(TEXT, b"a", fin=False)
        + frame(PING, b"1")
        + frame(CONT, b"b", fin=False)
        + frame(PONG, b"unasked")
        + frame(CONT, b"c")
        + frame(TEXT, b"d")
    )
    await peer.send_pieces(data, 3)
    assert await peer.frame() == Received(PONG, b"1")
    await until(lambda: receiver.of("text") == [b"abc", b"d"])
    assert len(receiver.of("other")) == 4  # three pieces and a pong, each a sign of life


async def test_ping_of_ours_and_its_pong(serve: Serve):
    """For the devices that are sent some."""
    stand = await serve()
    peer, receiver = await stand.open()
    assert receiver.connection.send_ping() is Sent.WRITTEN
    assert await peer.frame() == Received(PING, b"")
    await peer.send(frame(PONG, b""))
    await until(lambda: receiver.of("other"))


# --- writing -----------------------------------------------------------------------------------------------------


async def test_frames_of_one_turn_leave_in_one_write(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    """However many; in the order of the calls; the Close behind them too."""
    stand = await serve()
    peer, receiver = await stand.open()
    _, other = await stand.open()
    writes: list[int] = []
    for one in (receiver, other):
        transport = one.connection._transport
        monkeypatch.setattr(
            transport, "write", lambda data, write=transport.write: (writes.append(len(data)), write(data))
        )
    for n in range(10):
        assert receiver.connection.send_text(b"%d" % n) is Sent.WRITTEN
        assert receiver.connection.send_audio(b"%d" % n) is Sent.WRITTEN
        assert other.connection.send_text(b"%d" % n) is Sent.WRITTEN
    assert writes == []
    assert receiver.connection.queued == 60
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert writes == [60, 30]
    assert [(await peer.frame()).payload for _ in range(20)] == [b"%d" % (n // 2) for n in range(20)]
    receiver.connection.send_text(b"last")
    receiver.connection.close(CloseCode.NORMAL, "")
    assert writes[2:] == [6 + 4]
    assert (await peer.frame()).payload == b"last"
    assert (await peer.frame()).code == 1000


async def test_sending_tells_what_became_of_it(serve: Serve):
    """Written while the peer reads, queued behind one that does not, failed once closed."""
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    await fill(connection)
    assert connection.send_text(b"q") is Sent.QUEUED
    assert connection.send_audio(b"q") is Sent.QUEUED
    assert connection.send_ping() is Sent.QUEUED
    connection.close(CloseCode.NORMAL, "", 0.1)
    assert (connection.send_text(b""), connection.send_audio(b""), connection.send_ping()) == (Sent.FAILED,) * 3
    await connection.wait_closed()
    assert connection.send_text(b"") is Sent.FAILED
    peer.cut()


async def test_control_overtakes_audio_behind_a_slow_reader(serve: Serve):
    """Text, then audio, each lane in its order; nothing is lost, nothing is written twice."""
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    await fill(connection)
    for n in range(5):
        connection.send_audio(b"audio %d" % n)
        connection.send_text(b"text %d" % n)
    connection.send_ping()
    wanted = [(TEXT, b"text %d" % n) for n in range(5)] + [(PING, b"")] + [(BINARY, b"audio %d" % n) for n in range(5)]
    found: list[tuple[int, bytes]] = []
    while len(found) < len(wanted):
        one = await peer.frame()
        if one.payload[:2] != b"ff":
            found.append((one.opcode, one.payload))
    assert found == wanted
    await until(lambda: connection.queued == 0)
    assert connection.send_text(b"again") is Sent.WRITTEN
    assert (await peer.frame()).payload == b"again"


async def test_audio_lane_drops_its_oldest(serve: Serve):
    """Late audio is worth less than new audio; each drop is told."""
    stand = await serve(**SMALL, audio_lane=3)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    await fill(connection)
    connection.send_audio(b"dropped")
    assert connection.drop_audio() == 1
    assert [connection.send_audio(b"%d" % n) for n in range(5)] == [Sent.QUEUED] * 5
    assert len(receiver.of("dropped")) == 2
    found: list[bytes] = []
    while found[-1:] != [b"4"]:
        found.append((await peer.frame()).payload)
    assert found[-3:] == [b"2", b"3", b"4"]


async def test_drop_audio_leaves_text(serve: Serve):
    """Speech was aborted."""
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    await fill(receiver.connection)
    for n in range(4):
        receiver.connection.send_audio(b"%d" % n)
    receiver.connection.send_text(b"end")
    assert receiver.connection.drop_audio() == 4
    found = [await peer.frame()]
    while found[-1].payload != b"end":
        found.append(await peer.frame())
    assert all(one.opcode == TEXT for one in found)
    assert receiver.connection.queued == 0


@pytest.mark.parametrize("what", ["text", "pongs"])
async def test_full_control_lane_is_4008(serve: Serve, what: str):
    """A peer that lets its messages pile up, or the answers to its own pings, is not reading."""
    stand = await serve(**SMALL, control_lane=8)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    await fill(connection)
    if what == "text":
        assert [connection.send_text(b"x") for _ in range(8)] == [Sent.QUEUED] * 7 + [Sent.FAILED]
    else:
        await peer.send(frame(PING) * 8)
    await until(lambda: not connection.is_open)
    # now it reads, and gets to know why
    frames = [await peer.frame()]
    while frames[-1].opcode != CLOSE:
        frames.append(await peer.frame())
    assert frames[-1].code == 4008
    assert all(one.payload[:2] == b"ff" for one in frames[:-1])  # the lanes were dropped
    await peer.send(frame(CLOSE, b"\x0f\xa8"))
    peer.cut()
    await connection.wait_closed()
    assert receiver.end == (4008, "too many messages wait for this device", "gateway", False)


async def test_write_budget_ends_the_connection(serve: Serve):
    """At once, with all that waits: whatever the lanes would still hold."""
    stand = await serve(**SMALL, write_budget_bytes=40000)
    _, receiver = await stalled(stand)
    connection = receiver.connection
    sent = Sent.WRITTEN
    most = 0
    while sent is not Sent.FAILED:
        most = max(most, connection.queued)
        sent = connection.send_text(b"f" * 2000)
        await asyncio.sleep(0)
    assert most <= 40000
    assert connection.send_text(b"x") is Sent.FAILED
    await connection.wait_closed()
    assert receiver.end == (4008, "write budget exceeded", "gateway", True)
    assert connection.queued == 0


@pytest.mark.parametrize("held", [8000, 3 * limits.WRITE_HIGH_WATER], ids=["a little", "much"])
async def test_stalled_reader_is_aborted_at_the_send_deadline(serve: Serve, held: int):
    """Counted from the last byte that moved; whether its lanes are filling or its transport just holds a little."""
    stand = await serve(**SMALL, send_deadline=0.25)
    peer, receiver = await stalled(stand, held)
    began = now()
    async with asyncio.timeout(DEADLINE):
        await receiver.connection.wait_closed()
    assert 0.1 < now() - began < 1.4  # the kernels still move single segments for half a second
    assert receiver.end == (4008, "the peer does not read", "gateway", True)
    peer.cut()


async def test_slow_reader_is_not_aborted(serve: Serve):
    """As long as bytes move: some, several send deadlines long, and less than what waits all the time."""
    stand = await serve(**SMALL, send_deadline=0.4)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    while connection.queued < 40000:
        connection.send_text(b"f" * 2000)
        await asyncio.sleep(0)
    began = now()
    while now() - began < 1.2:
        await peer.take(1500)
        await asyncio.sleep(0.05)
        assert connection.is_open
        assert connection.queued > 0
    # it stops: now it is aborted
    async with asyncio.timeout(1.5):
        await connection.wait_closed()
    assert receiver.end == (4008, "the peer does not read", "gateway", True)


async def test_reader_that_catches_up_has_no_deadline_any_more(serve: Serve):
    """The timer ends with what it was for."""
    stand = await serve(**SMALL, send_deadline=0.2)
    peer, receiver = await stalled(stand)
    assert timers_of_connections()
    while receiver.connection.unsent():
        await peer.take(65536)
    await asyncio.sleep(0.1)
    assert not timers_of_connections()
    assert receiver.connection.is_open


async def test_unsent_counts_every_byte_until_the_peer_has_it(serve: Serve):
    """In the lanes, in the transport, in the kernel; 0 when the peer's machine has them all."""
    stand = await serve(**SMALL)
    peer, receiver = await stalled(stand)
    connection = receiver.connection
    for _ in range(10):
        connection.send_text(b"f" * 3000)
    unsent, queued = connection.unsent(), connection.queued
    assert unsent > queued > 30000
    taken = 0
    while connection.unsent():
        taken += await peer.take(65536)
        await asyncio.sleep(0)
    assert connection.queued == 0
    assert taken >= unsent - 65536  # what the peer's own buffer holds has left us
    peer.cut()
    await connection.wait_closed()
    assert connection.queued == 0


# --- reading -----------------------------------------------------------------------------------------------------


async def test_flood_is_read_at_its_budget_and_no_faster(serve: Serve):
    """The burst at once, then the rate; the rest waits in the sender's own buffers."""
    stand = await serve(frames_per_second=200, frame_burst=100, receive_buffer=8192)
    peer, receiver = await stand.open()
    flood = asyncio.create_task(peer.send(frame(BINARY, b"x" * 200) * 20000))
    began = now()
    await until(lambda: now() - began > 0.6)
    seen = len(receiver.of("binary"))
    # a read is not cut short: what is in it above the budget is paid for by waiting
    assert 100 <= seen <= 100 + 200 * (now() - began) + limits.READ_BYTES / 206 + 1
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    peer.reset()  # or its kernel would go on sending what it has


async def test_pause_ends_and_nothing_is_lost(serve: Serve):
    """After a burst that is over the budget, all is heard in the end, in order."""
    stand = await serve(frames_per_second=2000, frame_burst=20)
    peer, receiver = await stand.open()
    texts = [b"%d" % n for n in range(500)]
    await peer.send(b"".join(frame(TEXT, text) for text in texts))
    await until(lambda: len(receiver.seen) == 501)
    assert receiver.of("text") == texts


async def test_peer_that_is_paused_can_be_closed(serve: Serve):
    """Its Close is heard though it is seconds in debt."""
    stand = await serve(frames_per_second=1, frame_burst=1)
    peer, receiver = await stand.open()
    await peer.send(frame(TEXT, b"x") * 30)
    await until(lambda: receiver.connection._resume is not None)
    began = now()
    receiver.connection.close(CloseCode.FLOOD, "flood", 60.0)
    assert await peer.frame() == Received(CLOSE, b"\x0f\xa8flood")
    await peer.send(frame(CLOSE, b"\x0f\xa8"))
    peer.cut()
    await receiver.connection.wait_closed()
    assert now() - began < BOUNDED
    assert receiver.end == (4008, "flood", "gateway", False)


async def test_connections_share_a_buffer_and_nothing_else(serve: Serve):
    """Frames of many connections come in pieces that interleave; each hears its own."""
    stand = await serve(frames_per_second=1e6, frame_burst=100000)
    pairs = [await stand.open() for _ in range(8)]
    sizes = [3, 200, 5000, 60000, 1, 125, 126, 16000]
    said = [[bytes([65 + index]) * size, b"%d" % index, bytes([97 + index]) * 300] for index, size in enumerate(sizes)]
    data = [b"".join(frame(TEXT, text) for text in texts) for texts in said]
    position = 0
    while any(position < len(one) for one in data):
        step = 7 if position < 400 else 1900
        for (peer, _), one in zip(pairs, data, strict=True):
            if position < len(one):
                await peer.send(one[position : position + step])
        await asyncio.sleep(0.001)
        position += step
    for (_, receiver), texts in zip(pairs, said, strict=True):
        await until(lambda receiver=receiver, texts=texts: receiver.of("text") == texts)
        assert receiver.connection._rest == b""


async def test_many_connections_come_and_go_without_a_trace(serve: Serve):
    """However they end: no connection, no timer, no bytes are left."""
    stand = await serve()
    for round_ in range(3):
        pairs = [await stand.open() for _ in range(20)]
        for index, (peer, receiver) in enumerate(pairs):
            await peer.send(frame(TEXT, b"x")[: 3 if index % 2 else None])
            if index % 5 == 0:
                receiver.connection.close(CloseCode.NORMAL, "", 0.05)
            elif index % 5 == 1:
                receiver.connection.abort("")
            elif index % 5 == 2:
                receiver.connection.fail(CloseCode.POLICY, "")
            elif index % 5 == 3:
                await peer.send(frame(CLOSE))
        for peer, _ in pairs:
            peer.cut()
        await until(lambda: not stand.board.connections)
        assert not timers_of_connections(), round_
        assert not stand.board._unwritten
    assert all(receiver.end for receiver in stand.reception.receivers)


async def test_receiver_may_do_anything_from_within_a_message(serve: Serve):
    """Close, fail and abort from a callback, with more frames behind it in the same read."""
    stand = await serve()
    for act, code in (
        (lambda connection: connection.close(CloseCode.NORMAL, ""), 1000),
        (lambda connection: connection.fail(CloseCode.INVALID_DATA, ""), 1007),
        (lambda connection: connection.abort(""), None),
    ):
        peer, receiver = await stand.open()
        receiver.on_text = lambda _, act=act, receiver=receiver: act(receiver.connection)
        await peer.send(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(PING) + frame(TEXT, b"3", fin=False))
        if code == 1000:
            assert (await peer.frame()).code == code
        else:
            assert await peer.closed() == code
        peer.cut()
        await receiver.connection.wait_closed()
        assert receiver.of("text") == [b"1"]


# --- anything at all ---------------------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """A transport with a peer that reads when told to; it objects to what a real one would object to."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Connection
        self.written = b""
        self.held = 0
        self.ended = self.closing = self.paused = self.reading_paused = False
        self._loop = asyncio.get_running_loop()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Note the high-water mark."""
        self._high = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The address, and the answer in place of a kernel."""
        return {"peername": ("192.0.2.1", 1), UNSENT_BYTES: lambda: self.held}.get(name, default)

    def get_write_buffer_size(self) -> int:
        """What the peer has not read."""
        return self.held

    def is_closing(self) -> bool:
        """Whether it is."""
        return self.closing

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Once."""
        assert not self.ended
        self.ended = True

    def write(self, data: bytes) -> None:
        """Note it."""
        assert data
        assert not self.ended
        assert not self.closing
        self.written += data
        self.held += len(data)
        if self.held > self._high and not self.paused:
            self.paused = True
            self.protocol.pause_writing()

    def peer_reads(self, size: int) -> None:
        """The peer takes so many bytes."""
        self.held = max(0, self.held - size)
        if self.paused and self.held <= self._high // 4:
            self.paused = False
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        """Note it."""
        self.reading_paused = True

    def resume_reading(self) -> None:
        """Note it."""
        self.reading_paused = False

    def abort(self) -> None:
        """Be gone soon."""
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)

    def peer_sends(self, data: bytes) -> None:
        """Bytes of the peer come, as the loop hands them over."""
        while data and not self.closing and not self.reading_paused:
            room = self.protocol.get_buffer(-1)
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            self.protocol.buffer_updated(len(piece))

    def peer_ends(self) -> None:
        """The peer closes its side; the loop closes the transport then."""
        if not self.closing and not self.reading_paused:
            assert self.protocol.eof_received() is False
            self.closing = True
            self._loop.call_soon(self.protocol.connection_lost, None)


async def in_memory(**changed: Any) -> tuple[Transport, Connection, Receiver]:
    """Open a connection with these limits over a transport that keeps what is written."""
    board = Switchboard(Config(limits=LimitsConfig(**changed)), reception := Reception())
    reception.address = "192.0.2.1"
    transport, connection = Transport(), board.connection()
    transport.protocol = connection
    connection.connection_made(transport)
    transport.peer_sends(upgrade())
    await asyncio.sleep(0)
    transport.peer_reads(1000)
    return transport, connection, reception.receivers[0]


@virtual_time
async def test_single_bytes_are_not_free():
    """A frame that comes byte by byte costs a wake-up for each: past the burst there is a pause behind every one."""
    transport, _, receiver = await in_memory(frames_per_second=100, frame_burst=10)
    data = frame(TEXT, b"x" * 30)
    paused = 0
    for byte in data:
        while transport.reading_paused:
            paused += 1
            await asyncio.sleep(0.01)
        transport.peer_sends(bytes([byte]))
    assert receiver.of("text") == [b"x" * 30]
    assert paused >= len(data) - 10 - 1


@pytest.mark.parametrize("pings", [True, False], ids=["pings between", "silence"])
@virtual_time
async def test_fragmented_message_takes_a_minute_at_most(pings: bool):
    """Control frames may come between its pieces for ever, so its time is counted from the first piece."""
    transport, connection, receiver = await in_memory()
    await asyncio.sleep(100)
    transport.peer_sends(frame(TEXT, b"a", fin=False))
    for _ in range(59):
        await asyncio.sleep(1)
        transport.peer_sends(frame(PING) + frame(CONT, b"b", fin=False) if pings else b"")
        await asyncio.sleep(0)
        transport.peer_reads(1000)
    assert connection.is_open
    await asyncio.sleep(1.001)
    assert not connection.is_open
    assert transport.written.endswith(b"\x03\xf0a fragmented message took too long")
    await asyncio.sleep(limits.CLOSE_TIMEOUT)
    assert receiver.end == (1008, "a fragmented message took too long", "gateway", True)
    assert receiver.of("text") == []
    assert timers() == []


@virtual_time
async def test_fragmented_message_that_ends_in_time():
    """It is taken, and leaves no timer; each message has a minute of its own."""
    transport, connection, receiver = await in_memory()
    for _ in range(3):
        transport.peer_sends(frame(TEXT, b"a", fin=False))
        await asyncio.sleep(59.9)
        transport.peer_sends(frame(CONT, b"z"))
        assert timers() == []
    assert receiver.of("text") == [b"az"] * 3
    assert connection.is_open
    transport.abort()
    await asyncio.sleep(0)


@virtual_time
async def test_frames_of_one_turn_do_not_wait_behind_a_peer_that_reads():
    """However many they are: the lanes are for peers that do not read."""
    transport, connection, receiver = await in_memory(control_lane=8, audio_lane=4)
    transport.write = lambda data: setattr(transport, "written", transport.written + data)  # type: ignore[method-assign]
    for number in range(1000):
        assert connection.send_text(b"%4d" % number + b"x" * 100) is Sent.WRITTEN
        assert connection.send_audio(b"%4d" % number) is Sent.WRITTEN
    await asyncio.sleep(0.01)
    assert receiver.of("dropped") == []
    client = ClientProtocol(parse_uri("ws://gateway/"), state=OPEN, max_size=None)
    client.receive_data(transport.written.partition(b"\r\n\r\n")[2])
    assert [int(found.data[:4]) for found in client.events_received()] == [n // 2 for n in range(2000)]
    transport.abort()
    await asyncio.sleep(0)


@virtual_time
async def test_frames_of_one_turn_to_a_peer_that_does_not_read():
    """What is over the high-water mark waits, and a full lane is 4008, as if it had come in many turns."""
    _, connection, receiver = await in_memory(control_lane=8)
    results = []
    while connection.is_open:
        results.append(connection.send_text(b"x" * 1000))
    written = limits.WRITE_HIGH_WATER // 1004 + 1
    assert results == [Sent.WRITTEN] * written + [Sent.QUEUED] * 8 + [Sent.FAILED]
    await asyncio.sleep(limits.CLOSE_TIMEOUT + 0.1)
    assert receiver.end == (4008, "too many messages wait for this device", "gateway", True)


@virtual_time
async def test_drop_waiting():
    """What is not written yet is dropped, text and audio, and it is told whether there was any; the rest stays."""
    transport, connection, _ = await in_memory()
    assert connection.drop_waiting() is False
    while connection.send_text(b"x" * 1000) is Sent.WRITTEN:
        pass
    connection.send_audio(b"x")
    written = len(transport.written)
    assert connection.drop_waiting() is True
    assert connection.drop_waiting() is False
    assert connection.queued == transport.held
    transport.peer_reads(100_000)
    assert len(transport.written) == written
    assert connection.send_text(b"x") is Sent.WRITTEN
    transport.abort()
    await asyncio.sleep(0)


@virtual_time
async def test_flood_into_a_closing_connection_is_read_slowly():
    """Full reads are 5 ms apart: as many bytes a second as the frame budget lets an open connection have."""
    transport, connection, _ = await in_memory()
    connection.close(CloseCode.NORMAL, "")
    reads = 0
    while not connection.lost:
        transport.peer_sends(b"f" * limits.READ_BYTES)
        reads += transport.reading_paused
        await asyncio.sleep(0.005)
    assert 150 <= reads <= 200


steps = st.one_of(
    st.tuples(st.just("peer_sends"), streams.map(b"".join)),
    st.tuples(st.just("peer_sends"), streams.map(b"".join)),
    st.tuples(st.just("peer_reads"), st.sampled_from([10, 5000, 100_000])),
    st.tuples(st.just("peer_ends"), st.none()),
    st.tuples(st.just("send_text"), st.sampled_from([b"", b"x", b"x" * 20_000])),
    st.tuples(st.just("send_audio"), st.sampled_from([b"x", b"x" * 5000])),
    st.tuples(st.just("send_ping"), st.none()),
    st.tuples(st.just("drop_audio"), st.none()),
    st.tuples(st.just("close"), st.sampled_from([0.1, 1.0])),
    st.tuples(st.just("fail"), st.sampled_from([CloseCode.TOO_BIG, CloseCode.INVALID_DATA])),
    st.tuples(st.just("abort"), st.none()),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.01, 0.5, 3.0])),
)


async def live(story: list[tuple[str, Any]]) -> None:
    """Live a connection through these steps, then cut it; check what must always hold."""
    reception = Reception()
    reception.address = "192.0.2.1"
    board = Switchboard(Config(limits=LimitsConfig(control_lane=4, audio_lane=2, text_bytes=1024)), reception)
    transport, connection = Transport(), board.connection()
    transport.protocol = connection
    connection.connection_made(transport)
    transport.peer_sends(upgrade())
    (receiver,) = reception.receivers
    for step, value in story:
        if step == "sleep":
            await asyncio.sleep(value)
        elif step == "peer_ends":
            transport.peer_ends()
        elif step.startswith("peer"):
            getattr(transport, step)(value)
        elif step == "close":
            connection.close(CloseCode.NORMAL, "", value)
        elif step == "fail":
            connection.fail(value, "")
        elif step == "abort":
            connection.abort("")
        elif value is None:
            getattr(connection, step)()
        else:
            assert (getattr(connection, step)(value) is Sent.FAILED) or connection.is_open
        assert connection.queued <= limits.WRITE_BUDGET + 30_000
    was_closing = not connection.is_open
    await asyncio.sleep(limits.CLOSE_TIMEOUT if was_closing else 0)
    assert transport.closing or not was_closing
    transport.abort()
    await asyncio.sleep(10)
    assert connection.lost
    assert receiver.end is not None
    assert not board.connections
    assert not board._unwritten
    assert timers() == []
    assert_well_formed(transport.written)


def assert_well_formed(written: bytes) -> None:
    """What was written is an answer and frames of a server; nothing stands behind a Close."""
    _, _, data = written.partition(b"\r\n\r\n")
    client = ClientProtocol(parse_uri("ws://gateway/"), state=OPEN, max_size=None)
    client.receive_data(data)
    assert client.parser_exc is None
    closes = [event for event in client.events_received() if event.opcode is Opcode.CLOSE]
    assert len(closes) <= 1
    if closes:
        assert data.endswith(closes[0].serialize(mask=False))


@settings(deadline=None, max_examples=300)
@given(st.lists(steps, max_size=12))
def test_whatever_happens_a_connection_stays_within_its_rules(story: list[tuple[str, Any]]):
    """Any bytes, any calls, any order: nothing raises, what is written is well-formed, and it ends with all it had."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(live(story))
