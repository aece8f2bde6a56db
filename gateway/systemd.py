"""What systemd is told (``sd_notify``), and what it hands over (``LISTEN_FDS``); pure, the sockets are `listening`'s.

Outside systemd none of the variables is set, and everything here does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gateway.identity import printable

_log = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3): 0, 1 and 2 are the standard streams."""
MOST_DESCRIPTORS = 64
"""Two kinds of sockets on a handful of addresses are far below; a count above it makes no sense."""
STATUS_CHARACTERS = 200


class PassedDescriptor(NamedTuple):
    """A descriptor that systemd opened for this process, and its ``FileDescriptorName=``, empty where it has none."""

    number: int
    name: str


def passed_descriptors(environ: Mapping[str, str], pid: int) -> list[PassedDescriptor]:
    """Read which descriptors were passed to this process; none, when they are another's or the variables make no sense.

    Args:
        environ: ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES`` are read from it.
        pid: of this process: a child must not take what was meant for its parent.
    """
    count = _number(environ.get("LISTEN_FDS"))
    if count is None or count > MOST_DESCRIPTORS or _number(environ.get("LISTEN_PID")) != pid:
        return []
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    if len(names) != count:
        names = [""] * count
    return [PassedDescriptor(number, name) for number, name in enumerate(names, FIRST_DESCRIPTOR)]


def notify_address(environ: Mapping[str, str]) -> str | None:
    """Return where systemd listens for notifications, as an ``AF_UNIX`` address; None where nobody does."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path.startswith("@"):  # the printable form of an abstract address
        return "\0" + path[1:]
    return path if path.startswith("/") else None


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return how often systemd wants a sign of life: half of ``WatchdogSec=`` in seconds; None where it wants none."""
    microseconds = _number(environ.get("WATCHDOG_USEC"))
    meant_for = environ.get("WATCHDOG_PID")
    if not microseconds or (meant_for is not None and _number(meant_for) != pid):
        return None
    return microseconds / 1e6 / 2


class Datagrams(Protocol):
    """A connected datagram socket that does not block."""

    def send(self, data: bytes, /) -> int:
        """Send one datagram, or raise `OSError`."""
        ...

    def close(self) -> None:
        """Close it."""


class Notifier:
    """Tells systemd how the gateway does. Never raises and never waits: a gateway is worth more than its status.

    What cannot be sent (systemd's queue is full) goes with the next message, so that ``READY=1`` is not lost while
    the watchdog ticks.

    Args:
        socket: where to send; None to do nothing.
        interval: seconds between signs of life; None for none.
    """

    def __init__(self, socket: Datagrams | None, interval: float | None = None) -> None:
        self._socket = socket
        self._interval = interval
        self._unsent: dict[str, str] = {}
        self._warned = False

    def ready(self, status: str) -> None:
        """The gateway listens; units that are ordered after it may start."""
        self._notify(READY="1", STATUS=_one_line(status))

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._notify(STATUS=_one_line(text))

    def stopping(self, status: str, seconds: float) -> None:
        """The gateway drains and needs at most this many seconds, even if ``TimeoutStopSec=`` is less."""
        self._notify(STOPPING="1", STATUS=_one_line(status), EXTEND_TIMEOUT_USEC=str(round(seconds * 1e6)))

    async def watch(self) -> None:
        """Give signs of life until cancelled; a loop that hangs gives none. Returns at once where none are wanted."""
        while self._socket is not None and self._interval is not None:
            self._notify(WATCHDOG="1")
            await asyncio.sleep(self._interval)

    def close(self) -> None:
        """Send nothing more; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _notify(self, **variables: str) -> None:
        if self._socket is None:
            return
        self._unsent.update(variables)
        message = "\n".join(f"{name}={value}" for name, value in self._unsent.items())
        try:
            self._socket.send(message.encode())
        except OSError as error:
            if not self._warned:
                self._warned = True
                _log.warning("systemd does not take notifications: %s; trying again with the next one", error)
            return
        self._unsent.clear()


def _one_line(text: str) -> str:
    # a line break would begin a further variable
    return printable(text, STATUS_CHARACTERS)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 16 else None
