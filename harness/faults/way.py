"""One direction of a connection through the proxy: from what one side has written to what the other side is given."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import Enum, auto
from typing import Protocol

from harness.faults.passing import Direction
from harness.faults.shape import PLAIN, Shape, Shaper

WINDOW = 256 * 1024
"""Bytes that may be under way in one direction: a latency does not make room for more, as a window of TCP does not."""
WAITING = 256 * 1024
"""Bytes that may wait to be sent off; past them the side that writes is no longer read from, and its window closes."""


class Mark(Enum):
    """What goes behind the bytes."""

    FIN = auto()
    """The end of the stream."""
    RESET = auto()


class Reader(Protocol):
    """The side that bytes come from."""

    def pause_reading(self) -> None:
        """Read no more."""
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...


class Writer(Protocol):
    """The side that bytes go to."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel."""
        ...

    def finish(self) -> None:
        """Send FIN behind them."""
        ...

    def reset(self) -> None:
        """Send RST."""
        ...


class Owner(Protocol):
    """The connection that both ways belong to."""

    def wants_target(self, way: Way) -> None:
        """Something is to be passed to a side that is not there yet; it is to be set as ``target``."""
        ...

    def passed(self, way: Way, data: bytes) -> None:
        """Bytes were handed on."""
        ...

    def finished(self, way: Way) -> None:
        """The end of the stream, or a reset, was handed on."""
        ...

    def limit_reached(self, way: Way) -> None:
        """All bytes that `Way.limit` allows have passed."""
        ...


class Way:
    """One direction.

    Bytes pass in the order in which they came; while nothing is asked of a way they are handed on at once. What waits
    and what is under way is bounded (`WAITING`, `WINDOW`, and one read of the transport beyond).

    Args:
        direction: which.
        owner: is told what passes.
        chance: for jitter and slices.

    Attributes:
        source, target: its sides; the target is None until there is one.
        bytes_passed: so far.
    """

    def __init__(self, direction: Direction, owner: Owner, chance: random.Random) -> None:
        self.direction = direction
        self.source: Reader | None = None
        self.bytes_passed = 0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._target: Writer | None = None
        self._shaper = Shaper(chance)
        self._shape = PLAIN
        self._limit: int | None = None
        self._held = self._silent = self._dropping = False
        self._waiting: deque[bytes | Mark] = deque()
        self._waiting_bytes = 0
        self._flying: deque[tuple[float, bytes | Mark]] = deque()
        self._flying_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._target_full = False
        self._reading = True
        self._plain = False  # whether bytes can be handed on as they come

    # --- what is asked of it --------------------------------------------------------------------------------------

    @property
    def target(self) -> Writer | None:
        """The side that bytes go to."""
        return self._target

    @target.setter
    def target(self, target: Writer) -> None:
        self._target = target
        self._move()

    @property
    def has_bytes(self) -> bool:
        """Whether bytes wait, or are under way."""
        return self._waiting_bytes + self._flying_bytes > 0

    def set_shape(self, shape: Shape) -> None:
        """Have other qualities, for all that is sent from now on."""
        self._shape = shape
        self._move()

    def set_limit(self, limit: int | None) -> None:
        """Let so many bytes pass in all, counted from the beginning of the connection; None: any number."""
        self._limit = limit
        self._move()
        if limit is not None and self.bytes_passed >= limit:
            self._owner.limit_reached(self)

    def hold(self) -> None:
        """Let nothing pass until `release`; what comes meanwhile is kept."""
        self._held = True
        self._move()

    def release(self) -> None:
        """Let everything pass again."""
        self._held = False
        self._move()

    def silence(self) -> None:
        """Let nothing pass any more: the source is no longer read from, its end not noticed."""
        self._silent = True
        self._clear()
        self._move()

    def drop(self) -> None:
        """Let nothing pass any more, but go on reading: what is sent is acknowledged, and goes nowhere."""
        self._dropping, self._silent = True, False
        self._clear()
        self._move()

    # --- what happens to it ---------------------------------------------------------------------------------------

    def take(self, item: bytes | Mark) -> None:
        """Take what the source has sent."""
        if self._plain and isinstance(item, bytes):
            self._hand_on(item)
        elif not (self._silent or self._dropping):
            self._waiting.append(item)
            self._waiting_bytes += _size(item)
            self._move()

    def target_is_full(self, full: bool) -> None:
        """The kernel of the target has, or has no longer, more than it takes."""
        self._target_full = full
        self._move()

    # --- moving -----------------------------------------------------------------------------------------------------

    def _move(self) -> None:
        """Bring everything as far as it gets now."""
        while not self._is_stopped:
            self._send_off()
            if not self._deliver() or not self._waiting:
                break
        self._plain = (
            self._shape is PLAIN
            and self._target is not None
            and self._limit is None
            and not (self._waiting or self._flying or self._target_full or self._is_stopped)
        )
        self._regulate()

    @property
    def _is_stopped(self) -> bool:
        return self._held or self._silent or self._dropping

    def _send_off(self) -> None:
        now = self._loop.time()
        while self._waiting and self._flying_bytes < WINDOW:
            item = self._waiting.popleft()
            self._waiting_bytes -= _size(item)
            if isinstance(item, Mark):
                self._flying.append((self._shaper.end(self._shape, now), item))
                continue
            for piece in self._shaper.pieces(self._shape, item):
                self._flying.append((self._shaper.arrival(self._shape, now, len(piece)), piece))
                self._flying_bytes += len(piece)

    def _deliver(self) -> bool:
        """Hand on what is due, of slices one a turn, or they would be read as one; return whether that was anything."""
        some = False
        while self._flying and not self._target_full:
            due, item = self._flying[0]
            if due > self._loop.time() or (some and self._shape.slice_bytes):
                self._wake_at(due)
                break
            if self._target is None:
                self._owner.wants_target(self)
                break
            self._flying.popleft()
            self._flying_bytes -= _size(item)
            self._arrived(item)
            some = True
        return some

    def _arrived(self, item: bytes | Mark) -> None:
        assert self._target is not None
        if isinstance(item, bytes):
            self._hand_on(item)
            return
        if item is Mark.FIN:
            self._target.finish()
        else:
            self._target.reset()
        self._owner.finished(self)

    def _hand_on(self, data: bytes) -> None:
        assert self._target is not None
        if self._limit is not None:
            data = data[: self._limit - self.bytes_passed]
        self._target.write(data)
        self.bytes_passed += len(data)
        self._owner.passed(self, data)
        if self._limit is not None and self.bytes_passed >= self._limit:
            self._owner.limit_reached(self)

    def _wake_at(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._move()

    def _clear(self) -> None:
        self._waiting.clear()
        self._flying.clear()
        self._waiting_bytes = self._flying_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _regulate(self) -> None:
        """Read from the source, or let its window close."""
        reading = self._dropping or not (self._silent or self._target_full or self._waiting_bytes > WAITING)
        if reading != self._reading and self.source is not None:
            self._reading = reading
            if reading:
                self.source.resume_reading()
            else:
                self.source.pause_reading()


def _size(item: bytes | Mark) -> int:
    return len(item) if isinstance(item, bytes) else 0
