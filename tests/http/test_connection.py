"""One HTTP connection over real loopback sockets: well-meaning clients, slow ones, broken ones."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable

import pytest

from gateway.http.connection import HttpLimits
from gateway.http.exchange import Request, RequestRefused, Response, Stream, text_response
from gateway.http.listener import HttpListener
from gateway.observe.events import Observers
from tests.http.loopback import GET, POST, SOON, Client, EndlessBody, Serve, echo, singly


async def whole_body(request: Request) -> Response:
    """Answer with the size of the body."""
    return text_response(str(len(request.body)))


# --- well-meaning clients -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [lambda d: [d], lambda d: [d[:20], d[20:]], singly], ids=["whole", "split", "singly"])
async def test_a_request_may_come_in_any_pieces(serve: Serve, cut: Callable[[bytes], list[bytes]]) -> None:
    """A request with a body is the same however it is cut."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(cut(POST))
        answer = await client.answer("POST")
    assert (answer.status, answer.body) == (200, b"POST /echo hello")


async def test_a_request_is_handed_over_as_it_was_sent(serve: Serve) -> None:
    """Header names are lower case, repeated ones joined, the query cut off, and nothing is percent-decoded."""
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return text_response("ok")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(
            b"GET /a%2e%2e/b?c=d HTTP/1.1\r\nHost: gw:1\r\nDEVICE-Id:  x\r\nX: 1\r\nX: 2\r\nY: \xc3\xbc\r\n\r\n"
        )
        await client.answer()
    assert seen == [
        Request(
            "GET",
            "/a%2e%2e/b",
            {"host": "gw:1", "device-id": "x", "x": "1, 2", "y": "\udcc3\udcbc"},
            address="127.0.0.1",
        )
    ]


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/", "/"),
        (b"/a?b=http://c/d", "/a"),
        (b"//a/b", "//a/b"),
        (b"http://gw:8003/a?b", "/a"),
        (b"http://gw", "/"),
        (b"*", "*"),
    ],
)
async def test_targets_come_in_several_forms(serve: Serve, target: bytes, path: str) -> None:
    """Origin form and absolute form lead to the same path."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        assert (await client.answer()).body.decode() == f"GET {path} "


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    """Requests that come in one packet are answered one after the other on the same connection."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(POST + GET + POST)
        bodies = [(await client.answer()).body for _ in range(3)]
    assert bodies == [b"POST /echo hello", b"GET /hello ", b"POST /echo hello"]


async def test_many_pipelined_requests_leave_the_loop_to_others(serve: Serve) -> None:
    """Between two answers of one connection everybody else gets a turn."""
    turns: list[int] = []
    turn = 0

    async def handler(_request: Request) -> Response:
        turns.append(turn)
        return text_response("ok")

    async def neighbour() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    served = await serve(handler)
    task = asyncio.create_task(neighbour())
    async with await served.connect() as client:
        await client.send(GET * 100)
        for _ in range(100):
            await client.answer()
    task.cancel()
    assert len(set(turns)) == 100


class _Wire(asyncio.Transport):
    """A transport that takes everything and brings nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: there is no buffer."""

    def get_write_buffer_size(self) -> int:
        """Return that of no buffer."""
        return 0

    def is_closing(self) -> bool:
        """Tell whether it was closed or aborted."""
        return self._closing

    def pause_reading(self) -> None:
        """Do nothing: the test stops by itself."""

    def resume_reading(self) -> None:
        """Do nothing either."""

    def close(self) -> None:
        """Remember it."""
        self._closing = True

    def abort(self) -> None:
        """Remember it."""
        self._closing = True


async def test_a_large_read_is_taken_in_small_bites() -> None:
    """What one read brought is not parsed in one go: a body in chunks of a byte costs 20 us for each of them."""
    listener = HttpListener(whole_body, Observers(), lambda: 0.0)
    wire = _Wire()
    protocol = listener.protocol_factory()
    protocol.connection_made(wire)
    head = b"POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
    protocol.data_received(data)
    turns = 0
    while not wire.written:
        turns += 1
        assert turns < 1000
        await asyncio.sleep(0)
    assert wire.written.endswith(b"\r\n\r\n10000")
    assert turns > len(data) / 4096
    await listener.close(1)
    assert wire.is_closing()


async def test_a_chunked_body_is_put_together(serve: Serve) -> None:
    """Chunked requests, as modem boards send them, arrive as one body."""
    served = await serve(echo)
    async with await served.connect() as client:
        head = b"POST /echo HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(singly(head + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
        assert (await client.answer("POST")).body == b"POST /echo hello"


async def test_a_client_that_asks_first_is_told_to_go_on(serve: Serve) -> None:
    """Expect: 100-continue is answered with 100 before the body comes."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(b"POST /e HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        async with asyncio.timeout(5):
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 \r\n\r\n"
        await client.send(b"ok")
        assert (await client.answer("POST")).body == b"POST /e ok"


async def test_head_has_the_headers_of_get_and_no_body(serve: Serve) -> None:
    """HEAD tells the length, sends no body, never starts a stream, and leaves the connection usable."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        pytest.fail("a HEAD must not make the body")
        yield b""

    async def handler(request: Request) -> Response:
        return Response(200, Stream(12345, chunks)) if request.path == "/stream" else text_response("hello")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(b"HEAD / HTTP/1.1\r\nHost: gw\r\n\r\n" + b"HEAD /stream HTTP/1.1\r\nHost: gw\r\n\r\n" + GET)
        plain, stream, get = await client.answer("HEAD"), await client.answer("HEAD"), await client.answer()
    assert (plain.headers["content-length"], plain.body) == ("5", b"")
    assert (stream.headers["content-length"], stream.body) == ("12345", b"")
    assert get.body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_has_no_length(serve: Serve, status: int) -> None:
    """204 and 304 end with their headers."""

    async def handler(_request: Request) -> Response:
        return Response(status)

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET + GET)
        assert "content-length" not in (await client.answer()).headers
        assert (await client.answer()).status == status


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
    ids=["close", "1.0"],
)
async def test_who_wants_one_answer_gets_one(serve: Serve, request_bytes: bytes) -> None:
    """A client that asks to close, as the firmware does, or speaks HTTP/1.0, is closed after its answer."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(request_bytes)
        got = await client.rest()
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in got.lower()
    await served.until_nobody_is_connected()


async def test_a_client_may_close_its_half_first(serve: Serve) -> None:
    """Who sends a request and an end of file still gets the answer."""
    served = await serve(echo)
    async with await served.connect() as client:
        client.writer.write(GET)
        client.writer.write_eof()
        assert (await client.rest()).endswith(b"GET /hello ")


async def test_an_upgrade_is_answered_as_a_plain_request(serve: Serve) -> None:
    """A WebSocket client on the wrong port gets an HTTP answer, and may go on."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(b"GET /ws HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + GET)
        assert (await client.answer()).body == b"GET /ws "
        assert (await client.answer()).body == b"GET /hello "


async def test_a_stream_is_sent_whole(serve: Serve) -> None:
    """A body made in pieces arrives as one, with its length told beforehand."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        for number in range(100):
            yield bytes([number]) * 50_000

    async def handler(_request: Request) -> Response:
        return Response(200, Stream(5_000_000, chunks))

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET + GET)
        for _ in range(2):
            answer = await client.answer()
            assert answer.headers["content-length"] == "5000000"
            assert answer.body == b"".join(bytes([number]) * 50_000 for number in range(100))


# --- size limits --------------------------------------------------------------------------------------------------


def _request_with_header_bytes(size: int) -> bytes:
    # what is counted is all up to the empty line
    head = b"GET / HTTP/1.1\r\nHost: gw\r\nFiller: "
    return head + b"x" * (size - len(head) - 1) + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(16 * 1024, 200), (16 * 1024 + 1, 431), (20_000, 431), (100_000, 431)])
@pytest.mark.parametrize("piece", [1_000_000, 1000], ids=["whole", "split"])
async def test_headers_have_a_limit(serve: Serve, size: int, status: int, piece: int) -> None:
    """Headers up to the limit are taken, past it refused, also where one read brings them all."""
    served = await serve(echo)
    async with await served.connect() as client:
        data = _request_with_header_bytes(size)
        await client.send([data[i : i + piece] for i in range(0, len(data), piece)])
        assert (await client.answer()).status == status


@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 413), (500_000, 413)])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_have_a_limit(serve: Serve, size: int, status: int, chunked: bool) -> None:
    """A body up to the limit is taken; past it the answer is 413, and arrives though the body is still coming."""
    served = await serve(whole_body)
    async with await served.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: gw\r\n"
        if chunked:
            data = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"
        else:
            data = head + b"Content-Length: %d\r\n\r\n" % size + b"x" * size
        await client.send(data)
        answer = await client.answer("POST")
        assert answer.status == status
        if status == 413:
            assert answer.headers["connection"] == "close"
            assert await client.rest() == b""
        else:
            assert answer.body == b"65536"
    await served.until_nobody_is_connected()


@pytest.mark.parametrize(("lines", "status"), [(128, 200), (129, 431), (2000, 431)])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "pipelined"])
async def test_header_lines_have_a_limit(serve: Serve, lines: int, status: int, before: bytes) -> None:
    """Many short lines cost more than their bytes; the newlines of a body do not count."""
    served = await serve(whole_body)
    async with await served.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000\r\n" + b"a:b\r\n" * (lines - 3)
        await client.send(before + head + b"\r\n" + b"\n" * 1000)
        if before:
            assert (await client.answer()).status == 200
        assert (await client.answer("POST")).status == status


@pytest.mark.parametrize(("lines", "status"), [(100, 200), (3000, 431)])
async def test_trailers_have_a_limit(serve: Serve, lines: int, status: int) -> None:
    """Headers behind a chunked body are limited like those before it."""
    served = await serve(whole_body)
    async with await served.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + b"1\r\nx\r\n0\r\n" + b"a:b\r\n" * lines + b"\r\n")
        assert (await client.answer("POST")).status == status


async def test_headers_without_end_are_given_up_at_the_limit(serve: Serve) -> None:
    """Nobody has to wait for the end of headers that are too large already."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: gw\r\nFiller: " + b"x" * 33_000)
        assert (await client.answer()).status == 431


async def test_a_body_that_is_announced_too_large_is_refused_unseen(serve: Serve) -> None:
    """The Content-Length is enough; the peer, which may wait for a word before it sends, hears it at once."""
    served = await serve(whole_body)
    async with await served.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.answer("POST")).status == 413


async def test_waiting_after_an_early_answer_has_an_end(serve: Serve) -> None:
    """A peer that neither sends the rest nor closes is closed."""
    served = await serve(whole_body, HttpLimits(linger_seconds=SOON))
    async with await served.connect() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 65537\r\n\r\n")
        assert (await client.answer("POST")).status == 413
        await served.until_nobody_is_connected()


async def test_reading_on_after_an_early_answer_has_an_end(serve: Serve) -> None:
    """A peer that never stops sending its refused body is cut off."""
    limits = HttpLimits(linger_bytes=100_000, linger_seconds=60)
    served = await serve(whole_body, limits)
    async with await served.connect() as client:
        head = b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000000\r\n\r\n"
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(client.send(itertools.chain([head], itertools.repeat(b"x" * 100_000))), 5)
    await served.until_nobody_is_connected()
    assert [event.status for event in served.events] == [413]


# --- broken clients -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gw\r\nA: \x00\r\n\r\n", 400),
        (b"GET /\xc3\xbc HTTP/1.1\r\nHost: gw\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gw\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
@pytest.mark.parametrize("cut", [lambda data: [data], singly], ids=["whole", "singly"])
async def test_what_is_not_http_is_refused(
    serve: Serve, data: bytes, status: int, cut: Callable[[bytes], list[bytes]]
) -> None:
    """Malformed input gets a JSON error that repeats none of it, then the connection ends."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(cut(data))
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert set(json.loads(answer.body)) == {"error"}
        client.writer.write_eof()
        assert await client.rest() == b""
    await served.until_nobody_is_connected()
    assert [event.status for event in served.events] == [status]


async def test_a_good_request_before_a_broken_one_is_answered(serve: Serve) -> None:
    """What follows a request cannot spoil its answer."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(GET + b"\x00\x01\x02\r\n\r\n")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400


async def test_a_client_that_leaves_early_is_forgotten(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that end, or are reset, at any point leave neither a task nor a line in the log."""
    served = await serve(echo)
    for sent in (b"", GET[:5], GET, POST[:-2], GET * 10):
        async with await served.connect() as client:
            await client.send(sent)
            await served.until_somebody_is_connected()
            client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await served.until_nobody_is_connected()
    assert caplog.records == []


# --- slow clients -------------------------------------------------------------------------------------------------


async def test_a_silent_new_connection_is_closed_without_a_word(serve: Serve) -> None:
    """Who connects and sends nothing is closed after the header deadline; there was no request to answer."""
    served = await serve(echo, HttpLimits(header_seconds=SOON, idle_seconds=60))
    async with await served.connect() as client:
        assert await client.rest() == b""
    assert served.events == []


async def test_an_idle_connection_is_closed_without_a_word(serve: Serve) -> None:
    """Between requests a connection may be silent for the idle time only."""
    served = await serve(echo, HttpLimits(idle_seconds=SOON))
    async with await served.connect() as client:
        await client.send(GET)
        await client.answer()
        assert await client.rest() == b""
    assert [event.status for event in served.events] == [200]


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
async def test_a_slow_request_is_answered_408(serve: Serve, before: bytes) -> None:
    """Headers that do not end are given up after their deadline, however often a byte comes."""
    served = await serve(echo, HttpLimits(header_seconds=SOON, idle_seconds=60))
    async with await served.connect() as client:
        if before:
            await client.send(before)
            await client.answer()
        trickle = asyncio.create_task(_trickle(client, GET[:-2] + b"A: " + b"b" * 1000))
        answer = await client.answer()
        trickle.cancel()
    assert (answer.status, answer.headers["connection"]) == (408, "close")


async def test_a_slow_body_is_answered_408(serve: Serve) -> None:
    """A body that does not end is given up after its deadline."""
    served = await serve(echo, HttpLimits(body_seconds=SOON))
    async with await served.connect() as client:
        await client.send(POST[:-1])
        answer = await client.answer("POST")
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert [(event.method, event.path) for event in served.events] == [("POST", "/echo")]


async def _trickle(client: Client, data: bytes) -> None:
    for byte in singly(data):
        client.writer.write(byte)
        await asyncio.sleep(0.01)


async def test_a_peer_that_reads_nothing_is_cut_off(serve: Serve) -> None:
    """When the peer takes nothing for the write deadline, the connection is aborted and the body closed."""
    body = EndlessBody()
    served = await serve(body.handle, HttpLimits(write_seconds=SOON))
    async with await served.connect(limit=1024) as client:
        await client.send(GET)
        await asyncio.wait_for(body.closed.wait(), 5)
        await served.until_nobody_is_connected()
        assert not (await client.answer()).whole
    # back-pressure: no more was made than the kernel's buffers hold
    assert body.sent < 30_000_000


async def test_nothing_waits_in_the_process(serve: Serve) -> None:
    """The next chunk is made when the kernel has the last one, so there is nothing a close would have to wait for."""
    waiting: list[int] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        (connection,) = served.listener._connections.values()
        for _ in range(200):
            yield bytes(20_000)
            waiting.append(connection._transport.get_write_buffer_size())

    async def handler(_request: Request) -> Response:
        return Response(200, Stream(4_000_000, chunks))

    served = await serve(handler)
    async with await served.connect(limit=1024) as client:
        await client.send(GET)
        assert (await client.answer()).whole
    assert max(waiting) == 0


async def test_a_peer_that_reads_slowly_is_served(serve: Serve) -> None:
    """Progress counts, not speed: one chunk may take many times the write deadline."""
    size = 8 * 1024 * 1024
    patience = 0.4

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield bytes(size)

    async def handler(_request: Request) -> Response:
        return Response(200, Stream(size, chunks))

    served = await serve(handler, HttpLimits(write_seconds=patience))
    with socket.socket() as sock:
        # a small window, or the kernel would take all of it at once
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        await loop.sock_sendall(sock, GET)
        got, begun = 0, loop.time()
        while got < size:
            data = await asyncio.wait_for(loop.sock_recv(sock, 262_144), 5)
            assert data, f"cut off after {got} bytes"
            got += len(data)
            await asyncio.sleep(0.02)
        assert loop.time() - begun > 2 * patience


async def test_a_peer_that_leaves_during_a_stream_is_forgotten(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The body is closed as soon as there is nobody to send it to, and nothing is logged."""
    body = EndlessBody()
    served = await serve(body.handle)
    async with await served.connect() as client:
        await client.send(GET)
        await client.reader.readexactly(1000)
    await asyncio.wait_for(body.closed.wait(), 5)
    await served.until_nobody_is_connected()
    assert caplog.records == []


# --- faults of ours -----------------------------------------------------------------------------------------------


async def test_a_failing_handler_is_answered_500(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The peer learns nothing of what went wrong, the log everything, and the connection goes on."""

    async def handler(request: Request) -> Response:
        if request.path == "/hello":
            raise ZeroDivisionError("secret detail")
        return text_response("ok")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET + POST)
        failed = await client.answer()
        assert (failed.status, json.loads(failed.body)) == (500, {"error": "internal error"})
        assert (await client.answer()).status == 200
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert "token" not in record.getMessage()


async def test_a_refusing_handler_keeps_the_connection(serve: Serve) -> None:
    """A refusal is an ordinary answer."""

    async def handler(_request: Request) -> Response:
        raise RequestRefused(404, "not found")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET + GET)
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, json.loads(answer.body)) == (404, {"error": "not found"})


@pytest.mark.parametrize("fault", ["raises", "short", "long"])
async def test_a_failing_stream_is_cut_off(serve: Serve, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    """A body that fails, or is not as long as was said, ends the connection, so that nobody takes it for whole."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"x" * (2000 if fault == "long" else 10)
        if fault == "raises":
            raise OSError("the disk is gone")

    async def handler(_request: Request) -> Response:
        return Response(200, Stream(1000, chunks))

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET)
        assert not (await client.answer()).whole
    await served.until_nobody_is_connected()
    assert len(caplog.records) == 1
