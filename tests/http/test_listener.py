"""The listener: how many may connect, what is recorded, and how it all ends."""

from __future__ import annotations

import asyncio
import socket

from gateway.config import ServerConfig
from gateway.http.connection import HttpLimits
from gateway.http.exchange import Request, Response, text_response
from gateway.listening import open_network
from gateway.observe.events import HttpAnswered, OtaRefused
from tests.http.loopback import GET, SOON, EndlessBody, Serve, echo


async def test_answers_have_a_date(serve: Serve) -> None:
    """The date is that of the wall clock it was given."""
    served = await serve(echo)
    async with await served.connect() as client:
        await client.send(GET)
        assert (await client.answer()).headers["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


async def test_more_connections_than_allowed_are_refused(serve: Serve) -> None:
    """One too many is told 503, one past that is cut off, and those before are not disturbed."""
    served = await serve(echo, HttpLimits(connections=1, refusals=1))
    async with await served.connect() as first, await served.connect() as second:
        await first.send(GET)
        assert (await first.answer()).status == 200
        await second.send(GET[:10])
        async with await served.connect() as third:
            assert await third.rest() == b""
        await second.send(GET[10:])
        answer = await second.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert "retry-after" in answer.headers
        assert await second.rest() == b""
        await first.send(GET)
        assert (await first.answer()).status == 200
    await served.until_nobody_is_connected()
    async with await served.connect() as fourth:
        await fourth.send(GET)
        assert (await fourth.answer()).status == 200
    assert [event.status for event in served.events] == [200, 503, 503, 200, 200]


async def test_silent_connections_of_one_address_leave_room(serve: Serve) -> None:
    """One too many without a request is cut off and recorded; one that is answered, or goes, makes room."""
    served = await serve(echo, HttpLimits(waiting=2))
    async with await served.connect() as first, await served.connect() as second:
        await second.send(GET[:10])
        async with await served.connect() as third:
            assert await third.rest() == b""
        assert [event.status for event in served.events] == [503]
        await second.send(GET[10:])
        assert (await second.answer()).status == 200
        async with await served.connect() as fourth:
            await fourth.send(GET)
            assert (await fourth.answer()).status == 200
        first.writer.transport.abort()
        second.writer.transport.abort()
        await served.until_nobody_is_connected()
        async with await served.connect() as fifth, await served.connect() as sixth:
            await sixth.send(GET)
            await fifth.send(GET)
            assert [(await one.answer()).status for one in (fifth, sixth)] == [200, 200]
    await served.until_nobody_is_connected()
    assert len(served.listener._waiting) == len(served.listener._kept) == 0


async def test_other_addresses_do_not_pay_for_silent_ones(serve: Serve) -> None:
    """An address that has all it may have open leaves the others alone."""
    served = await serve(echo, HttpLimits(waiting=1))
    async with await served.connect(), await served.connect(local_addr=("127.0.0.2", 0)) as other:
        await other.send(GET)
        assert (await other.answer()).status == 200


async def test_connections_kept_for_one_address_are_few(serve: Serve) -> None:
    """An answer past that says that its connection closes; a kept one stays kept, and makes room when it goes."""
    served = await serve(echo, HttpLimits(kept=1))
    async with await served.connect() as kept, await served.connect() as other:
        for _ in range(3):
            await kept.send(GET)
            assert "connection" not in (await kept.answer()).headers
        await other.send(GET)
        assert (await other.answer()).headers["connection"] == "close"
        assert await other.rest() == b""
        kept.writer.transport.abort()
        await served.until_nobody_is_connected()
        async with await served.connect() as third:
            await third.send(GET)
            assert "connection" not in (await third.answer()).headers


async def test_a_rush_from_one_address_is_answered(serve: Serve) -> None:
    """A hundred at once, each with its request: as the listening socket hands them out, none is cut off."""
    network = open_network(ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0), {})
    served = await serve(echo)
    clients = [socket.create_connection(("127.0.0.1", network.port("http"))) for _ in range(100)]
    try:
        for client in clients:
            client.sendall(GET)
        await network.serve("http", served.listener.protocol_factory)
        async with asyncio.timeout(5):
            while len(served.events) < len(clients):  # noqa: ASYNC110 - records set no event
                await asyncio.sleep(0)
        assert {event.status for event in served.events} == {200}
    finally:
        for client in clients:
            client.close()
        network.close()


# --- going down ---------------------------------------------------------------------------------------------------


async def test_answers_during_a_drain_close_their_connection(serve: Serve) -> None:
    """While draining, requests are answered and their connections closed."""
    draining = False
    served = await serve(echo, is_draining=lambda: draining)
    async with await served.connect() as client:
        await client.send(GET)
        assert "connection" not in (await client.answer()).headers
        draining = True
        await client.send(GET)
        assert (await client.answer()).headers["connection"] == "close"
        assert await client.rest() == b""


async def test_closing_ends_idle_connections_at_once(serve: Serve) -> None:
    """Nobody waits for those who wait: new, idle and refused-late connections go at once, and closing twice is fine."""
    served = await serve(echo)
    async with await served.connect() as new, await served.connect() as idle:
        await idle.send(GET)
        await idle.answer()
        async with asyncio.timeout(1):
            await served.listener.close(30)
            await served.listener.close(30)
        assert await new.rest() == await idle.rest() == b""
        async with await served.connect() as late:
            assert await late.rest() == b""


async def test_closing_catches_who_was_just_answered(serve: Serve) -> None:
    """A connection between its answer and its next wait is as idle as one that waits."""
    closing: list[asyncio.Task[None]] = []

    async def handler(_request: Request) -> Response:
        # it runs as soon as this connection lets go of the loop, which is after its answer
        closing.append(asyncio.create_task(served.listener.close(30)))
        return text_response("ok")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET)
        assert "connection" not in (await client.answer()).headers
        await asyncio.wait_for(closing[0], 1)


async def test_closing_lets_an_answer_finish(serve: Serve) -> None:
    """A request that is being answered is answered, with the word that it was the last."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def handler(_request: Request) -> Response:
        asked.set()
        await go.wait()
        return text_response("done")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET + GET)
        await asyncio.wait_for(asked.wait(), 5)
        closing = asyncio.create_task(served.listener.close(5))
        await asyncio.sleep(0)
        go.set()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        await closing
    assert not served.listener._connections


async def test_closing_cuts_off_what_does_not_finish(serve: Serve) -> None:
    """Past the timeout, handlers are cancelled, bodies closed and connections aborted."""
    body = EndlessBody()
    served = await serve(body.handle)
    async with await served.connect(limit=1024) as client:
        await client.send(GET)
        async with asyncio.timeout(5):
            await client.reader.readexactly(10)
            await served.listener.close(SOON)
        assert body.closed.is_set()
        assert not served.listener._connections


# --- records ------------------------------------------------------------------------------------------------------


async def test_each_answer_leaves_a_record(serve: Serve) -> None:
    """Method, path, status and address are recorded; the query string, the headers and the body are not."""

    async def handler(_request: Request) -> Response:
        return Response(200, device="d8:3b:da:00:11:22")

    served = await serve(handler)
    async with await served.connect() as client:
        await client.send(GET)
        await client.answer()
        await client.send(b"A" * 40 + b" /" + b"b" * 300 + b" HTTP/1.1\r\nHost: gw\r\n\r\n")
        await client.answer()
    first, second = served.events
    assert first == HttpAnswered(
        method="GET", path="/hello", status=200, address="127.0.0.1", device="d8:3b:da:00:11:22"
    )
    assert second.method == "A" * 16 + "…"
    assert second.path == "/" + "b" * 127 + "…"


async def test_a_refused_device_leaves_a_second_record(serve: Serve) -> None:
    """Who was refused by the OTA endpoint, with what and why; other errors leave the first one only."""
    answers = [Response(403, device="d8:3b:da:00:11:22", refused="not allowed here"), Response(404)]

    async def handler(_request: Request) -> Response:
        return answers.pop(0)

    served = await serve(handler)
    async with await served.connect() as client:
        for _ in range(2):
            await client.send(GET)
            await client.answer()
    assert [event.status for event in served.events] == [403, 404]
    assert served.refused == [
        OtaRefused(device="d8:3b:da:00:11:22", status=403, reason="not allowed here", address="127.0.0.1")
    ]
