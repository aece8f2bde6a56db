"""What was written to files and what was synced: what of it is there after a kill, or after a loss of power. Pure."""

from __future__ import annotations

import random
from collections import Counter
from typing import NamedTuple

SECTOR = 512
"""Bytes that a disk writes whole; a longer write may be cut at such a border."""


class Op(NamedTuple):
    """One thing that was done to a file.

    Attributes:
        file: which.
        at: where the data go; of a truncation, the new size; -1: all before is synced.
        data: what is written; None for a truncation or a sync.
    """

    file: str
    at: int
    data: bytes | None


SYNC = -1


class Image:
    """One file: what is on the disk for certain, and what was done since.

    Args:
        content: what was on the disk when it was opened.
    """

    def __init__(self, content: bytes = b"") -> None:
        self.synced = bytearray(content)
        self.pending: list[Op] = []

    def do(self, op: Op) -> None:
        """Do something to the file."""
        if op.at != SYNC:
            self.pending.append(op)
            return
        for each in self.pending:
            _apply(self.synced, each)
        self.pending.clear()

    def content(self) -> bytes:
        """Return what a process sees that reads it, or the next one after a kill."""
        return _with(self.synced, self.pending)

    def after_power_cut(self, chance: random.Random) -> bytes:
        """Draw what is left when the power was lost: of what was not synced nothing, the first, some, or torn parts."""
        how = chance.choice(("nothing", "first", "some", "torn"))
        if how == "first":
            return _with(self.synced, self.pending[: chance.randint(0, len(self.pending))])
        if how == "some":
            return _with(self.synced, [op for op in self.pending if chance.random() < 0.5])
        if how == "torn":
            pieces = [piece for op in self.pending for piece in _sectors(op)]
            return _with(self.synced, [piece for piece in pieces if piece.data is None or chance.random() < 0.5])
        return bytes(self.synced)


class WriteLog:
    """All files of one process, and what is being done to them.

    A call in another thread has its effect in one piece here, but takes its time: as long as nobody has been told of
    its end, the process may just as well have died in the middle of it.
    """

    def __init__(self) -> None:
        self._images: dict[str, Image] = {}
        self._recent: list[tuple[int, Op]] = []  # with the call that did it, while the end of one is unknown
        self._unknown: set[int] = set()  # calls of whose end nobody knows
        self._call = 0  # that has its effect just now; 0: none
        self._calls = 0

    def opened(self, file: str, content: bytes) -> None:
        """A file was opened; if it is known, nothing changes."""
        self._images.setdefault(file, Image(content))

    def removed(self, file: str) -> None:
        """A file is gone."""
        self._images.pop(file, None)
        self._recent = [(call, op) for call, op in self._recent if op.file != file]

    def wrote(self, file: str, at: int, data: bytes) -> None:
        """Something was written."""
        self._note(Op(file, at, data))

    def truncated(self, file: str, size: int) -> None:
        """A file was made shorter."""
        self._note(Op(file, size, None))

    def synced(self, file: str) -> None:
        """The disk was told to keep a file as it is."""
        self._note(Op(file, SYNC, None))

    def began(self) -> int:
        """A call begins to have its effect; return its number."""
        self._calls += 1
        self._call = self._calls
        self._unknown.add(self._call)
        return self._call

    def had_its_effect(self) -> None:
        """It is done."""
        self._call = 0

    def told(self, call: int) -> None:
        """Somebody knows of the end of a call."""
        self._unknown.discard(call)
        if not self._unknown:
            for _, op in self._recent:
                self._do(op)
            self._recent.clear()

    def after_kill(self, chance: random.Random) -> dict[str, bytes]:
        """Draw how far each call that was under way had come, and return the files as they are then."""
        self._come_so_far(chance)
        return {file: image.content() for file, image in self._images.items()}

    def after_power_cut(self, chance: random.Random) -> dict[str, bytes]:
        """The same, and what of it the disk had not been told to keep is lost, or not."""
        self._come_so_far(chance)
        return {file: image.after_power_cut(chance) for file, image in self._images.items()}

    def _come_so_far(self, chance: random.Random) -> None:
        count = Counter(call for call, _ in self._recent)
        left = {call: chance.randint(0, count[call]) for call in sorted(self._unknown)}
        for call, op in self._recent:
            if call not in left:
                self._do(op)
            elif left[call]:
                left[call] -= 1
                self._do(op)
        self._recent.clear()

    def _note(self, op: Op) -> None:
        if self._unknown:
            self._recent.append((self._call, op))
        else:
            self._do(op)

    def _do(self, op: Op) -> None:
        if op.file in self._images:
            self._images[op.file].do(op)


def _with(content: bytearray, ops: list[Op]) -> bytes:
    result = bytearray(content)
    for op in ops:
        _apply(result, op)
    return bytes(result)


def _apply(content: bytearray, op: Op) -> None:
    if op.data is None:
        del content[op.at :]
        return
    missing = op.at + len(op.data) - len(content)
    if missing > 0:
        content.extend(bytes(missing))
    content[op.at : op.at + len(op.data)] = op.data


def _sectors(op: Op) -> list[Op]:
    """Cut a write where a disk would."""
    if op.data is None:
        return [op]
    pieces, begin, end = [], op.at, op.at + len(op.data)
    while begin < end:
        border = min(end, (begin // SECTOR + 1) * SECTOR)
        pieces.append(Op(op.file, begin, op.data[begin - op.at : border - op.at]))
        begin = border
    return pieces
