"""Looks on while a board lives: what passes on its connections, and what its console says, on one clock."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from websockets.frames import Opcode

from gateway.errors import BadMessage
from gateway.protocol.decoding import decode_object, type_of
from harness.bench.front import Front
from harness.bench.held_board import HeldBoard
from harness.blocking import LoopThread
from harness.board.console_lines import Line
from harness.board.errors import BoardCrashed
from harness.board.judging import ADDRESS
from harness.board.resets import Reset, read_reset
from harness.errors import WorldError
from harness.records import WireClosed, WireFrame, WireRecord

KEPT = 200_000
"""Records of one board; past it the oldest are dropped: two hours of audio are 120,000."""
LOOK = 1.0  # seconds between two looks whether the board has crashed while something is waited for

_WIFI_LOST = re.compile(r"WiFi disconnected,? reason: ?(\d+)|wifi:.*\breason: ?(\d+)|No AP found")
_OWN_WISH = "8"  # WIFI_REASON_ASSOC_LEAVE: the station itself has left


class NotBack(WorldError):
    """The gateway has not seen the board (again) in time.

    Attributes:
        what: was waited for, in words.
        seconds: how long.
    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"expected {self.what}, not after {self.seconds:.1f} s"


class Greeted(NamedTuple):
    """The gateway answered a hello: when the hello passed, and when its answer did, in seconds."""

    said: float
    answered: float


class Observation:
    """What one held board does, from now on; ``with`` ends it. Calls may come from any thread.

    Args:
        held: the board.
        front: where it finds gateways.
        thread: whose loop is told what passes.

    Attributes:
        crashes: what the firmware did unasked, with the dumps.
        began: number of the console's first line that counts.
    """

    def __init__(self, held: HeldBoard, front: Front, thread: LoopThread) -> None:
        self.held = held
        self.crashes: list[BoardCrashed] = []
        self.began = held.console.position
        self._records: deque[WireRecord] = deque(maxlen=KEPT)
        self._news = threading.Condition()
        self._taken_away: list[tuple[float, float]] = []
        self._ends: list[Callable[[], None]] = [
            thread.call(lambda: front.attend(held.mac, self._passed)),
            held.on_crash(self._crashed),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Look on no longer."""
        for end in self._ends:
            end()

    # --- what passes --------------------------------------------------------------------------------------------

    def records(self, since: float = 0.0) -> list[WireRecord]:
        """Return what has passed from a moment on, oldest first."""
        with self._news:
            return [record for record in self._records if record.at >= since]

    def frames(self, since: float, *, sent: bool, opcodes: frozenset[Opcode]) -> list[WireFrame]:
        """Return the frames of these kinds, sent by the board or received."""
        return [
            record
            for record in self.records(since)
            if isinstance(record, WireFrame) and record.sent == sent and record.opcode in opcodes
        ]

    def greeted(self, since: float) -> Greeted | None:
        """Return the first hello from a moment on that was answered, on one connection; None: there is none."""
        said: dict[int, float] = {}
        for record in self.records(since):
            if isinstance(record, WireFrame) and record.opcode is Opcode.TEXT and _type(record.payload) == "hello":
                if record.sent:
                    said.setdefault(record.connection, record.at)
                elif record.connection in said:
                    return Greeted(said[record.connection], record.at)
        return None

    def await_greeted(self, since: float, seconds: float, what: str) -> Greeted:
        """Wait for a hello from a moment on to be answered.

        Raises:
            NotBack: none was.
            BoardCrashed: it crashed instead.
        """
        deadline = time.monotonic() + seconds
        while (greeted := self.greeted(since)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise NotBack(what, seconds)
            with self._news:
                self._news.wait(min(left, LOOK))
        return greeted

    def ends(self, since: float) -> list[WireClosed]:
        """Return the ends of connections from a moment on."""
        return [record for record in self.records(since) if isinstance(record, WireClosed)]

    # --- what it says -------------------------------------------------------------------------------------------

    def address_at(self, since: int) -> float | None:
        """Return when it said that it has an address, after a line of the console; None: it has not."""
        lines = self.held.console.lines(since)
        return next((line.at for line in lines if line.kind == "said" and ADDRESS.search(line.text)), None)

    def starts(self, since: int | None = None) -> list[Reset]:
        """Return the starts of the chip, after a line of the console."""
        lines = self.held.console.lines(self.began if since is None else since)
        return [reset for line in lines if line.kind == "said" and (reset := read_reset(line.text, line.at))]

    def network_is_away(self, seconds: float) -> None:
        """Note that somebody takes the network away from now on, for so long: what is said of it is no news."""
        now = time.monotonic()
        self._taken_away.append((now, now + seconds))

    def network_is_back(self) -> None:
        """Note that it is there again, and the board back; earlier than it was said to be."""
        began, _ = self._taken_away.pop()
        self._taken_away.append((began, time.monotonic()))

    def wifi_losses(self) -> list[Line]:
        """Return the lines that tell of a Wi-Fi that was lost, or not found, when nobody had taken it away."""
        return [line for line in self.held.console.lines(self.began) if line.kind == "said" and self._is_loss(line)]

    def _is_loss(self, line: Line) -> bool:
        return says_wifi_lost(line.text) and not any(began <= line.at <= ended for began, ended in self._taken_away)

    def _passed(self, record: WireRecord) -> None:
        with self._news:
            self._records.append(record)
            self._news.notify_all()

    def _crashed(self, error: BoardCrashed) -> None:
        with self._news:
            self.crashes.append(error)
            self._news.notify_all()


def says_wifi_lost(text: str) -> bool:
    """Whether a line of a console tells of a Wi-Fi that was lost or not found, and not by the board's own wish."""
    found = _WIFI_LOST.search(text)
    return found is not None and _OWN_WISH not in found.groups()


def _type(payload: bytes) -> str:
    try:
        return type_of(decode_object(payload)) or ""
    except BadMessage:
        return ""
