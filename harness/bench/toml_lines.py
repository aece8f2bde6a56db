"""Where in a TOML document each table and key stands; tomllib does not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""A way into a document: names of tables and keys, and numbers, from 0, in arrays of tables."""

_NAME = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_NAMES = re.compile(_NAME)


def line_numbers(text: str) -> dict[Place, int]:
    """Find the lines, from 1, of tables and keys in a document that is written plainly.

    What stands in an inline table or in an array has no number of its own. A document with texts over several lines
    has none at all: better none than wrong ones.
    """
    if '"""' in text or "'''" in text:
        return {}
    lines: dict[Place, int] = {}
    counted: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _table(_split(header[2]), counted, is_item=header[1] == "[[")
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_split(key[1])), number)
    return lines


def line_of(place: Place, lines: Mapping[Place, int]) -> int | None:
    """Return the line of a place, or of the nearest around it; None: there is none."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)


def _table(names: Place, counted: dict[Place, int], *, is_item: bool) -> Place:
    """Return where a header leads to: below the latest items of the arrays on its way, which are counted here."""
    place: Place = ()
    for name in names[:-1]:
        place = (*place, name)
        if place in counted:
            place = (*place, counted[place] - 1)
    place = (*place, names[-1])
    if is_item:
        counted[place] = counted.get(place, 0) + 1
        return (*place, counted[place] - 1)
    return place


def _split(dotted: str) -> Place:
    return tuple(name.strip("\"'") for name in _NAMES.findall(dotted))
