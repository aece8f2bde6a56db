"""Where the marks of a lane and their labels go in a drawing: marks that would touch become one, labels never touch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from harness.report.lanes import Mark, Tone

_GRAVITY: dict[Tone, int] = {"fault": 0, "error": 1, "lost": 2, "warning": 3, "received": 4, "sent": 5, "plain": 6}
BIN = 5.0
"""Marks closer than this are drawn as one: about their own width."""
GAP = 10.0
"""Between two labels."""
LABEL_CELLS = 34
"""Of one label: what tells most frames apart stands in their first letters."""
_SHORTEST = 6
"""Cells; a shorter label tells nothing."""
_ENOUGH = 14
"""Cells that a label may take although the next mark stands there; past that it leaves the room to the next one's."""
_TYPE = re.compile(r'^\{"type":"([\w-]+)",?')


class Placed(msgspec.Struct, frozen=True):
    """One or several marks that are drawn as one.

    Attributes:
        x: the middle.
        mark: the gravest of them, the first one of its kind.
        count: how many.
    """

    x: float
    mark: Mark
    count: int


class Label(msgspec.Struct, frozen=True):
    """A text below its mark, from ``x`` to the right."""

    x: float
    text: str


def binned(places: Iterable[tuple[float, Mark]]) -> list[Placed]:
    """Put marks together that would touch; places are in order."""
    bins: list[tuple[float, list[Mark]]] = []
    for x, mark in places:
        if bins and x - bins[-1][0] < BIN:
            bins[-1][1].append(mark)
        else:
            bins.append((x, [mark]))
    return [Placed(x, min(marks, key=lambda mark: _GRAVITY[mark.tone]), len(marks)) for x, marks in bins]


def labels(placed: Sequence[Placed], left: float, right: float, cell: float) -> list[Label]:
    """Return the labels there is room for, the gravest first, cut to their room; none touches another.

    Args:
        placed: marks of one lane, in order.
        left: where the drawing begins.
        right: where it ends.
        cell: width of a letter of the (monospaced) font; wide letters take two.
    """
    taken: list[tuple[float, float]] = []
    found: list[Label] = []
    for one in sorted(placed, key=lambda one: (_GRAVITY[one.mark.tone], one.x)):
        others = [start for start, end in taken if end > one.x - GAP] + [right + GAP]
        room = min(others + [other.x for other in placed if other.x > one.x + _ENOUGH * cell]) - GAP - one.x
        words = short(one.mark.text) + f" (+{one.count - 1})" * (one.count > 1)
        shown = cut(words, min(LABEL_CELLS, int(room / cell)))
        if not shown or one.x < left or (cells(shown) < _SHORTEST and shown != words):
            continue
        found.append(Label(one.x, shown))
        taken.append((one.x, one.x + cells(shown) * cell))
    return sorted(found, key=lambda label: label.x)


def short(text: str) -> str:
    """Return a message with its type first, which is what a label has room for: ``hello {"version":1}``."""
    return _TYPE.sub(r"\1 {", text).removesuffix(" {}")


def cells(text: str) -> int:
    """Return how many letters of a monospaced font a text is wide."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, most: int) -> str:
    """Cut a text to so many cells, an ellipsis included."""
    if cells(text) <= most:
        return text
    while text and cells(text) >= most:
        text = text[:-1]
    return text + "…" if most > 0 else ""
