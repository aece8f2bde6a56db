"""The exception tree of the harness.

::

    HarnessError
    ├── Misuse                 the code that uses the harness broke a rule of it
    ├── PeerError              the gateway did not do what was asked of it, or expected
    │   ├── UpgradeRefused         it answered the upgrade with an HTTP status
    │   ├── ExpectationFailed      what was waited for did not come; an AssertionError, too
    │   └── FirmwareWouldFail      it sent what a real device cannot take
    └── WorldError             the machine or the network refused
        ├── CannotConnect          no connection, or no answer on it
        └── NotConnected           the connection is not there (any more)

Whose fault it is decides what a verdict says, so it is the first split. Facts are attributes; the sentence is made in
``__str__``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.identity import printable

SHOWN_MESSAGES = 10
"""Of those that did arrive, in the text of `ExpectationFailed`: the latest ones."""
SHOWN_CHARACTERS = 200
"""Of one message, or of the body of a refusal."""


class HarnessError(Exception):
    """Root of everything the harness raises on purpose."""


class Misuse(HarnessError):
    """The code that uses the harness broke a documented rule."""


# --- the gateway ------------------------------------------------------------------------------------------------


class PeerError(HarnessError):
    """The gateway did not do what was asked of it, or expected."""


class UpgradeRefused(PeerError):
    """The upgrade request was not answered with a valid 101.

    Attributes:
        status: HTTP status; 101 where it was one, but not a valid one.
        reason: what the body of the answer says, or what is wrong with it.
        headers: of the answer; of a repeated one the last.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})

    def __str__(self) -> str:
        return f"upgrade refused with {self.status}: {printable(self.reason.strip(), SHOWN_CHARACTERS)}"


class ExpectationFailed(PeerError, AssertionError):
    """What was waited for did not come.

    Attributes:
        device: who waited.
        wanted: for what, in words.
        seconds: for how long.
        ending: what ended the wait: the time, or how the connection ended.
        arrived: the messages that did arrive and that nobody took, oldest first.
    """

    def __init__(
        self, device: str, wanted: str, seconds: float, ending: str, arrived: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(device, wanted, seconds, ending)
        self.device = device
        self.wanted = wanted
        self.seconds = seconds
        self.ending = ending
        self.arrived = tuple(arrived)

    def __str__(self) -> str:
        shown = self.arrived[-SHOWN_MESSAGES:]
        lines = [f"{self.device} expected {self.wanted}, but after {self.seconds:.1f} s {self.ending}"]
        if not shown:
            lines.append("  nothing else arrived")
        elif len(shown) < len(self.arrived):
            lines.append(f"  the last {len(shown)} of {len(self.arrived)} others that arrived:")
        else:
            lines.append("  what else arrived:")
        return "\n".join(lines + [f"    {_shown(message)}" for message in shown])


class FirmwareWouldFail(PeerError):
    """The gateway sent what a real device cannot take: it would crash, read past the end of a frame, or see nothing."""


# --- the world --------------------------------------------------------------------------------------------------


class WorldError(HarnessError):
    """The machine or its network refused something."""


class CannotConnect(WorldError):
    """No connection to the gateway came about, or no answer came on it.

    Attributes:
        url: where to.
        why: what went wrong.
    """

    def __init__(self, url: str, why: str) -> None:
        super().__init__(url, why)
        self.url = url
        self.why = why

    def __str__(self) -> str:
        return f"cannot connect to {self.url}: {self.why}"


class NotConnected(WorldError):
    """A device has no connection to send on.

    Attributes:
        device: which one.
        why: where the connection is.
    """

    def __init__(self, device: str, why: str) -> None:
        super().__init__(device, why)
        self.device = device
        self.why = why

    def __str__(self) -> str:
        return f"{self.device} cannot send: {self.why}"


def _shown(message: Mapping[str, Any]) -> str:
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=repr)
    return printable(text, SHOWN_CHARACTERS)
