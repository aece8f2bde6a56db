"""The exception tree of the gateway.

::

    GatewayError
    ├── Misuse                 our own code broke a rule of ours
    │   └── LoopNotRunning         a thread called into a loop that is not there
    ├── PeerError              the peer misbehaved; carries what to tell it
    │   ├── BadDeviceId            an id that cannot name a device
    │   ├── HandshakeRefused       an HTTP status instead of an upgrade
    │   ├── BadMessage             an error reply on an open connection
    │   └── BadAudioFrame          a binary frame that does not follow its framing
    ├── WorldError             the machine or the network refused
    │   ├── CannotListen           an address could not be bound
    │   ├── MailboxFailed          the mailbox could not store or read
    │   └── PoolBusy               the worker pool and its queue are full
    └── ConfigurationError     every fault of the configuration, in one list

The first split is *whose fault it is*, because that decides what happens next: misuse is a bug and is logged with
its traceback; a peer error is answered and counted; a world error is reported to whoever can act on it.
Facts are attributes; the sentence is made in ``__str__``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""


class Misuse(GatewayError):
    """Our own code, or an application built on it, broke a documented rule."""


class LoopNotRunning(Misuse):
    """A thread asked for a coroutine to be run, but the gateway's loop is not bound, or is closed."""


class PeerError(GatewayError):
    """The peer misbehaved.

    Never raised bare: each child carries the answer to give.
    """


class BadDeviceId(PeerError):
    """A device id is empty, longer than the limit, or has control characters."""


class HandshakeRefused(PeerError):
    """The upgrade is refused with an HTTP status, before any state exists.

    Attributes:
        status: HTTP status code (400, 401, 403, 404, 405, 408, 426, 429, 431, 500, 503, 505).
        reason: one sentence for the peer and the log; it never repeats what the peer sent.
        headers: further response headers, such as ``Retry-After``.
        device: who was refused, for the log; empty until it is known.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        self.device = ""

    def __str__(self) -> str:
        return f"handshake refused with {self.status}: {self.reason}"


class BadMessage(PeerError):
    """A text message cannot be handled; the peer gets an error reply and the connection stays open.

    Attributes:
        code: error code of the wire, for example ``BAD_JSON``.
        reason: one sentence, at most 200 characters, without the peer's text.
        ref: the message id the error refers to, where there was one.
    """

    def __init__(self, code: str, reason: str, ref: str | None = None) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.ref = ref

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


class BadAudioFrame(PeerError):
    """A binary frame does not follow the framing version of its connection; it is dropped and counted."""


class WorldError(GatewayError):
    """The machine, its disk or its network refused something the gateway needs."""


class CannotListen(WorldError):
    """A listening address could not be had.

    Attributes:
        address: ``host:port`` as it would be typed.
        cause: the system's error.
        holder: who holds the port, where that can be read, else None.
        advice: what to change.
    """

    def __init__(self, address: str, cause: OSError, holder: str | None, advice: str) -> None:
        super().__init__(address, cause, holder, advice)
        self.address = address
        self.cause = cause
        self.holder = holder
        self.advice = advice

    def __str__(self) -> str:
        held = f" (held by {self.holder})" if self.holder else ""
        return f"cannot listen on {self.address}: {self.cause.strerror or self.cause}{held}; {self.advice}"


class MailboxFailed(WorldError):
    """The mailbox could not do what was asked; nothing of the request has been stored."""


class PoolBusy(WorldError):
    """The worker pool and its queue are full; the work was not taken."""


class ConfigurationFault(msgspec.Struct, frozen=True):
    """One fault of the configuration.

    Attributes:
        source: the file, or the environment variable, it came from.
        key: dotted key, for example ``server.ws_port``.
        expected: what would be right.
        found: what was there, printable and short; never a secret.
    """

    source: str
    key: str
    expected: str
    found: str = ""

    def __str__(self) -> str:
        found = f", found {self.found}" if self.found else ""
        return f"{self.source}: {self.key}: expected {self.expected}{found}"


class ConfigurationError(GatewayError):
    """The configuration has faults; all of them are listed.

    Attributes:
        faults: each fault, in the order of the file, then of the environment.
    """

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)
