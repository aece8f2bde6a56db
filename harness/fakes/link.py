"""One TCP connection of a fake device: the firmware's WebSocket client, with its habits.

`websockets`' sans-I/O `ClientProtocol` frames and unframes; what it would do and the firmware does not is left out:
no Close is ever sent or answered, so the gateway sees the connection end without one, or has to abort it (unless a test
asks for a polite client: `Link.close`). What the firmware would not notice and a test should (a wrong
``Sec-WebSocket-Accept``, frames that break RFC 6455) is noticed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CONNECTING, OPEN
from websockets.uri import parse_uri

from gateway.identity import printable
from gateway.protocol.close_codes import CloseCode
from harness.errors import CannotConnect, FirmwareWouldFail, HarnessError, Misuse, UpgradeRefused
from harness.records import FramePassed

Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol], str, int, bool], Awaitable[Any]]
"""How a device opens a TCP connection: ``await dial(protocol_factory, host, port, secure)`` does what
``loop.create_connection`` would, and raises what that raises."""

_CLOSE_FRAME = b"\x88"  # its first byte: FIN and the opcode
_SMALL_BUFFER = 4096  # receive buffer of a slow reader: near the 5,744 bytes of ESP-IDF's default TCP window


class Link(asyncio.Protocol):
    """One connection, from its upgrade request to its end; made in the running loop.

    Args:
        device: whose it is.
        url: where it goes.
        headers: of the upgrade request, those of the device; the handshake's own are added.
        passed: is shown every message and control frame, both ways.
        lost: is called when the socket is gone.
        reads_bytes_per_second: how fast it reads what comes; None: as fast as it comes.
        dial: opens its connection; None: the running loop.

    Attributes:
        close_code: of the gateway's Close frame; 1006 when the socket was lost without one; None before.
        close_reason: of the Close frame.
        fault: what the gateway did that no firmware could take, and that ended the connection.
        vanished: nothing is read or answered any more.
    """

    def __init__(
        self,
        device: str,
        url: str,
        headers: Mapping[str, str],
        passed: Callable[[FramePassed], None],
        lost: Callable[[Link], None],
        reads_bytes_per_second: float | None = None,
        dial: Dial | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._uri = parse_uri(url)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self.close_code: int | None = None
        self.close_reason = ""
        self.fault: HarnessError | None = None
        self.vanished = False
        self._device = device
        self._headers = headers
        self._show = passed
        self._tell_lost = lost
        self._pace = reads_bytes_per_second
        self._dial = dial or self._dial_from_here
        self._resume: asyncio.TimerHandle | None = None
        self._says_close = False
        self._protocol = ClientProtocol(self._uri)
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._message: list[bytes] = []
        self._opcode = Opcode.TEXT

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        transport = self._transport
        if transport is None or transport.is_closing() or self.vanished:
            return False
        return self._protocol.state is OPEN

    @property
    def state(self) -> str:
        """What has become of it, as the end of a sentence."""
        if self.vanished:
            return "has vanished"
        if self.close_code is None:
            return "is open" if self.fault is None else f"was given up: {self.fault}"
        return f"ended with {self.close_code} {printable(self.close_reason)}".rstrip()

    # --- what a device does with it -----------------------------------------------------------------------------

    async def open(self, timeout: float) -> None:
        """Connect, and have the upgrade answered with 101; when it raises, the socket is closed.

        Raises:
            UpgradeRefused: with the HTTP status.
            CannotConnect: no connection, or no answer, within ``timeout`` seconds.
        """
        uri = self._uri
        try:
            async with asyncio.timeout(timeout):
                await self._dial(lambda: self, uri.host, uri.port, uri.secure)
                await self._opened
        except OSError as error:  # TimeoutError is one, and has no text when it is ours
            self.cut()
            raise self._cannot_connect(_in_words(error) or f"no answer within {timeout:g} s") from None
        except BaseException:
            self._opened.cancel()  # nobody waits for it any more, so nobody would take what comes of it
            self.cut()
            raise

    async def _dial_from_here(
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int, secure: bool
    ) -> None:
        await self._loop.create_connection(factory, host, port, ssl=secure or None)

    def send(self, opcode: Opcode, payload: bytes) -> None:
        """Send one message, or one control frame; to be called only while it is open."""
        if opcode is Opcode.TEXT:
            self._protocol.send_text(payload)
        elif opcode is Opcode.BINARY:
            self._protocol.send_binary(payload)
        elif opcode is Opcode.PING:
            self._protocol.send_ping(payload)
        else:
            raise Misuse(f"expected a message or a ping to send, got {opcode.name}; other frames: send_bytes")
        self._write()
        self._passed(True, opcode, payload)

    def send_bytes(self, data: bytes) -> None:
        """Put bytes on the wire as they are, whatever they are; to be called only while it is open."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Send a Close frame, as polite clients do; the gateway's answer ends the connection."""
        self._says_close = True
        self._protocol.send_close(code, reason)
        self._write()
        self._passed(True, Opcode.CLOSE, Close(code, reason).serialize())

    async def drain(self) -> None:
        """Wait until the transport takes more, or is gone."""
        await self._writable.wait()

    def vanish(self) -> None:
        """Stop reading, and with it answering; the socket stays."""
        self.vanished = True
        self._stop_pacing()
        if self._transport is not None:
            self._transport.pause_reading()

    def cut(self) -> None:
        """Close the socket; what TCP has taken is still delivered."""
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size():
            transport.abort()  # a peer that does not read would keep it open for ever
        else:
            transport.close()

    def fail(self, fault: HarnessError) -> None:
        """End like a device that crashes: the socket is closed, whatever came behind it is not looked at."""
        self.fault = self.fault or fault
        self.cut()

    # --- asyncio calls these ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request, as the firmware's ``std::map`` sorts its headers."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if self._pace is not None and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        own = {
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": self._protocol.key,
            "Sec-WebSocket-Version": "13",
            "Upgrade": "websocket",
        }
        # the firmware names the host without its port
        headers = Headers([("Host", self._uri.host), *sorted({**self._headers, **own}.items())])
        self._protocol.send_request(Request(self._uri.resource_name, headers))
        self._write()

    def data_received(self, data: bytes) -> None:
        """Take what came, answer what is to be answered."""
        if self.fault is not None:
            return
        protocol = self._protocol
        protocol.receive_data(data)
        self._check_upgrade()
        for event in protocol.events_received():
            if isinstance(event, Frame) and self.fault is None:
                self._received(event)
        if protocol.parser_exc is not None:
            self.fail(FirmwareWouldFail(f"the gateway broke RFC 6455: {protocol.parser_exc}"))
        self._write()
        if self._pace is not None:
            self._read_on_in(len(data) / self._pace)

    def eof_received(self) -> None:
        """The gateway has closed its side; the transport closes ours, as the firmware does."""
        if not self._opened.done():
            self._protocol.receive_eof()  # an answer may end with the connection
            self._check_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        if self.close_code is None:
            self.close_code = CloseCode.ABNORMAL
        if not self._opened.done():
            why = str(exc or "the connection was closed before the upgrade was answered")
            self._opened.set_exception(self._cannot_connect(why))
        self._writable.set()
        self._stop_pacing()
        self._tell_lost(self)

    def pause_writing(self) -> None:
        """The peer does not read fast enough."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self._writable.set()

    # --- reading slowly -----------------------------------------------------------------------------------------

    def _read_on_in(self, seconds: float) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self.vanished:
            transport.pause_reading()
            self._resume = self._loop.call_later(seconds, transport.resume_reading)

    def _stop_pacing(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    # --- frames -------------------------------------------------------------------------------------------------

    def _check_upgrade(self) -> None:
        if self._opened.done():
            return
        error = self._protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            response = error.response
            reason = (response.body or response.reason_phrase.encode()).decode("utf-8", "replace")
            headers = dict(response.headers.raw_items())
            self._opened.set_exception(UpgradeRefused(response.status_code, reason, headers))
        elif isinstance(error, InvalidMessage):
            self._opened.set_exception(self._cannot_connect(f"{error}: {error.__cause__}"))
        elif error is not None:
            self._opened.set_exception(UpgradeRefused(101, str(error)))
        elif self._protocol.state is not CONNECTING:  # a Close may have come right behind the 101
            self._opened.set_result(None)

    def _received(self, frame: Frame) -> None:
        payload = bytes(frame.data)
        if frame.opcode is Opcode.CLOSE:
            close = Close.parse(payload)
            self.close_code, self.close_reason = int(close.code), close.reason
            self._passed(False, frame.opcode, payload)
        elif frame.opcode is Opcode.PING or frame.opcode is Opcode.PONG:
            self._passed(False, frame.opcode, payload)
            if frame.opcode is Opcode.PING:  # the protocol has answered it
                self._passed(True, Opcode.PONG, payload)
        else:
            self._part_received(frame, payload)

    def _part_received(self, frame: Frame, payload: bytes) -> None:
        if frame.opcode is not Opcode.CONT:
            self._opcode = frame.opcode
        self._message.append(payload)
        if frame.fin:
            whole, self._message = b"".join(self._message), []
            self._passed(False, self._opcode, whole)

    def _passed(self, sent: bool, opcode: Opcode, payload: bytes) -> None:
        self._show(FramePassed(self._loop.time(), self._device, sent, opcode, payload))

    def _write(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            # the firmware neither says Close nor answers one, and never closes one side alone
            unheard_of = not data or (data.startswith(_CLOSE_FRAME) and not self._says_close)
            if not unheard_of and not self._transport.is_closing():
                self._transport.write(data)

    def _cannot_connect(self, why: str) -> CannotConnect:
        uri = self._uri
        path = uri.resource_name.partition("?")[0]  # the query string may hold a token
        return CannotConnect(f"{'wss' if uri.secure else 'ws'}://{uri.host}:{uri.port}{path}", why)


def _in_words(error: OSError) -> str:
    # asyncio puts a sentence of its own, with the address, in the place of the system's
    number = error.errno or 0
    return os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
