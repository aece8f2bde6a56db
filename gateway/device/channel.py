"""One connection of a device: its hello, its budgets, and where each of its messages goes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from msgspec import UNSET

from gateway.config import Config
from gateway.device.connection import Connection
from gateway.device.heartbeat import Beat, Due, Heartbeat
from gateway.device.outbox import Sent
from gateway.errors import BadAudioFrame, BadMessage
from gateway.feature import Handler
from gateway.identity import printable
from gateway.observe.events import (
    AudioFrameDropped,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    MessageRejected,
    Observers,
    PingLimited,
    PongSent,
    RetiredFrameDropped,
    SendFailed,
    UnknownTypeDropped,
)
from gateway.protocol import limits
from gateway.protocol.audio_frames import FrameKind, pack, unpack
from gateway.protocol.budgets import SlidingCount
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.decoding import decode_object, parse, type_of
from gateway.protocol.handshake import Connect
from gateway.protocol.messages import HANDOVER_NOTICE, AudioParams, Error, Hello, HelloAnswer, Pong, encode, read_hello

if TYPE_CHECKING:
    from gateway.device.session import Session

_log = logging.getLogger(__name__)

_HEARTBEATS = ("ping", "keepalive")
_KEEPALIVE = {"type": "keepalive"}
_PLAIN_HEARTBEATS = frozenset(
    (b'{"type":"ping"}', b'{"type": "ping"}', b'{"type":"keepalive"}', b'{"type": "keepalive"}')
)
"""Heartbeats as nearly all clients write them: a storm of these costs no decoding."""
_PONG = encode(Pong())
_UNKNOWN_TYPES = 32  # remembered per connection; past it unknown types are dropped without an answer


class State(Enum):
    """How far a channel has come; it only ever moves forward."""

    OPEN = "open"
    """Upgraded, but not alive yet: it owns nothing and disturbs nobody."""
    OWNER = "owner"
    """It owns the route of its device."""
    RETIRED = "retired"
    """A newer channel owns the route; only dictation audio and acknowledgements are still taken from this one."""
    CLOSED = "closed"


class Arrivals(Protocol):
    """Who is told when a channel becomes alive and when it ends."""

    def arrive(self, channel: Channel, because: str) -> Session:
        """Make the channel the owner of its device's route; the session is set on return."""
        ...

    def announce(self, channel: Channel) -> None:
        """Tell the features of an arrival; after the hello answer, so that this is what the device hears first."""

    def leave(self, channel: Channel) -> None:
        """The channel's socket is gone; called once for every channel, whether or not it came alive."""


class Desk(Protocol):
    """Where the messages of all channels go: built once, in `gateway.app`."""

    config: Config
    observers: Observers
    handlers: Mapping[str, Handler[Any]]
    offers: list[str]
    """What the hello answer says this gateway can do."""

    def answers_hello(self, session: Session) -> None:
        """The hello of the session's channel was answered."""

    def downlink_audio(self, client: AudioParams) -> AudioParams:
        """What the device will hear, given what it sends."""
        ...

    def take_audio(self, channel: Channel, packet: bytes) -> None:
        """One uplink Opus packet of the device."""

    def in_meeting(self, session: Session) -> bool:
        """Whether the device is in a meeting, where people may be silent for longer."""
        ...

    def is_busy(self, session: Session) -> bool:
        """Whether an utterance runs, in either direction."""
        ...


class Channel:
    """What one connection of a device has said so far, and the way of each of its frames.

    Attributes:
        connect: who connected, from the upgrade request.
        connection: its socket.
        session: the device's session, None until the channel is alive.
        hello: what the device said of itself; defaults before that.
        state: how far it has come.
    """

    __slots__ = (
        "_arrivals",
        "_bad_frames",
        "_desk",
        "_errors",
        "_heard",
        "_heartbeat",
        "_loop",
        "_pong_sent",
        "_said_hello",
        "_timer",
        "_unknown",
        "connect",
        "connection",
        "hello",
        "introduced",
        "resumes",
        "session",
        "state",
    )

    def __init__(self, connect: Connect, connection: Connection, arrivals: Arrivals, desk: Desk, loop: Any) -> None:
        self.connect = connect
        self.connection = connection
        self.session: Session | None = None
        self.hello = Hello()
        self.state = State.OPEN
        self.introduced = False
        """A text message has come: audio makes sense from here on."""
        self.resumes = False
        """It took the route from another connection; set with the session."""
        self._arrivals = arrivals
        self._desk = desk
        self._loop = loop
        self._pong_sent: PongSent | None = None  # one record serves all pongs of a session
        self._said_hello = False
        self._heard = False
        self._heartbeat = Heartbeat(
            desk.config.heartbeat,
            loop.time(),
            control_pings=connect.device in desk.config.heartbeat.control_ping_devices,
        )
        self._errors = SlidingCount(desk.config.limits.errors, limits.ERROR_WINDOW)
        most = desk.config.limits.bad_frames  # the last of so many closes; None: the first does
        self._bad_frames = SlidingCount(most - 1, limits.ERROR_WINDOW) if most > 1 else None
        self._unknown: dict[str, None] = {}
        self._timer: Any = None

    def __repr__(self) -> str:
        return f"<Channel {self.connect.device} {self.state.value}>"

    @property
    def path(self) -> str:
        """The path it connected on."""
        return self.connect.path

    # --- Receiver: the connection calls these -------------------------------------------------------------------

    def opened(self) -> None:
        """The upgrade was answered: it counts as alive soon, even if it says nothing."""
        self._emit(
            ConnectionOpened,
            address=self.connection.address,
            path=self.connect.path,
            client=printable(self.connect.client_id),
            framing=self.connect.framing,
        )
        self._timer = self._loop.call_later(self._desk.config.handshake.alive_after, self._open_long_enough)

    def text_received(self, payload: bytes) -> None:
        """One text message; a bad one is answered with an error and never raises."""
        now = self._note_received()
        if payload in _PLAIN_HEARTBEATS:
            self._beat(None, now)
            return
        if not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError:
                self.connection.fail(CloseCode.INVALID_DATA, "text message is not UTF-8")
                return
        try:
            message = decode_object(payload)
            kind = type_of(message)
            if kind in _HEARTBEATS:
                self._beat(message.get("id"), now)
                return
            self._dispatch(kind, message)
        except BadMessage as error:
            self.send_error(error.code, error.reason, error.ref)

    def binary_received(self, payload: bytes) -> None:
        """One binary message: audio, once the device has introduced itself."""
        self._note_received()
        if not self.introduced:
            self._drop_frame("before_hello")
            return
        try:
            frame = unpack(self.connect.framing, payload)
        except BadAudioFrame:
            self._drop_frame("bad_frame")
            return
        if frame.kind is FrameKind.JSON:
            self.text_received(frame.payload)
        elif self.session is not None:
            self._desk.take_audio(self, frame.payload)

    def ping_received(self) -> bool:
        """One control ping: the same budget as a heartbeat message."""
        now = self._note_received()
        if self.state is State.RETIRED:
            return False
        return self._within_ping_budget(now)

    def other_received(self) -> None:
        """A pong or a piece of a message: the device is there."""
        self._note_received()

    def audio_dropped(self) -> None:
        """The audio lane was full."""
        self._emit(AudioFrameDropped, why="lane_full")

    def closed(self, code: int, reason: str, by: str, *, aborted: bool) -> None:
        """The socket is gone: give back the route if it is still this channel's."""
        self.state = State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._emit(
            ConnectionClosed,
            code=code,
            reason=printable(reason),
            by=by,
            seconds=self._loop.time() - self.connection.opened_at,
            aborted=aborted,
        )
        self._arrivals.leave(self)

    # --- sending ------------------------------------------------------------------------------------------------

    def send_json(self, message: Any) -> Sent:
        """Send one message; never raises, never waits. `Sent.FAILED` once the channel is retired or closed."""
        if self.state is State.RETIRED:
            return Sent.FAILED
        return self._send(message)

    def send_audio(self, packet: bytes) -> Sent:
        """Send one Opus packet, framed for this connection's version; it waits behind text."""
        if self.state is not State.OWNER:
            return Sent.FAILED
        now = self._loop.time()
        try:
            frame = pack(self.connect.framing, packet, int(now * 1000))
        except ValueError:
            _log.exception("an audio packet to %s could not be framed", self.connect.device)
            self._emit(SendFailed, why="not_opus")
            return Sent.FAILED
        self._heartbeat.on_sent(now)
        return self.connection.send_audio(frame)

    def drop_audio(self) -> int:
        """Drop the audio that waits to be written: speech was aborted; return how many packets that were."""
        return self.connection.drop_audio()

    def send_error(self, code: str, reason: str, ref: str | None = None, answer: Any = None) -> Sent:
        """Answer with an error; more than 20 in 10 s close the connection with 1008, unless it is retired."""
        if self.state is State.RETIRED:
            self._emit(RetiredFrameDropped)
            return Sent.FAILED
        text = reason[: limits.ERROR_TEXT_CHARACTERS]
        self._emit(MessageRejected, code=code, reason=text)
        sent = self.send_json(Error(code, text, UNSET if ref is None else ref) if answer is None else answer)
        if self._errors.add(self._loop.time()):
            self.connection.close(CloseCode.POLICY, "too many errors")
        return sent

    def send_notice(self) -> Sent:
        """Tell the device that a newer connection took over, and retire: the notice is the last that is sent to it."""
        sent = self._send(HANDOVER_NOTICE)
        self.state = State.RETIRED
        self.connection.drop_audio()
        return sent

    def _send(self, message: Any) -> Sent:
        try:
            data = encode(message)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            _log.exception("a message to %s could not be encoded", self.connect.device)
            self._emit(SendFailed, why="not_json")
            return Sent.FAILED
        self._heartbeat.on_sent(self._loop.time())
        return self.connection.send_text(data)

    # --- heartbeats: the one place for all of them --------------------------------------------------------------

    def _beat(self, found: Any, now: float) -> None:
        if self.state is State.RETIRED:
            self._emit(RetiredFrameDropped)
            return
        if self._within_ping_budget(now):
            short = type(found) is int or (type(found) is str and len(found) <= limits.PRINTED_CHARACTERS)
            self._heartbeat.on_sent(now)
            self.connection.send_text(encode(Pong(found)) if short else _PONG)
            if self._pong_sent is None or self._pong_sent.session != self._session_id:
                self._pong_sent = PongSent(device=self.connect.device, session=self._session_id)
            self._desk.observers.emit(self._pong_sent)
        if self.connection.is_open:
            self._make_alive("frame")

    def _within_ping_budget(self, now: float) -> bool:
        beat = self._heartbeat.on_ping(now)
        if beat is Beat.ANSWER:
            return True
        self._emit(PingLimited)
        if beat is Beat.DROP_AND_TELL:
            self._send(Error("RATE_LIMITED", "too many pings; slow down"))
        elif beat is Beat.CLOSE:
            self.connection.close(CloseCode.FLOOD, "ping storm")
        return False

    # --- dispatch -----------------------------------------------------------------------------------------------

    def _dispatch(self, kind: str, message: dict[str, Any]) -> None:
        if self.state is State.RETIRED and not (kind == "peer" and message.get("event") == "ack"):
            self._emit(RetiredFrameDropped)
            return
        self.introduced = True
        if kind == "hello":
            self._hello(message)
            return
        session = self._make_alive("frame")
        handler = self._desk.handlers.get(kind)
        if handler is None:
            self._unknown_type(kind)
            return
        session.run_handler(handler, parse(message, handler.message), self._desk.config.limits.handlers_at_once, self)

    def _unknown_type(self, kind: str) -> None:
        kind = kind[: limits.PRINTED_CHARACTERS]
        if kind in self._unknown or len(self._unknown) >= _UNKNOWN_TYPES:
            self._emit(UnknownTypeDropped)
            return
        self._unknown[kind] = None
        self.send_error("UNKNOWN_TYPE", "no such message type here")

    # --- hello and coming alive ---------------------------------------------------------------------------------

    def inherit(self, older: Channel) -> None:
        """Go by what the device said of itself on its older connection, until it says hello on this one."""
        if not self._said_hello:
            self.hello = older.hello

    def _hello(self, message: dict[str, Any]) -> None:
        if self._said_hello and self.session is not None:
            self._answer_hello(self.session)  # the same again; what the first one said holds
            return
        self.hello, wrong = read_hello(message)
        self._said_hello = True
        if self.session is not None:
            self._answer_hello(self.session)
        session = self._make_alive("hello")
        if wrong:
            self.send_error("BAD_HELLO", f"took the defaults for: {', '.join(wrong)}")
        self._desk.answers_hello(session)

    def _answer_hello(self, session: Session) -> None:
        self.send_json(
            HelloAnswer(
                session_id=session.id,
                audio_params=self._desk.downlink_audio(self.hello.audio_params),
                gateway={"resumed": self.resumes, "features": self._desk.offers},
            )
        )

    def _make_alive(self, because: str) -> Session:
        if self.session is None:
            session = self._arrivals.arrive(self, because)
            if because == "hello":
                self._answer_hello(session)
            self._arrivals.announce(self)
            return session
        return self.session

    def _open_long_enough(self) -> None:
        if not self.connection.is_open:
            return  # it is closing, and must not take the route from one that is not
        self._make_alive("open")
        if self.connect.generated and not self._heard:
            rest = self._desk.config.handshake.hello_timeout - self._desk.config.handshake.alive_after
            self._timer = self._loop.call_later(max(0.0, rest), self._hello_due)
        else:
            self._watch()

    def _hello_due(self) -> None:
        if self._heard:
            self._watch()
        else:
            self.connection.close(CloseCode.HELLO_TIMEOUT, "nothing was said after the handshake")

    # --- silence ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Do what is due, then sleep until something can be: the timer is not touched by traffic."""
        if self.state is not State.OWNER or self.session is None:
            return  # a retired channel has its own end coming
        now = self._loop.time()
        in_meeting = self._desk.in_meeting(self.session)
        busy = self._desk.is_busy(self.session)
        while (due := self._heartbeat.due(now, in_meeting=in_meeting, busy=busy)) is not None:
            if due is Due.IDLE_CLOSE:
                self.connection.close(CloseCode.IDLE, "nothing received for too long")
                return
            if due is Due.KEEPALIVE:
                self.send_json(_KEEPALIVE)
            else:
                self.connection.send_ping()
        when, _ = self._heartbeat.next_deadline(in_meeting=in_meeting, busy=busy)
        self._timer = self._loop.call_at(when, self._watch)

    def _note_received(self) -> float:
        now: float = self._loop.time()
        self._heard = True
        self._heartbeat.on_received(now)
        return now

    # --- records ------------------------------------------------------------------------------------------------

    def _drop_frame(self, why: str) -> None:
        self._emit(AudioFrameDropped, why=why)
        if self.state is State.RETIRED:
            return
        if self._bad_frames is None or self._bad_frames.add(self._loop.time()):
            self.connection.close(CloseCode.UNSUPPORTED_DATA, "too many bad binary frames")

    def _emit(self, event: type[Event], **facts: Any) -> None:
        self._desk.observers.emit(event(device=self.connect.device, session=self._session_id, **facts))

    @property
    def _session_id(self) -> str:
        return self.session.id if self.session is not None else ""
