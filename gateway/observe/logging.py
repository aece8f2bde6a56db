"""Log lines: how they look, what must not be in them, and the observer that turns records into them.

Importing this module changes nothing; `configure` sets up the root logger, once the settings are known.
Whoever logs, every line says which device and session it is about (``-`` where that is unknown), is one line, and has
no token in it. Only a traceback takes further lines, each of them indented, so that no text can pose as a line of ours.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TextIO

import msgspec

from gateway.config import LoggingConfig
from gateway.identity import escaped
from gateway.observe import events
from gateway.observe.events import Event
from gateway.observe.log_writer import LogWriter
from gateway.protocol.budgets import TokenBucket

EVENT_LOGGER = "gateway.events"
"""The logger of the lines that are made from records."""
MESSAGE_CHARACTERS = 2000
"""Most of one message, or of one line of a traceback, that is shown."""
SESSION_CHARACTERS = 8
"""Of the session id, in lines for people."""
LINES_PER_SECOND = 20
LINES_AT_ONCE = 200
"""Most lines of one kind of record; peers decide how many there would be. At DEBUG all are shown."""

_UNKNOWN = "-"
_CHATTY = ("asyncio", "websockets")
"""Other people's loggers that stay at INFO: at DEBUG, websockets writes the contents of frames."""


def configure(config: LoggingConfig, stream: TextIO, is_terminal: bool) -> None:
    """Send all log lines, and warnings, to ``stream`` as configured; replaces what an earlier call set up.

    They are written by a thread, so that a stream that nobody reads holds up nobody; `flush` and `close` wait for it.
    Handlers of others are left alone. Lines have colours on a terminal, unless ``NO_COLOR`` is set.
    """
    if config.format == "text" or (config.format == "auto" and is_terminal):
        colours = is_terminal and not os.environ.get("NO_COLOR")
        handler = _Handler(stream, TextFormatter(is_terminal, colours=colours))
    else:
        handler = _Handler(stream, JsonFormatter())
    root = logging.getLogger()
    for old in _ours():
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(config.level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    logging.captureWarnings(True)


def flush(timeout: float) -> bool:
    """Wait until all lines so far are written, ``timeout`` seconds at most; return whether they are. Blocking."""
    return all(handler.writer.flush(timeout) for handler in _ours())


def close(timeout: float) -> bool:
    """Flush, and ignore all further lines until `configure` is called again; also done at the exit of the process.

    Returns:
        Whether all has been written within ``timeout`` seconds; what has not is lost. Blocking.
    """
    return all(handler.writer.close(timeout) for handler in _ours())


def _ours() -> list[_Handler]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Handler)]


_CLOSE_WAIT = 1.0  # seconds for the last lines


class _Handler(logging.Handler):
    """The handler that `configure` put in place: makes lines and leaves the writing to a thread.

    They are made by whoever logs: what is to be shown in them may have changed a moment later, and a thread that
    computes takes the interpreter from the loop for 5 ms at a time, while one that only writes lets go of it.
    """

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LogWriter(stream, self._dropped)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on; it is dropped and counted where too many wait."""
        if not self.writer.has_room():
            return
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - another's object shows itself; logging must harm nobody
            line = self._line(logging.ERROR, f"a line of {record.name} could not be made: {type(error).__name__}")
        self.writer.put(line)

    def close(self) -> None:
        """Write what waits; `logging` calls this at the exit of the process."""
        self.writer.close(_CLOSE_WAIT)
        super().close()

    def _dropped(self, count: int) -> str:
        return self._line(logging.WARNING, f"{count} log lines were dropped: nobody read them, or the disk is full")

    def _line(self, level: int, message: str) -> str:
        return self.format(logging.LogRecord(__name__, level, __file__, 0, message, None, None))


# --- what may be shown ----------------------------------------------------------------------------------------

_SECRETS = (
    re.compile(r"(?i)(\bbearer(?:\s|%20|\+)+)[^\s\"'&,;]+"),
    re.compile(r"(?i)(token\s*=\s*[\"']?|token[\"']\s*:\s*[\"']?)[^\s\"'&,;]+"),
    re.compile(r"(?i)(authorization[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+"),
    re.compile(r"()(?<![\w-])[\w-]{43}\.\d{9,12}(?!\w)", re.ASCII),  # a device token as the gateway makes them
)


def redact(text: str) -> str:
    """Mask what looks like a token: after ``Bearer``, ``token=``, ``authorization=``, or by its form.

    The second line of defence: those who log are not to log tokens in the first place.
    """
    for secret in _SECRETS:
        text = secret.sub(r"\1***", text)
    return text


def _one_line(text: str) -> str:
    """Cut a text short and show what is not printable, line ends included, as escapes."""
    shown = escaped(text[:MESSAGE_CHARACTERS])
    return shown + "…" if len(text) > MESSAGE_CHARACTERS else shown


def _shown(value: object) -> str:
    return _one_line(redact(str(value).rstrip()))


# --- formatters -----------------------------------------------------------------------------------------------


class _Formatter(logging.Formatter):
    """What both kinds of lines have in common."""

    def subject(self, record: logging.LogRecord, name: str) -> str:
        """The device or session a line is about."""
        return _one_line(str(getattr(record, name, ""))) or _UNKNOWN

    def further_lines(self, record: logging.LogRecord) -> Iterator[str]:
        """The traceback and stack of a line, if it has them."""
        texts = (record.exc_info and self.formatException(record.exc_info), record.stack_info)
        for text in texts:
            if text:
                yield from map(_shown, redact(text).split("\n"))


_COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}


class TextFormatter(_Formatter):
    """Lines for people: time, level, device, session, message.

    Args:
        clock_only: show the local time without its date, for somebody who is watching; otherwise the date in UTC.
        colours: colour the level.
    """

    def __init__(self, clock_only: bool, *, colours: bool) -> None:
        super().__init__()
        self._clock_only = clock_only
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Make the line, and the indented lines of a traceback."""
        device = self.subject(record, "device")
        session = self.subject(record, "session")[:SESSION_CHARACTERS]
        message = _shown(record.getMessage())
        if record.name != EVENT_LOGGER:
            message = f"{record.name}: {message}"
        line = f"{self._time(record)} {self._level(record)} {device:<17} {session:<8} {message}"
        return "\n    ".join((line, *self.further_lines(record)))

    def _time(self, record: logging.LogRecord) -> str:
        if not self._clock_only:
            return _rfc3339(record)
        local = datetime.fromtimestamp(record.created).astimezone()
        return local.strftime("%H:%M:%S.") + f"{local.microsecond // 1000:03}"

    def _level(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        colour = _COLOURS.get(record.levelno) if self._colours else None
        return f"\x1b[{colour}m{level}\x1b[0m" if colour else level


class JsonFormatter(_Formatter):
    """Lines for machines: one JSON object each.

    Always there: ``ts`` (RFC 3339, UTC, milliseconds), ``level``, ``logger``, ``message``, ``device``, ``session``.
    Of a record: ``event``, its name, and ``facts``, its other fields. Of an exception: ``exception``, the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line: dict[str, Any] = {
            "ts": _rfc3339(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _shown(record.getMessage()),
            "device": self.subject(record, "device"),
            "session": self.subject(record, "session"),
        }
        if (event := getattr(record, "event", None)) is not None:
            line["event"] = event
            line["facts"] = {key: _fact(value) for key, value in getattr(record, "facts", {}).items()}
        if further := "\n".join(self.further_lines(record)):
            line["exception"] = further
        return msgspec.json.encode(line).decode()


def _rfc3339(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fact(value: object) -> object:
    is_number = isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)
    return value if is_number or value is None else _shown(value)


# --- records --------------------------------------------------------------------------------------------------

_DEBUG, _INFO, _WARNING, _ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

LINES: dict[type[Event], tuple[int, str]] = {
    # connections
    events.HandshakeRefused: (_INFO, "handshake from {address} refused with {status}: {reason}"),
    events.ConnectionOpened: (_INFO, "connected from {address} on {path}, framing {framing}"),
    events.DeviceOnline: (_INFO, "online by its {because}, in place of another connection: {replaced}"),
    events.DeviceOffline: (_INFO, "offline"),
    events.ConnectionClosed: (_INFO, "connection closed by {by} with {code} after {seconds:.1f} s: {reason}"),
    events.HandoverBegan: (_INFO, "a newer connection took over, the older one was told: {told}"),
    events.HandoverEnded: (_INFO, "the older connection was gone after {seconds:.1f} s"),
    events.DeviceFlapping: (
        _WARNING,
        "replaced {replacements} times, so refused for {refused_seconds:g} s: two boards with one id, or bad Wi-Fi",
    ),
    # traffic
    events.PongSent: (_DEBUG, "heartbeat answered"),
    events.PingLimited: (_DEBUG, "heartbeat over the budget, not answered"),
    events.MessageRejected: (_INFO, "message answered with {code}: {reason}"),
    events.AudioFrameDropped: (_DEBUG, "audio frame dropped: {why}"),
    events.RetiredFrameDropped: (_DEBUG, "frame of a replaced connection dropped"),
    events.UnknownTypeDropped: (_DEBUG, "message of an unknown type dropped without an answer"),
    events.SendFailed: (_WARNING, "message could not be sent: {why}"),
    events.McpReceived: (_DEBUG, "JSON-RPC message without a handler"),
    # peer messages
    events.PeerAccepted: (_DEBUG, "message {message} accepted for {targets} targets"),
    events.PeerDelivered: (_DEBUG, "message {message} of {sender} delivered, confirmed by {confirm}"),
    events.PeerEnqueued: (_DEBUG, "message {message} of {sender} put into the mailbox"),
    events.PeerFailed: (_DEBUG, "message {message} of {sender} refused: {code}"),
    events.PeerLost: (_WARNING, "{count} messages of {sender} {kind}: {reason}"),
    events.PeerRedelivered: (_DEBUG, "{count} messages of {sender} delivered out of the mailbox"),
    events.PeerRetried: (_DEBUG, "message {message} sent again, attempt {attempt}"),
    events.AckIgnored: (_DEBUG, "acknowledgement ignored, message in flight to another device: {foreign}"),
    # meetings, workflow, modes, speech
    events.ModeChanged: (_DEBUG, "mode {mode}: {state}"),
    events.SnippetsTaken: (_DEBUG, "{taken} snippets taken, {ignored} ignored"),
    events.MeetingFinalized: (_INFO, "meeting of {seconds} s and {snippets} snippets ended: {because}"),
    events.SnapshotSent: (_DEBUG, "snapshot of {kind} sent after {delay_ms} ms"),
    events.SnapshotCancelled: (_DEBUG, "snapshot of {kind} cancelled: {why}"),
    events.DictationEnded: (_DEBUG, "utterance of {packets} packets ended: {because}"),
    events.SpeechEnded: (_DEBUG, "speech of {packets} packets ended, complete: {complete}"),
    # the process
    events.GatewayListening: (_INFO, "{what} is served on {address}"),
    events.DrainBegan: (_WARNING, "taking no more devices; the {devices} here may finish"),
    events.GatewayStopped: (_INFO, "stopped after {seconds:.1f} s, clean: {clean}"),
    events.HttpAnswered: (_DEBUG, "{method} {path} from {address} answered with {status}"),
    events.OtaRefused: (_INFO, "OTA request from {address} refused with {status}: {reason}"),
    events.TaskFailed: (_ERROR, "task {task} failed: {error}"),
}
"""For each record, its level and its sentence. What devices cause many times a second in their daily work is DEBUG."""

_WORDS = {True: "yes", False: "no"}


class LogObserver:
    """An observer that logs each record; those of applications at DEBUG, by their name.

    Of each kind of record there are `LINES_PER_SECOND` lines at most, after `LINES_AT_ONCE`; how many were left out is
    told with the next line of that kind, and at the end. At DEBUG nothing is left out.
    A record whose level is off costs a look into two dictionaries.

    Args:
        now: seconds of a clock that does not go back.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._log = logging.getLogger(EVENT_LOGGER)
        self._now = now
        self._budgets: dict[type[Event], _Budget] = {}

    def __call__(self, event: Event) -> None:
        """Log a record."""
        kind = type(event)
        level, sentence = LINES.get(kind, (_DEBUG, kind.__name__))
        if not self._log.isEnabledFor(level):
            return
        if kind is events.GatewayStopped:
            self._tell_left_out(tuple(self._budgets))
        if not self._log.isEnabledFor(_DEBUG) and not self._has_room(kind):
            return
        if isinstance(event, events.GatewayStopped) and event.seconds == 0.0:
            return  # it never ran: why is told elsewhere, and a line of success beside it would mislead
        facts = msgspec.structs.asdict(event)
        device, session = facts.pop("device"), facts.pop("session")
        message = sentence.format_map({key: _in_words(value) for key, value in facts.items()})
        extra = {"device": device, "session": session, "event": kind.__name__, "facts": facts}
        self._log.log(level, "%s", message, extra=extra)

    def _has_room(self, kind: type[Event]) -> bool:
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = _Budget()
        if not budget.bucket.take(self._now()):
            budget.left_out += 1
            return False
        self._tell_left_out((kind,))
        return True

    def _tell_left_out(self, kinds: Iterable[type[Event]]) -> None:
        for kind in kinds:
            budget = self._budgets[kind]
            if budget.left_out:
                text = "%d more lines of %s were left out: more than %d a second"
                self._log.log(LINES[kind][0], text, budget.left_out, kind.__name__, LINES_PER_SECOND)
                budget.left_out = 0


class _Budget:
    """How many lines of one kind there may be, and how many were left out since the last one."""

    __slots__ = ("bucket", "left_out")

    def __init__(self) -> None:
        self.bucket = TokenBucket(LINES_PER_SECOND, LINES_AT_ONCE)
        self.left_out = 0


def _in_words(value: object) -> object:
    return _WORDS[value] if isinstance(value, bool) else value
