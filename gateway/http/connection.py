"""One HTTP connection: h11 over asyncio streams, with a limit and a deadline for everything a peer can do."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import h11
import msgspec

from gateway.device.kernel_queue import unsent_bytes
from gateway.http.exchange import Handler, Request, RequestRefused, Response, json_response
from gateway.identity import printable
from gateway.protocol.sites import Place

if TYPE_CHECKING:
    from gateway.http.listener import HttpListener

_log = logging.getLogger(__name__)

_END_OF_HEAD = re.compile(rb"\n\r?\n")  # as h11 finds it


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a peer of the HTTP port may use; sizes in bytes, times in seconds."""

    connections: int = 256  # devices ask once per boot, for well below a second; the rest is monitoring and browsers
    refusals: int = 64  # connections past it that are still told 503; beyond both they are cut off
    waiting: int = 32  # of one address (/64 for IPv6) whose first request is not complete; one more is cut off
    kept: int = 16  # of one address, after an answer; one more is told that its connection closes
    read_bytes: int = 4 * 1024  # per turn of the loop: h11 takes 5 ms for as many bytes at their worst, chunks of one
    header_bytes: int = 16 * 1024  # request line and headers; the firmware sends about 400
    header_lines: int = 128  # h11 takes 15 us for each, so 16 KiB of the shortest would hold the loop for 40 ms
    body_bytes: int = 64 * 1024  # the firmware's description of itself has 2 to 4 KiB
    header_seconds: float = 5.0  # from the first byte (of a new connection: from accept) to the empty line
    body_seconds: float = 10.0
    idle_seconds: float = 15.0  # between two requests
    write_seconds: float = 10.0  # in which the peer takes no byte; a device that erases flash pauses for below a second
    linger_seconds: float = 2.0  # reading on after an answer that came before the end of the request
    linger_bytes: int = 1024 * 1024


class _PeerGone(Exception):
    """The connection is lost, or the peer does not read; there is nobody to answer."""


class Connection:
    """One connection, request after request."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
        handler: Handler,
        listener: HttpListener,
        place: Place,
        kept: Place,
    ) -> None:
        self.idle = True
        """Whether it waits for a request of which nothing has come yet."""
        self._reader = reader
        self._writer = writer
        self._transport = cast("asyncio.Transport", writer.transport)
        # With a buffer of nothing, drain() returns when the kernel has everything, and close() has nothing to wait for.
        self._transport.set_write_buffer_limits(high=0)
        self._address = address
        self._handler = handler
        self._listener = listener
        self._place = place  # held until the first request is complete
        self._kept = kept  # held from an answer until the request after it is complete
        self._limits = limits = listener.limits
        # room for a head that ends in the last read: the limit itself is kept in _next_head_event
        incomplete = limits.header_bytes + limits.read_bytes
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=incomplete)
        self._first = True

    async def serve(self) -> None:
        """Answer requests until either side ends it; never raises for what the peer does."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
                self._first = False
                self.idle = True
                await asyncio.sleep(0)  # a peer that sends many requests at once must not hold the loop
        except _PeerGone:
            self._transport.abort()
        except Exception:  # noqa: BLE001 - the rim: a fault in one answer must not end anything but its connection
            _log.exception("an answer to %s broke off", self._address)
            self._transport.abort()
        else:
            self._writer.close()

    def abort_unless_closed(self) -> None:
        """Cut the connection if nothing else has ended it, and give back its place if it waits."""
        self._give_back_places()
        if not self._transport.is_closing():
            self._transport.abort()

    def _give_back_places(self) -> None:
        self._place.give_back()
        self._kept.give_back()

    async def _exchange(self) -> bool:
        """Read one request and answer it; whether another may follow."""
        request = Request("", "", address=self._address)
        try:
            head = await self._read_head()
            if head is None:
                return False
            request = _request(head, self._address)
            request = msgspec.structs.replace(request, body=await self._read_body(head))
            self._give_back_places()
            response = await self._answer(request)
        except h11.RemoteProtocolError as error:
            response = RequestRefused(error.error_status_hint, "expected an HTTP/1.1 request").response()
        except RequestRefused as refusal:
            response = refusal.response()
        await self._send(request, response)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            return True
        if self._http.their_state is not h11.MUST_CLOSE:
            await self._linger()
        return False

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read_head(self) -> h11.Request | None:
        """Return the head of the next request, None if there is none to come.

        Raises:
            RequestRefused: it is too large, too slow or of another HTTP version.
        """
        loop = asyncio.get_running_loop()
        seen, _ = self._http.trailing_data
        begun = bool(seen)
        wait = self._limits.header_seconds if begun or self._first else self._limits.idle_seconds
        try:
            async with asyncio.timeout(wait) as deadline:
                while (event := self._next_head_event(seen)) is h11.NEED_DATA:
                    self.idle = not begun
                    data = await self._read()
                    self._http.receive_data(data)
                    if not begun and not self._first:
                        deadline.reschedule(loop.time() + self._limits.header_seconds)
                    begun = True
                    seen += data
        except TimeoutError:
            if begun:
                raise RequestRefused(408, "the request took too long") from None
            return None
        finally:
            self.idle = False
        if not isinstance(event, h11.Request):
            return None
        if event.http_version not in {b"1.0", b"1.1"}:
            raise RequestRefused(505, "expected HTTP/1.1")
        return event

    def _next_head_event(self, seen: bytes) -> object:
        # h11 bounds only what is incomplete after a read, and only in bytes: so the head is measured before it sees it
        limits = self._limits
        end = _END_OF_HEAD.search(seen)
        size = end.start() if end else len(seen)
        if size > limits.header_bytes or seen.count(b"\n", 0, size) >= limits.header_lines:
            raise RequestRefused(431, f"expected {limits.header_bytes} bytes of headers at most")
        return self._http.next_event()

    async def _read_body(self, head: h11.Request) -> bytes:
        """Return the whole body.

        Raises:
            RequestRefused: it is too large or too slow.
        """
        limit = self._limits.body_bytes
        declared = dict(head.headers).get(b"content-length", b"0")
        if int(declared) > limit:
            raise RequestRefused(413, f"expected a body of at most {limit} bytes")
        if self._http.they_are_waiting_for_100_continue:
            await self._write(h11.InformationalResponse(status_code=100, headers=[]))
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                    if isinstance(event, h11.Data):
                        body += event.data
                    else:
                        self._check_trailers()
                        self._http.receive_data(await self._read())
                    if len(body) > limit:
                        raise RequestRefused(413, f"expected a body of at most {limit} bytes")
        except TimeoutError:
            raise RequestRefused(408, "the body took too long") from None
        return bytes(body)

    def _check_trailers(self) -> None:
        # what h11 holds back of a body is the beginning of a line, or trailers: as dear to it as headers
        held_back, _ = self._http.trailing_data
        if held_back.count(b"\n") >= self._limits.header_lines:
            raise RequestRefused(431, "expected fewer trailers")

    async def _read(self) -> bytes:
        await asyncio.sleep(0)  # what is in the reader's buffer already comes without a wait
        try:
            return await self._reader.read(self._limits.read_bytes)
        except OSError as error:
            raise _PeerGone from error

    async def _linger(self) -> None:
        """Read on for a moment after an early answer.

        Closing with unread bytes would reset the connection, and the reset may overtake the answer.
        """
        try:
            self._transport.write_eof()
        except OSError as error:
            raise _PeerGone from error
        left = self._limits.linger_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger_seconds):
                while left > 0 and (data := await self._read()):
                    left -= len(data)

    # --- answering ----------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except RequestRefused as refusal:
            return refusal.response()
        except Exception:  # noqa: BLE001 - the rim: whatever is wrong in a handler is our fault, and the log's to tell
            _log.exception("the handler of %s failed", printable(request.path))
            return json_response({"error": "internal error"}, 500)

    async def _send(self, request: Request, response: Response) -> None:
        headers = self._listener.headers(response)
        unread = self._http.their_state in {h11.IDLE, h11.SEND_BODY, h11.ERROR}
        if self._listener.closes_connections or unread or not self._kept.take():
            headers["Connection"] = "close"
        reason = HTTPStatus(response.status).phrase
        head = h11.Response(status_code=response.status, headers=list(headers.items()), reason=reason)
        self._listener.answered(request, response)
        bodiless = request.method == "HEAD" or "Content-Length" not in headers
        if bodiless:
            await self._write(head, h11.EndOfMessage())
        elif isinstance(response.body, bytes):
            await self._write(head, h11.Data(data=response.body), h11.EndOfMessage())
        else:
            await self._write(head)
            async with aclosing(response.body.chunks()) as chunks:
                async for chunk in chunks:
                    await self._write(h11.Data(data=chunk))
            await self._write(h11.EndOfMessage())

    async def _write(self, *events: h11.Event) -> None:
        """Hand events to the kernel; returns when it has all of them.

        Raises:
            _PeerGone: the connection is lost, or the peer's TCP took nothing for ``write_seconds``.
        """
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
        waiting = self._waiting_bytes()
        while True:
            try:
                async with asyncio.timeout(self._limits.write_seconds):
                    await self._writer.drain()
            except TimeoutError:
                left = self._waiting_bytes()
                if left >= waiting:
                    raise _PeerGone from None
                waiting = left
            except OSError as error:
                raise _PeerGone from error
            else:
                return

    def _waiting_bytes(self) -> int:
        # The transport's own buffer shrinks in leaps of a third of the kernel's: too coarse to see a slow reader by.
        unsent = unsent_bytes(self._transport)
        return self._transport.get_write_buffer_size() if unsent is None else unsent


def _request(head: h11.Request, address: str) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("ascii", "surrogateescape")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(head.method.decode("ascii"), _path(head.target.decode("ascii")), headers, address=address)


def _path(target: str) -> str:
    """Return the path of a request target in origin form or absolute form (RFC 9112 section 3.2), without query."""
    _, absolute, rest = target.partition("://")
    if absolute and not target.startswith("/"):
        target = "/" + rest.partition("/")[2]
    return target.partition("?")[0]
