"""Lines out of the bytes of a serial console: put together, made printable, and stamped.

Pure: bytes and their time in, lines out.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from gateway.identity import escaped

LONGEST = 16_384
"""Bytes of one line: the longest that firmware prints on purpose are messages of the protocol, of at most 8 KiB.
Garbage at a wrong baud rate has no line ends at all."""
CUT = " …[cut]"

LineKind: TypeAlias = Literal["said", "written", "gap", "note"]
Colour: TypeAlias = Literal["", "red", "green", "yellow", "blue", "magenta", "cyan"]

_COLOURS: dict[str, Colour] = {"1": "red", "2": "green", "3": "yellow", "4": "blue", "5": "magenta", "6": "cyan"}
_ESCAPE = re.compile(rb"\x1b\[([0-9;?]*)[ -/]*[@-~]")  # ECMA-48, 5.4: control sequences
_FOREGROUND = re.compile(rb"(?:^|;)3([1-6])(?:;|$)")


class Line(msgspec.Struct, frozen=True):
    r"""One line of a console.

    Attributes:
        number: counts up by one, over all kinds.
        at: seconds of `time.monotonic`, which is the time of an asyncio loop, too: when its first byte was read.
        kind: ``said`` by the board; ``written`` to it; ``gap``: nothing could be heard from here on, or is heard again
            from here on; ``note``: what was done meanwhile, such as flashing.
        text: printable; colours are taken out, what is no UTF-8 is shown as ``\xNN``.
        colour: the first one in it; ESP-IDF prints errors red, warnings yellow, the rest green.
        cut: it was longer than `LONGEST`, and this is its beginning.
    """

    number: int
    at: float
    kind: LineKind
    text: str
    colour: Colour = ""
    cut: bool = False


class Said(msgspec.Struct, frozen=True):
    """A line as it comes out of the bytes; see `Line`."""

    at: float
    text: str
    colour: Colour = ""
    cut: bool = False


class LineSplitter:
    """Puts lines together that came in pieces; keeps the last one until it ends."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._began = 0.0
        self._skipping = False

    def feed(self, data: bytes, at: float) -> list[Said]:
        """Take bytes that were read at a time, and return the lines that they complete."""
        *ended, rest = data.split(b"\n")
        lines = [line for piece in ended if (line := self._end(piece, at)) is not None]
        return lines + self._begin(rest, at)

    def flush(self) -> Said | None:
        """Return what has come of a line that will not end any more; None: nothing has."""
        return self._end(b"", self._began) if self._pieces else None

    @property
    def unfinished(self) -> str:
        """What has come of the line that has not ended yet."""
        return _read(b"".join(self._pieces))[0]

    def _begin(self, piece: bytes, at: float) -> list[Said]:
        if self._skipping or not piece:
            return []
        if not self._pieces:
            self._began = at
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size <= LONGEST:
            return []
        line = _said(b"".join(self._pieces), self._began)
        self._clear(skipping=True)
        return [line]

    def _end(self, piece: bytes, at: float) -> Said | None:
        """Return the line that ends with a piece; None: it has been given out already, as far as it is kept."""
        if self._skipping:
            self._clear(skipping=False)
            return None
        began = self._began if self._pieces else at
        line = _said(b"".join([*self._pieces, piece]), began)
        self._clear(skipping=False)
        return line

    def _clear(self, *, skipping: bool) -> None:
        self._pieces, self._size, self._skipping = [], 0, skipping


def _said(raw: bytes, at: float) -> Said:
    cut = len(raw) > LONGEST
    text, colour = _read(raw[:LONGEST])
    return Said(at, text + CUT if cut else text, colour, cut)


def _read(raw: bytes) -> tuple[str, Colour]:
    """Return a line's text and its colour."""
    raw = raw.rstrip(b"\r")
    colour: Colour = ""
    if b"\x1b" in raw:
        for sequence in _ESCAPE.finditer(raw):
            if found := _FOREGROUND.search(sequence[1]):
                colour = _COLOURS[found[1].decode()]
                break
        raw = _ESCAPE.sub(b"", raw).rstrip(b"\r")
    return escaped(raw.decode("utf-8", "backslashreplace")), colour
