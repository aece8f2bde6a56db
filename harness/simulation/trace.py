"""What happened in a simulation, as a running hash, and as lines for those who want to read them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import NamedTuple
from zlib import crc32

LAST_LINES = 40
"""Kept in any case, for the report of a failure: about a screen."""


class Trace:
    """Notes of one simulation, in order. Two runs with the same hash took the same way, byte for byte.

    Args:
        keep: keep all lines, not only the last `LAST_LINES`.

    Attributes:
        count: how many notes there are.
        lines: those that were kept, oldest first.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.count = 0
        self.lines: deque[str] = deque(maxlen=None if keep else LAST_LINES)
        self._hash = blake2b(digest_size=16)
        self._sealed = False

    def note(self, now: float, kind: str, what: str) -> None:
        """Note something that happened at this virtual time; nothing any more once the trace is sealed."""
        if self._sealed:
            return
        line = f"{now:.9f} {kind} {what}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.count += 1
        self.lines.append(line)

    def segment(self, now: float, connection: str, data: bytes) -> None:
        """Note bytes that arrived: their number and their CRC stand for them."""
        self.note(now, "data", f"{connection} {len(data)} {crc32(data):08x}")

    def seal(self) -> None:
        """Take no more: what comes now is the unwinding of what has died."""
        self._sealed = True

    def digest(self) -> str:
        """Return the hash of all notes so far, in hexadecimal."""
        return self._hash.hexdigest()


class Difference(NamedTuple):
    """Where two traces part.

    Attributes:
        number: of the line, counted from 0.
        left, right: the line in each; None where that trace has ended.
        before: the lines before it, which are the same in both.
    """

    number: int
    left: str | None
    right: str | None
    before: Sequence[str]

    def __str__(self) -> str:
        rows = [*(f"  {line}" for line in self.before), f"< {self.left or '(end)'}", f"> {self.right or '(end)'}"]
        return "\n".join(rows)


def first_difference(left: Iterable[str], right: Iterable[str], context: int = 5) -> Difference | None:
    """Find the first line in which two traces differ; None if they are the same. Both must have been kept whole."""
    before: deque[str] = deque(maxlen=context)
    for number, (one, other) in enumerate(zip_longest(left, right)):
        if one != other:
            return Difference(number, one, other, tuple(before))
        before.append(one)
    return None
