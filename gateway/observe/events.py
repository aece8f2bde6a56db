"""Frozen records of everything notable, and the list of observers that are shown them.

Features emit; metrics, logs, the test timeline and the live view observe. A feature never calls an observer by name,
and an observer can neither change what happened nor stop it: one that raises is reported once and left out.
Records carry facts only: no message bodies, no tokens, no query strings. Text from a peer in them is printable already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

_log = logging.getLogger(__name__)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Root of all records.

    Attributes:
        device: the device it is about, empty where there is none yet.
        session: its session id, empty before there is one.
    """

    device: str = ""
    session: str = ""


# --- connections ----------------------------------------------------------------------------------------------


class HandshakeRefused(Event, frozen=True):
    """An upgrade was answered with an HTTP status."""

    status: int
    reason: str
    address: str


class ConnectionOpened(Event, frozen=True):
    """An upgrade was accepted; the device is not present yet."""

    address: str
    path: str
    client: str
    framing: int


class DeviceOnline(Event, frozen=True):
    """The connection counts as alive and owns its device's route.

    Attributes:
        replaced: it took the route from another connection.
        because: what made it count as alive: ``hello``, ``frame`` or ``open``.
    """

    replaced: bool
    because: str


class DeviceOffline(Event, frozen=True):
    """The owner of the route is gone and nobody has taken over."""


class ConnectionClosed(Event, frozen=True):
    """A connection ended.

    Attributes:
        code: close code; 1006 where no Close was exchanged.
        reason: why, in our words.
        by: ``gateway`` or ``peer``.
        seconds: how long it was open.
        aborted: the gateway gave up waiting and aborted the TCP connection.
    """

    code: int
    reason: str
    by: str
    seconds: float
    aborted: bool


class HandoverBegan(Event, frozen=True):
    """A newer connection took the route, at once or, where the older one was slow to read its notice, a moment ago.

    Attributes:
        told: the notice was written to the older connection; false where it was gone, or did not read in time.
    """

    told: bool


class HandoverEnded(Event, frozen=True):
    """The older connection is gone, this many seconds after the newer one took the route."""

    seconds: float


class DeviceFlapping(Event, frozen=True):
    """A device was replaced too often and is refused for a while: two boards with one id, or bad Wi-Fi."""

    replacements: int
    refused_seconds: float


# --- traffic --------------------------------------------------------------------------------------------------


class PongSent(Event, frozen=True):
    """A heartbeat was answered."""


class PingLimited(Event, frozen=True):
    """A heartbeat over the budget was not answered."""


class MessageRejected(Event, frozen=True):
    """A text message was answered with an error.

    Attributes:
        code: the error code of the wire.
        reason: the sentence the peer got.
    """

    code: str
    reason: str


class AudioFrameDropped(Event, frozen=True):
    """A binary frame was not used.

    Attributes:
        why: ``bad_frame``, ``before_hello``, ``no_dictation``, ``cut``, ``too_long`` (uplink) or ``lane_full``
            (downlink).
    """

    why: str


class RetiredFrameDropped(Event, frozen=True):
    """A replaced connection sent something other than dictation audio or an acknowledgement."""


class UnknownTypeDropped(Event, frozen=True):
    """A message of an unknown type was left without an answer: it had one before, or there were too many types."""


class SendFailed(Event, frozen=True):
    """A message could not be handed to a connection."""

    why: str


# --- peer messages --------------------------------------------------------------------------------------------


class PeerAccepted(Event, frozen=True):
    """A message was taken from its sender (``device``)."""

    message: str
    targets: int


class PeerDelivered(Event, frozen=True):
    """A message reached ``device``.

    Attributes:
        message: its id.
        sender: who sent it.
        confirm: ``ack`` or ``written``.
        redelivered: it came out of the mailbox.
    """

    message: str
    sender: str
    confirm: str
    redelivered: bool


class PeerEnqueued(Event, frozen=True):
    """A message for ``device`` was committed to the mailbox."""

    message: str
    sender: str


class PeerFailed(Event, frozen=True):
    """A message for ``device`` was refused.

    Attributes:
        code: ``MAILBOX_FULL``, ``TARGET_OFFLINE``, ``UNAUTHORIZED``, ``INTERNAL_ERROR`` or ``INVALID_TARGET``.
    """

    message: str
    sender: str
    code: str


class PeerLost(Event, frozen=True):
    """Messages for ``device`` left the mailbox undelivered; their sender is told.

    Attributes:
        kind: ``expired`` or ``dropped``.
        reason: ``ttl``, ``overflow`` or ``attempts``.
    """

    sender: str
    kind: str
    reason: str
    count: int


class PeerRedelivered(Event, frozen=True):
    """A sender's share of the mail of ``device`` was delivered and its receipt went out (or into the mailbox)."""

    sender: str
    count: int
    mailboxed: bool


class PeerRetried(Event, frozen=True):
    """A message was sent to ``device`` again for lack of an acknowledgement."""

    message: str
    attempt: int


class AckIgnored(Event, frozen=True):
    """An acknowledgement named a message that is not in flight to ``device``.

    Attributes:
        foreign: the message is in flight to another device: a fault, or an attack.
    """

    foreign: bool


# --- meetings, workflow, modes, speech --------------------------------------------------------------------------


class ModeChanged(Event, frozen=True):
    """A device entered or left a mode."""

    mode: str
    state: str


class SnippetsTaken(Event, frozen=True):
    """Snippets of a meeting were taken or ignored."""

    taken: int
    ignored: int


class MeetingFinalized(Event, frozen=True):
    """A meeting ended.

    Attributes:
        because: ``asked``, ``next`` (the device began another), ``absent`` (it did not come back) or ``crowded``
            (too many devices were absent).
    """

    because: str
    seconds: int
    snippets: int


class SnapshotSent(Event, frozen=True):
    """A snapshot was sent.

    Attributes:
        kind: ``tasks`` or ``transcript``.
        delay_ms: how long after the request.
    """

    kind: str
    delay_ms: int


class SnapshotCancelled(Event, frozen=True):
    """A pending snapshot was cancelled with its connection, or replaced by a newer request."""

    kind: str
    why: str


class DictationEnded(Event, frozen=True):
    """An utterance ended.

    Attributes:
        packets: how many audio packets it had, over all its connections.
        because: ``stop`` (the device said so, or the engine heard it), ``abort`` (or a new start), ``silence`` (no
            audio came any more), ``offline`` or ``failed``.
    """

    packets: int
    because: str


class SpeechEnded(Event, frozen=True):
    """A reply was spoken to its end, or cut short."""

    packets: int
    complete: bool


class McpReceived(Event, frozen=True):
    """A device sent a JSON-RPC message and no handler was registered for it."""


# --- the process ----------------------------------------------------------------------------------------------


class GatewayListening(Event, frozen=True):
    """An address is being served."""

    what: str
    address: str


class DrainBegan(Event, frozen=True):
    """The gateway stopped taking devices and lets those it has finish."""

    devices: int


class GatewayStopped(Event, frozen=True):
    """Everything is down."""

    seconds: float
    clean: bool


class HttpAnswered(Event, frozen=True):
    """A request on the HTTP port was answered; the path has no query string."""

    method: str
    path: str
    status: int
    address: str


class OtaRefused(Event, frozen=True):
    """A request to the OTA endpoint, or for an image, was answered with an error; `HttpAnswered` came before it."""

    status: int
    reason: str
    address: str


class TaskFailed(Event, frozen=True):
    """A background task ended with an exception; its traceback is in the log."""

    task: str
    error: str


Observer: TypeAlias = Callable[[Event], None]
"""Called synchronously, in the loop's thread, in order of occurrence; it must return quickly and not raise."""


class Observers:
    """The observers of one gateway, called in the order they were added."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def add(self, observer: Observer) -> None:
        """Add an observer; it sees what happens from now on."""
        self._observers = (*self._observers, observer)

    def remove(self, observer: Observer) -> None:
        """Remove an observer; no error if it is not there."""
        self._observers = tuple(known for known in self._observers if known != observer)  # a bound method is made anew

    def emit(self, event: Event) -> None:
        """Show a record to every observer; one that raises is logged and left out from then on."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer is foreign code and must not stop what it observes
                _log.exception("observer %r failed on %s and is left out from now on", observer, type(event).__name__)
                self.remove(observer)
