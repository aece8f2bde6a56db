"""What happens to a virtual board, as it is told to whoever watches it; `str` says it in words."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import msgspec

from harness.errors import ExpectationFailed
from harness.virtual.machine import ResetCause

KEPT = 10_000
"""Events that a `Recorder` keeps; past it the oldest are dropped: writing 16 MiB in blocks of 16 KiB makes 2,000."""


class PoweredOn(msgspec.Struct, frozen=True):
    """The supply came on. ``at`` is ``time.monotonic()``, here as below."""

    at: float

    def __str__(self) -> str:
        return "power on"


class PoweredOff(msgspec.Struct, frozen=True):
    """The supply went off, because of what is said in words."""

    at: float
    why: str

    def __str__(self) -> str:
        return f"power off: {self.why}"


class Reset(msgspec.Struct, frozen=True):
    """The chip left reset.

    Attributes:
        cause: what its ROM sees as the cause.
        download: IO0 was low, so it is in download mode; otherwise it boots from flash.
    """

    at: float
    cause: ResetCause
    download: bool

    def __str__(self) -> str:
        return f"reset ({self.cause}), {'download mode' if self.download else 'runs what is flashed'}"


class StubStarted(msgspec.Struct, frozen=True):
    """A flasher stub was uploaded and started; from here on it is the one that answers."""

    at: float

    def __str__(self) -> str:
        return "a flasher stub was uploaded"


class UnknownCommand(msgspec.Struct, frozen=True):
    """A host gave a command that the loader it speaks to does not know: ``op`` of the serial protocol."""

    at: float
    op: int
    by_stub: bool

    def __str__(self) -> str:
        return f"the {'stub' if self.by_stub else 'ROM'} does not know the command {self.op:#04x}"


class RamAppStarted(msgspec.Struct, frozen=True):
    """A program was uploaded to RAM and started at ``entry``; none of it executes, the chip is silent until a reset."""

    at: float
    entry: int

    def __str__(self) -> str:
        return f"a program in RAM was entered at {self.entry:#010x}; nothing of it executes"


class FlashErased(msgspec.Struct, frozen=True):
    """``size`` bytes from ``address`` on were erased, by the loader or by what runs."""

    at: float
    address: int
    size: int

    def __str__(self) -> str:
        return f"flash erased: {self.size:,} bytes at {self.address:#x}"


class FlashWritten(msgspec.Struct, frozen=True):
    """``size`` bytes were programmed from ``address`` on, by the loader or by what runs."""

    at: float
    address: int
    size: int

    def __str__(self) -> str:
        return f"flash written: {self.size:,} bytes at {self.address:#x}"


class FaultStruck(msgspec.Struct, frozen=True):
    """A fault that was asked for came to pass, in words."""

    at: float
    what: str

    def __str__(self) -> str:
        return f"fault: {self.what}"


class ClientConnected(msgspec.Struct, frozen=True):
    """A host opened the port ``url``."""

    at: float
    url: str

    def __str__(self) -> str:
        return f"a host has opened {self.url}"


class ClientDisconnected(msgspec.Struct, frozen=True):
    """A host has gone from the port ``url``."""

    at: float
    url: str

    def __str__(self) -> str:
        return f"the host at {self.url} has gone"


BoardEvent: TypeAlias = (
    PoweredOn
    | PoweredOff
    | Reset
    | StubStarted
    | UnknownCommand
    | RamAppStarted
    | FlashErased
    | FlashWritten
    | FaultStruck
    | ClientConnected
    | ClientDisconnected
)

WatchBoard: TypeAlias = Callable[[BoardEvent], None]
"""Is shown each event as it happens, in order, in the thread where it happens; must return at once.

The board's lock may be held: it must neither call the board, nor wait for a thread that does.
"""

E = TypeVar("E", bound=BoardEvent)


def unwatched(_: BoardEvent) -> None:
    """Look at nothing."""


class Recorder:
    """A watch that keeps the events and waits for them; any thread may use it."""

    def __init__(self) -> None:
        self._events: deque[BoardEvent] = deque(maxlen=KEPT)
        self._changed = threading.Condition()

    def __call__(self, event: BoardEvent) -> None:
        """Keep an event."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind, oldest first."""
        with self._changed:
            return [event for event in self._events if isinstance(event, kind)]

    def clear(self) -> None:
        """Forget what has happened."""
        with self._changed:
            self._events.clear()

    def wait_for(self, kind: type[E], count: int = 1, timeout: float = 5.0) -> E:
        """Wait until there are ``count`` events of a kind since the last `clear`, and return the last of these.

        Raises:
            ExpectationFailed: after ``timeout`` seconds there are fewer.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while len(found := [event for event in self._events if isinstance(event, kind)]) < count:
                if not self._changed.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    kinds = ", ".join(type(event).__name__ for event in list(self._events)[-10:]) or "nothing"
                    ending = f"there were {len(found)}; what happened last: {kinds}"
                    raise ExpectationFailed("the board", f"{count} x {kind.__name__}", timeout, ending, [])
        return found[count - 1]
