"""One socket: the only code that touches it. Frames in, frames out, close; all of it bounded.

`websockets`' sans-I/O `ServerProtocol` does the handshake and every unusual frame; complete data frames take the short
path of `gateway.protocol.frames`. What its asyncio server leaves unbounded is bounded here:

- reading: 4 KiB per wake-up and a budget of frames per second, past which reading pauses, so that a flood costs its
  sender and nobody else;
- writing: frames written in one turn of the loop leave in one write, or several of 16 KiB; behind a slow reader they
  wait in two lanes; past the byte budget, or when nothing moves for the send deadline, the connection is aborted;
- closing: whatever the peer does or does not answer, the socket is gone within the close timeout.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from gateway.config import Config
from gateway.device.kernel_queue import unsent_bytes
from gateway.device.outbox import Outbox, Sent
from gateway.errors import HandshakeRefused
from gateway.protocol import limits
from gateway.protocol.budgets import TokenBucket
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.frames import FrameCutter, binary_frame, text_frame
from gateway.protocol.handshake import check_upgrade, is_plain_get, refusal, running
from gateway.protocol.request_head import NotARequest, RequestHead
from gateway.protocol.sites import Place, Places, site_of

_log = logging.getLogger(__name__)

# websockets logs every opening and refusal at INFO; ours are records of `gateway.observe`
_rfc6455_log = logging.getLogger("gateway.rfc6455")
_rfc6455_log.setLevel(logging.WARNING)

_PING = 0x80 | Opcode.PING
_LEAST_PAUSE = 0.02  # seconds: resuming for every single frame would cost more than the frames
_DRAIN_PAUSE = 0.005  # seconds between full reads of a closing connection: 800 KB/s, as for an open one
_LOOKS = 5  # at a stalled peer per send deadline: it is missed by a fifth at most


class Receiver(Protocol):
    """Who gets what a connection receives; called in the loop, in order, never after ``closed``."""

    def opened(self) -> None:
        """The upgrade was answered with 101."""

    def text_received(self, payload: bytes) -> None:
        """One text message, whole, UTF-8 not yet checked."""

    def binary_received(self, payload: bytes) -> None:
        """One binary message, whole."""

    def ping_received(self) -> bool:
        """One control ping; whether to answer it."""
        ...

    def other_received(self) -> None:
        """A frame that is no message: a pong, or a piece of a message; the peer is alive."""

    def audio_dropped(self) -> None:
        """An audio frame was dropped because the audio lane is full."""

    def closed(self, code: int, reason: str, by: str, *, aborted: bool) -> None:
        """The socket is gone; the last call."""


class Reception(Protocol):
    """Who decides about upgrades."""

    def receive(self, connection: Connection, request: Request, address: str) -> Receiver:
        """Take a valid upgrade request and return who gets its frames, or raise `HandshakeRefused`."""
        ...

    def refused(self, refusal: HandshakeRefused, address: str) -> None:
        """A request was answered with an HTTP status, by the reception or by RFC 6455."""


class Switchboard:
    """What all connections of one gateway share: the receive buffer and the list of those with frames to write.

    The loop asks for the buffer and hands it back filled within one call, so one buffer serves all; what is left of an
    incomplete frame is kept by its connection. Must be made in the running loop.
    """

    def __init__(self, config: Config, reception: Reception) -> None:
        self.config = config
        self.reception = reception
        self.loop = asyncio.get_running_loop()
        largest = max(config.limits.text_bytes, config.limits.binary_bytes)
        self.buffer = bytearray(largest + 14 + limits.READ_BYTES)  # 14: the longest frame header with a mask
        self.view = memoryview(self.buffer)
        self.connections: dict[Connection, None] = {}
        self.unanswered = Places(limits.UNANSWERED_PER_SITE)
        self._unwritten: list[Connection] = []

    def connection(self) -> Connection:
        """Make the protocol object of one accepted socket (a protocol factory)."""
        return Connection(self)

    def write_soon(self, connection: Connection) -> None:
        """Have a connection's frames written at the end of this turn of the loop."""
        if not self._unwritten:
            self.loop.call_soon(self._write)
        self._unwritten.append(connection)

    def _write(self) -> None:
        unwritten, self._unwritten = self._unwritten, []
        for connection in unwritten:
            connection.flush()


class Connection(asyncio.BufferedProtocol):
    """One WebSocket connection, from TCP accept to its end."""

    __slots__ = (
        "_aborted",
        "_board",
        "_budget",
        "_close_by",
        "_close_code",
        "_close_reason",
        "_closed_by",
        "_closed_waiters",
        "_cutter",
        "_dead",
        "_deadline",
        "_fragment_opcode",
        "_fragments",
        "_fragments_due",
        "_fragments_size",
        "_head",
        "_outbox",
        "_paused_writing",
        "_pending",
        "_pending_size",
        "_place",
        "_progress",
        "_progress_at",
        "_protocol",
        "_receiver",
        "_rest",
        "_resume",
        "_transport",
        "_written",
        "address",
        "lost",
        "opened_at",
    )

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        settings = board.config.limits
        largest = max(settings.text_bytes, settings.binary_bytes)
        self._protocol = ServerProtocol(max_size=largest, logger=_rfc6455_log)
        self._cutter = FrameCutter(
            self._text_cut,
            self._binary_cut,
            self._other_cut,
            self._too_big,
            settings.text_bytes,
            settings.binary_bytes,
        )
        self._budget = TokenBucket(settings.frames_per_second, settings.frame_burst)
        self._outbox = Outbox(settings.control_lane, settings.audio_lane)
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._head: RequestHead | None = RequestHead()  # until the request is answered
        self._place: Place | None = None  # among those whose request is not complete
        self._rest = b""  # of an incomplete frame
        self._fragments: list[bytes] = []
        self._fragments_size = 0
        self._fragments_due: asyncio.TimerHandle | None = None  # the end of a message that has begun
        self._fragment_opcode = Opcode.TEXT
        self._pending: list[bytes] = []  # frames of this turn of the loop
        self._pending_size = 0
        self._written = 0  # bytes given to the transport since the beginning
        self._progress = 0  # of those, how many had left for good when that was last looked at
        self._progress_at = 0.0  # loop time at which that last grew
        self._paused_writing = False
        self._deadline: asyncio.TimerHandle | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._close_by = math.inf  # loop time at which a closing connection is aborted
        self._close_code = int(CloseCode.ABNORMAL)
        self._close_reason = ""
        self._closed_by = "peer"
        self._aborted = False
        self._dead = False  # aborted or lost: nothing more can be sent
        self._closed_waiters: list[asyncio.Future[None]] = []
        self.address = ""
        """The peer's address, without its port."""
        self.opened_at = 0.0
        """Loop time of the TCP accept."""
        self.lost = False
        """Whether the socket is gone."""

    # --- asyncio calls these ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the accepted socket; the request has to come within the open timeout."""
        transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._transport = transport
        transport.set_write_buffer_limits(high=limits.WRITE_HIGH_WATER)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else "unknown"
        self.opened_at = self._board.loop.time()
        self._board.connections[self] = None
        if len(self._board.connections) > self._board.config.server.max_connections + limits.UNANSWERED:
            self._board.reception.refused(HandshakeRefused(503, "too many sockets are open"), self.address)
            self.abort("too many sockets are open")
            return
        self._place = self._board.unanswered.of(site_of(self.address))
        if not self._place.take():
            refused = HandshakeRefused(503, "too many sockets of this address wait for their request")
            self._board.reception.refused(refused, self.address)
            self.abort(refused.reason)
            return
        self._arm(self._board.config.handshake.open_timeout, self._open_timed_out)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Give the loop room for 4 KiB behind what is left of an incomplete frame."""
        rest = self._rest
        size = len(rest)
        if size:
            self._board.buffer[:size] = rest
        return self._board.view[size : size + limits.READ_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the loop has read."""
        size = len(self._rest) + nbytes
        if self._receiver is None:
            self._rest = b""
            self._request_received(bytes(self._board.view[:size]))
            return
        if self._protocol.state is not OPEN:
            self._rest = b""
            self._drain_closing(bytes(self._board.view[:size]))
            if nbytes == limits.READ_BYTES:
                self._pause_reading(_DRAIN_PAUSE)
            return
        self._frames_received(size)

    def eof_received(self) -> bool:
        """The peer has closed its side."""
        self._protocol.receive_eof()
        self._close_within(limits.CLOSE_TIMEOUT)
        return False  # the transport closes itself, after writing what it holds

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone; the system's errors are the peer's end, any other is a bug that asyncio has logged."""
        if exc is not None and not isinstance(exc, OSError) and self._closed_by == "peer":
            self._closed_by = "gateway"
            self._close_reason = f"internal error: {type(exc).__name__}"
        self.lost = self._dead = True
        self._disarm()
        self._give_place_back()
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._forget_pieces()
        self._cutter.stopped = True
        self._board.connections.pop(self, None)
        self._pending.clear()
        self._pending_size = 0
        self._outbox.clear()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            received = self._protocol.close_rcvd
            if self._closed_by == "peer" and received is not None:
                self._close_code = received.code
            receiver.closed(self._close_code, self._close_reason, self._closed_by, aborted=self._aborted)
        for waiter in self._closed_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def pause_writing(self) -> None:
        """The transport holds more than its high-water mark: from now on frames wait in their lanes."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._paused_writing = False
        self.flush()

    # --- the handshake ------------------------------------------------------------------------------------------

    def _request_received(self, data: bytes) -> None:
        """Feed the request, and nothing behind it, to the protocol: frames must not be parsed before our answer."""
        if self._head is None:
            return  # refused already; what still comes is not read
        try:
            rest = self._head.feed(data)
        except NotARequest as refused:
            self._drop(refused)
            return
        except HandshakeRefused as refused:
            self._refuse(refused)
            return
        if rest is None:
            return
        head, self._head = self._head, None
        self._give_place_back()
        self._protocol.receive_data(head.canonical())
        requests = self._protocol.events_received()
        if not requests:
            self._drop(NotARequest())
            return
        for request in requests:
            assert isinstance(request, Request)
            head.restore(request)
            self._answer(request, head)
        if rest and self._receiver is not None:
            self._board.buffer[: len(rest)] = rest
            self._frames_received(len(rest))

    def _answer(self, request: Request, head: RequestHead) -> None:
        protocol = self._protocol
        if is_plain_get(request):
            protocol.send_response(running(protocol, request))
            self._write_protocol()
            return
        try:
            head.check_upgrade()
            response = check_upgrade(protocol, request)
            receiver = self._board.reception.receive(self, request, self.address)
        except HandshakeRefused as refused:
            self._refuse(refused)
            return
        except Exception:  # noqa: BLE001 - the rim: a bug in a decision refuses one device, not all
            _log.exception("the decision about an upgrade request failed")
            self._refuse(HandshakeRefused(500, "internal error"))
            return
        self._disarm()
        protocol.send_response(response)
        self._receiver = receiver
        self._write_protocol()
        receiver.opened()

    def _give_place_back(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.give_back()

    def _refuse(self, refused: HandshakeRefused) -> None:
        self._head = None
        self._board.reception.refused(refused, self.address)
        self._protocol.send_response(refusal(self._protocol, refused))
        self._write_protocol()

    def _drop(self, refused: HandshakeRefused) -> None:
        """End without an answer: whoever sent this does not speak HTTP."""
        self._head = None
        self._board.reception.refused(refused, self.address)
        self._end()

    def _open_timed_out(self) -> None:
        self._board.reception.refused(HandshakeRefused(408, "no complete request in time"), self.address)
        self.abort("no complete request in time")

    # --- receiving ----------------------------------------------------------------------------------------------

    def _frames_received(self, size: int) -> None:
        buffer = self._board.buffer
        used, frames = self._cutter.cut(buffer, size)
        self._rest = bytes(buffer[used:size]) if used < size else b""
        if self._protocol.state is not OPEN:
            rest, self._rest = self._rest, b""
            self._drain_closing(rest)
            return
        # A wake-up costs one frame at least, else single bytes of a long frame would be free.
        debt = self._budget.spend(self._board.loop.time(), frames or 1)
        if debt > 0:
            self._pause_reading(max(_LEAST_PAUSE, debt))

    def _pause_reading(self, seconds: float) -> None:
        transport = self._transport
        if self._resume is None and transport is not None and not transport.is_closing():
            transport.pause_reading()
            self._resume = self._board.loop.call_later(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        self._resume = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _read_on(self) -> None:
        """Read again where a flood had paused it: what is unread when a socket is closed resets the connection."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume_reading()

    def _text_cut(self, payload: bytes) -> None:
        if self._receiver is not None:
            self._receiver.text_received(payload)

    def _binary_cut(self, payload: bytes) -> None:
        if self._receiver is not None:
            self._receiver.binary_received(payload)

    def _other_cut(self, data: bytes) -> None:
        """Let `ServerProtocol` judge one unusual frame, or, once the peer has broken RFC 6455, all that comes."""
        if self._receiver is not None and not self._cutter.broken:
            if data[0] != _PING:
                self._receiver.other_received()
            elif not self._receiver.ping_received():
                return
        protocol = self._protocol
        if protocol.state is not OPEN:
            return
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._fragment_received(event)
        self._cutter.fragmented = protocol.current_size is not None
        self._write_protocol()

    def _fragment_received(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._fragment_opcode = frame.opcode
            self._fragments = []
            self._fragments_size = 0
            self._fragments_due = self._board.loop.call_later(limits.MESSAGE_SECONDS, self._message_timed_out)
        elif frame.opcode is not Opcode.CONT:
            return
        settings = self._board.config.limits
        most = settings.text_bytes if self._fragment_opcode is Opcode.TEXT else settings.binary_bytes
        self._fragments.append(bytes(frame.data))
        self._fragments_size += len(frame.data)
        if self._fragments_size > most or len(self._fragments) > limits.FRAGMENTS:
            self._too_big(self._fragment_opcode)
        elif frame.fin:
            payload = b"".join(self._fragments)
            self._forget_pieces()
            if self._fragment_opcode is Opcode.TEXT:
                self._text_cut(payload)
            else:
                self._binary_cut(payload)

    def _too_big(self, opcode: int) -> None:
        kind = "binary" if (opcode or self._fragment_opcode) == Opcode.BINARY else "text"
        self._forget_pieces()
        self.fail(CloseCode.TOO_BIG, f"{kind} message over the limit")

    def _forget_pieces(self) -> None:
        self._fragments = []
        if self._fragments_due is not None:
            self._fragments_due.cancel()
            self._fragments_due = None

    def _message_timed_out(self) -> None:
        self.fail(CloseCode.POLICY, "a fragmented message took too long")

    def _drain_closing(self, data: bytes) -> None:
        """While closing, only the peer's own Close or end matters; the protocol finds it. Pings get no pongs now."""
        if data and self._protocol.close_rcvd is None and not self._protocol.eof_sent:
            self._protocol.receive_data(data)
            self._protocol.events_received()
            if b"" in self._protocol.data_to_send():
                self._end()

    # --- sending ------------------------------------------------------------------------------------------------

    def send_text(self, payload: bytes) -> Sent:
        """Send one text message; never waits, never raises."""
        return self._send_control(text_frame(payload))

    def send_audio(self, payload: bytes) -> Sent:
        """Send one binary message behind all text; when its lane is full the oldest one is dropped."""
        if self._protocol.state is not OPEN or self._dead:
            return Sent.FAILED
        frame = binary_frame(payload)
        if not self._must_wait():
            self._write_this_turn(frame)
            return Sent.WRITTEN
        if not self._outbox.put_audio(frame) and self._receiver is not None:
            self._receiver.audio_dropped()
        return Sent.QUEUED if self._within_budget() else Sent.FAILED

    def send_ping(self) -> Sent:
        """Send a control ping, for devices that are known to answer it."""
        if self._protocol.state is not OPEN or self._dead:
            return Sent.FAILED
        self._protocol.send_ping(b"")
        return self._write_protocol()

    def drop_audio(self) -> int:
        """Drop the audio that waits for the peer to read; return how many frames that were."""
        return self._outbox.drop_audio()

    def drop_waiting(self) -> bool:
        """Drop all that waits for the peer to read, text as well; whether there was any."""
        waits = len(self._outbox) > 0
        self._outbox.clear()
        return waits

    def unsent(self) -> int | None:
        """Bytes the peer's TCP has not acknowledged, wherever they are; None where the system cannot tell."""
        if self._transport is None:
            return 0
        below = unsent_bytes(self._transport)
        return None if below is None else below + self._pending_size + self._outbox.size

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent: not before the upgrade, nor once a Close is on its way."""
        return self._protocol.state is OPEN and not self._dead

    @property
    def queued(self) -> int:
        """Bytes that wait in this process for the peer to read."""
        held = self._transport.get_write_buffer_size() if self._transport is not None and not self.lost else 0
        return held + self._pending_size + self._outbox.size

    def flush(self) -> None:
        """Write the frames of this turn of the loop in one write, then from the lanes what the transport takes."""
        if self._pending:
            frames, self._pending = self._pending, []
            self._pending_size = 0
            self._write(frames)
        while len(self._outbox) and not self._paused_writing and self.is_open:
            self._write(self._outbox.take(limits.WRITE_HIGH_WATER))

    def _write(self, frames: list[bytes]) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._written += len(data)
            transport.write(data)
            if self._deadline is None and transport.get_write_buffer_size():
                self._watch_progress()

    def _send_control(self, frame: bytes) -> Sent:
        if self._protocol.state is not OPEN or self._dead:
            return Sent.FAILED
        if not self._must_wait():
            self._write_this_turn(frame)
            return Sent.WRITTEN
        if not self._outbox.put_control(frame):
            self.close(CloseCode.FLOOD, "too many messages wait for this device")
            return Sent.FAILED
        return Sent.QUEUED if self._within_budget() else Sent.FAILED

    def _must_wait(self) -> bool:
        if self._pending_size > limits.WRITE_HIGH_WATER and not self._paused_writing:
            self.flush()  # only a peer that does not read makes frames wait, however many one turn of the loop brings
        return self._paused_writing or len(self._outbox) > 0

    def _write_this_turn(self, frame: bytes) -> None:
        if not self._pending:
            self._board.write_soon(self)
        self._pending.append(frame)
        self._pending_size += len(frame)

    def _within_budget(self) -> bool:
        if self.queued > self._board.config.limits.write_budget_bytes:
            self._close_code = CloseCode.FLOOD
            self.abort("write budget exceeded")
            return False
        return True

    def _write_protocol(self) -> Sent:
        """Write what the protocol wants to say; when it has said its last, end our side and set a deadline."""
        sent = Sent.WRITTEN
        for data in self._protocol.data_to_send():
            if not data:
                self._end()
            elif self._protocol.state is OPEN:
                sent = self._send_control(data)
            else:
                self._write_this_turn(data)
        if self._protocol.state is not OPEN:
            self.flush()
        return sent

    def _gone(self) -> int:
        """How many of the written bytes have left for good: taken by the peer's TCP, where that can be known."""
        assert self._transport is not None
        held = unsent_bytes(self._transport)
        return self._written - (self._transport.get_write_buffer_size() if held is None else held)

    def _watch_progress(self) -> None:
        """Begin to look whether bytes move: there are some that the kernel did not take."""
        self._progress, self._progress_at = self._gone(), self._board.loop.time()
        self._arm(self._board.config.limits.send_deadline / _LOOKS, self._look_at_progress)

    def _look_at_progress(self) -> None:
        """The send deadline: as long as bytes move, however slowly, the connection lives."""
        assert self._transport is not None
        self._deadline = None
        if not self._transport.get_write_buffer_size():
            return  # the kernel has them all; the next ones that it does not take begin it anew
        stalled_since, deadline = self._progress_at, self._board.config.limits.send_deadline
        if self._gone() > self._progress:
            self._watch_progress()
        elif self._board.loop.time() - stalled_since >= deadline:
            self._close_code = CloseCode.FLOOD
            self.abort("the peer does not read")
        else:
            self._arm(deadline / _LOOKS, self._look_at_progress)

    # --- closing ------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str, timeout: float = limits.CLOSE_TIMEOUT) -> None:
        """Send Close and have the socket gone within ``timeout`` seconds, whether or not it is answered.

        Idempotent: a second call can only shorten the time. What waits in the lanes is dropped; what was written stays
        before the Close.
        """
        if self.lost:
            return
        if self._protocol.state is not OPEN:
            self._close_within(timeout)
            return
        self._closed_by = "gateway"
        self._close_code = int(code)
        self._close_reason = reason
        self._cutter.stopped = True
        self._protocol.send_close(code, reason)
        self._write_protocol()
        self._close_within(timeout)
        self._read_on()

    def fail(self, code: CloseCode, reason: str) -> None:
        """End the connection for the peer's fault: Close, then the end of our side (RFC 6455 7.1.7)."""
        if self.lost or self._protocol.state is not OPEN:
            return
        self._closed_by = "gateway"
        self._close_code = int(code)
        self._close_reason = reason
        self._cutter.stopped = True
        self._protocol.fail(code, reason)
        self._write_protocol()
        self._read_on()

    def abort(self, reason: str) -> None:
        """Drop the socket at once, with all that waits to be written."""
        if self.lost or self._transport is None:
            return
        if self._protocol.state is OPEN:
            self._closed_by = "gateway"
            self._close_reason = reason
        self._aborted = self._dead = True
        self._cutter.stopped = True
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the socket is gone; bounded, once `close`, `fail` or `abort` was called."""
        if self.lost:
            return
        waiter = self._board.loop.create_future()
        self._closed_waiters.append(waiter)
        try:
            await waiter
        finally:
            self._closed_waiters.remove(waiter)

    def _end(self) -> None:
        """Close our side, go on reading so that the peer gets to read our last word, and abort after a while.

        Closing both sides at once would turn unread bytes into a reset that destroys the Close frame on its way.
        """
        self.flush()
        self._cutter.stopped = True
        if self._closed_by == "peer" and self._protocol.close_rcvd is None and self._protocol.close_sent is not None:
            self._closed_by = "gateway"  # the protocol itself failed the connection
            self._close_code = self._protocol.close_sent.code
            self._close_reason = self._protocol.close_sent.reason
        transport = self._transport
        assert transport is not None
        if not transport.is_closing():
            if transport.can_write_eof():
                transport.write_eof()
            self._close_within(limits.CLOSE_TIMEOUT)

    def _close_within(self, seconds: float) -> None:
        """Have the socket gone in this time, or earlier where that was said before."""
        by = self._board.loop.time() + seconds
        if by < self._close_by:
            self._close_by = by
            self._arm(seconds, self._close_timed_out)

    def _close_timed_out(self) -> None:
        self._aborted = self._dead = True
        if self._transport is not None:
            self._transport.abort()

    # --- the one timer ------------------------------------------------------------------------------------------

    def _arm(self, seconds: float, callback: Any) -> None:
        """Set the connection's one deadline: for the request, then for sending, then for closing."""
        self._disarm()
        self._deadline = self._board.loop.call_later(seconds, callback)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
