"""What happened to each board, and which are not to be used until someone has looked at them.

A board's history is a file of JSON lines: rig faults, recoveries, quarantines. A line is appended in one write, and
the file is replaced as a whole when it has grown too long; so a crash costs at most the line that was being written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.bench.errors import HistoryFailed

KEPT = 200
"""Events of a board that survive when its file is shortened; it is at most twice as long before."""
RECENT = 24 * 3600.0
"""Seconds in which a rig fault speaks against choosing a board: a night's run and the day after it."""
TEXT_CHARACTERS = 500
"""Of what is told of an event."""

WRITTEN = 10.0
"""Seconds for another process to write an event: a slow disk takes one or two to have it on its plates."""
_LOOK = 0.01  # seconds between two looks whether it has

Kind: TypeAlias = Literal["rig_fault", "recovery", "quarantined", "cleared"]


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a board.

    Attributes:
        at: when; seconds since 1970.
        kind: ``rig_fault``: cable, port, hub, supply, but neither firmware nor gateway. ``recovery``: a step was tried.
            ``quarantined``, ``cleared``: it is not to be used any more; it is again.
        text: what, in words.
        test: during which test.
    """

    at: float
    kind: Kind
    text: str
    test: str = ""


class BoardHealth(msgspec.Struct, frozen=True):
    """How a board is doing.

    Attributes:
        recent_faults: rig faults of the last 24 hours, since it was last cleared.
        quarantine: why it is not to be used; None: it is.
        events: what happened to it, oldest first.
    """

    recent_faults: int
    quarantine: Event | None
    events: tuple[Event, ...]


class Health:
    """The histories of a bench's boards; may be used by several processes at once.

    Args:
        directory: of the files, made if it is not there.
        clock: seconds since 1970.
    """

    def __init__(self, directory: str | Path, clock: Callable[[], float] = time.time) -> None:
        self.directory = Path(directory)
        self._clock = clock

    def rig_fault(self, board_id: str, text: str, test: str = "") -> None:
        """Note that something of the rig failed this board.

        Raises:
            HistoryFailed: the file cannot be used; as all methods.
        """
        self._note(board_id, "rig_fault", text, test)

    def recovery(self, board_id: str, text: str, test: str = "") -> None:
        """Note what a step of recovery did."""
        self._note(board_id, "recovery", text, test)

    def quarantine(self, board_id: str, reason: str, test: str = "") -> None:
        """Take the board out of use, until someone clears it."""
        self._note(board_id, "quarantined", reason, test)

    def clear(self, board_id: str, text: str = "") -> bool:
        """Take it into use again, with its faults forgiven; tell whether it was in quarantine."""
        was = self.of(board_id).quarantine is not None
        self._note(board_id, "cleared", text, "")
        return was

    def of(self, board_id: str) -> BoardHealth:
        """Read how a board is doing."""
        path = self._file(board_id)
        try:
            events = _events(path.read_bytes())
        except FileNotFoundError:
            events = ()
        except OSError as error:
            raise HistoryFailed(path, error) from error
        return _health(events, self._clock())

    def _file(self, board_id: str) -> Path:
        return self.directory / f"{board_id}.jsonl"

    def _note(self, board_id: str, kind: Kind, text: str, test: str) -> None:
        event = Event(self._clock(), kind, printable(text, TEXT_CHARACTERS), printable(test))
        path = self._file(board_id)
        try:
            with self._locked(board_id):
                _append(path, event)
                _shorten(path)
        except OSError as error:
            raise HistoryFailed(path, error) from error

    @contextmanager
    def _locked(self, board_id: str) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        # not the file itself, which is replaced
        with (self.directory / f"{board_id}.writing").open("a") as file:
            _lock(file)
            yield


def _lock(file: IO[str]) -> None:
    """Lock a file that others lock for one write; raises TimeoutError where one has been stopped in the middle."""
    deadline = time.monotonic() + WRITTEN
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"another process has been writing for {WRITTEN:g} s") from None
            time.sleep(_LOOK)
        else:
            return


def _append(path: Path, event: Event) -> None:
    line = msgspec.json.encode(event) + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a crash cut the line before
            line = b"\n" + line
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _shorten(path: Path) -> None:
    events = _events(path.read_bytes())
    if len(events) <= 2 * KEPT:
        return
    kept = list(events[-KEPT:])
    decision = next((event for event in reversed(events) if event.kind in {"quarantined", "cleared"}), None)
    if decision and decision not in kept:
        kept.insert(0, decision)  # a quarantine holds until it is cleared, however much happens
    replacement = path.with_suffix(".new")
    with replacement.open("wb") as file:
        file.writelines(msgspec.json.encode(event) + b"\n" for event in kept)
        file.flush()
        os.fsync(file.fileno())
    replacement.replace(path)


def _events(data: bytes) -> tuple[Event, ...]:
    """Read the lines that can be read."""
    events = []
    for line in data.split(b"\n"):
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.DecodeError:  # the last one before a crash, or empty
            continue
    return tuple(events)


def _health(events: Sequence[Event], now: float) -> BoardHealth:
    faults = 0
    quarantine: Event | None = None
    for event in events:
        if event.kind == "cleared":
            faults, quarantine = 0, None
        elif event.kind == "quarantined":
            quarantine = event
        elif event.kind == "rig_fault" and event.at > now - RECENT:
            faults += 1
    return BoardHealth(faults, quarantine, tuple(events))
