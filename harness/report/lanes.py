"""Sorts the rows of a timeline into lanes, the way they are drawn: who is speaking, one below the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.report.spans import Bar, bars
from harness.report.wording import Row, said, who

LaneKind: TypeAlias = Literal["console", "frames", "gateway", "network", "power", "test"]

LANES: tuple[LaneKind, ...] = ("console", "frames", "gateway", "network", "power", "test")
"""From top to bottom. The first two are one lane for each board or device, the others one for all."""
OWN_LANES = 6
"""Devices with lanes of their own, those that said most; a fleet's other devices share one."""

Tone: TypeAlias = Literal["plain", "warning", "error", "sent", "received", "fault", "lost"]
"""How a mark looks. ``sent`` and ``received`` are the device's; ``lost``: something ended that was not asked for."""

_OF_KIND: dict[str, LaneKind] = {"console": "console", "frame": "frames", "event": "gateway", "fault": "power"}
_TITLES = {"gateway": "gateway", "network": "network", "power": "power and faults", "test": "test"}
_SUPPLY = re.compile(r"\b(?:power|reset|flash|provision|boot)", re.IGNORECASE)
"""Lifecycle that is about the board, and not about its link."""
_CONSOLE_ERROR = re.compile(
    r"^E \(|Guru Meditation|^abort\(\)|assert failed|Backtrace:|Task watchdog|Brownout|^rst:0x(?!1 )", re.IGNORECASE
)
"""ESP-IDF's error level, its panics, and resets that are no power-on (``rst:0x1``)."""
_CONSOLE_WARNING = re.compile(r"^W \(")
_LOST = re.compile(r"lost|refused|fail|would crash|cannot|violation", re.IGNORECASE)


class Mark(msgspec.Struct, frozen=True):
    """One entry where it is drawn.

    Attributes:
        at: seconds since the timeline began.
        tone: how it looks.
        who: who did it, and to whom.
        text: what happened, on one line.
    """

    at: float
    tone: Tone
    who: str
    text: str


class Lane(msgspec.Struct, frozen=True):
    """One line of the drawing.

    Attributes:
        kind: what it is for.
        device: whose; empty where it is everybody's, or several devices share it.
        title: what is written at its head.
        marks: oldest first.
        bars: what lasted.
    """

    kind: LaneKind
    device: str
    title: str
    marks: tuple[Mark, ...]
    bars: tuple[Bar, ...] = ()


def lanes(rows: Iterable[Row]) -> tuple[Lane, ...]:
    """Sort rows into lanes; lanes without anything in them are left out. Marks of a lane are in the order of time."""
    rows = sorted(rows, key=lambda row: float(row.get("at", 0.0)))
    own = _own(rows)
    sorted_out: dict[tuple[LaneKind, str], list[Mark]] = {}
    for row in rows:
        kind = lane_of(row)
        device = _device(row) if kind in {"console", "frames"} else ""
        key = (kind, device if device in own else "")
        sorted_out.setdefault(key, []).append(Mark(float(row.get("at", 0.0)), _tone(row), who(row), said(row)))
    lasting = bars(rows)
    for bar in lasting:
        sorted_out.setdefault(_lane_of_bar(bar, own), [])
    return tuple(
        Lane(kind, device, _title(kind, device), tuple(marks), _own_bars((kind, device), lasting, own))
        for (kind, device), marks in sorted(sorted_out.items(), key=_order(own))
    )


def lane_of(row: Row) -> LaneKind:
    """Return where a row belongs: what it says itself in ``lane``, else by its kind."""
    if row.get("lane") in LANES:
        return row["lane"]  # type: ignore[no-any-return]
    if row.get("kind") == "lifecycle":
        return "power" if _SUPPLY.search(str(row.get("what", ""))) else "network"
    return _OF_KIND.get(str(row.get("kind")), "test")


def _device(row: Row) -> str:
    source, target = str(row.get("source", "")), str(row.get("target", ""))
    return printable(target if source == "gateway" else source)


def _own(rows: Sequence[Row]) -> list[str]:
    """The devices with lanes of their own, in the order in which they first spoke."""
    counts: dict[str, int] = {}
    for row in rows:
        if lane_of(row) in {"console", "frames"}:
            counts[_device(row)] = counts.get(_device(row), 0) + 1
    most = set(sorted(counts, key=lambda device: -counts[device])[:OWN_LANES])
    return [device for device in counts if device in most]


def _order(own: Sequence[str]) -> Callable[[tuple[tuple[LaneKind, str], list[Mark]]], tuple[int, int, int]]:
    """Devices one after the other, each with its console above its frames; then those that share; then the rest."""

    def place(item: tuple[tuple[LaneKind, str], list[Mark]]) -> tuple[int, int, int]:
        (kind, device), _ = item
        shared = LANES.index(kind) >= 2
        return (shared, own.index(device) if device in own else len(own), LANES.index(kind))

    return place


def _lane_of_bar(bar: Bar, own: Sequence[str]) -> tuple[LaneKind, str]:
    if bar.kind == "online":
        return ("frames", bar.device if bar.device in own else "")
    return ("power", "")


def _own_bars(key: tuple[LaneKind, str], lasting: Sequence[Bar], own: Sequence[str]) -> tuple[Bar, ...]:
    return tuple(bar for bar in lasting if _lane_of_bar(bar, own) == key)


def _title(kind: LaneKind, device: str) -> str:
    return _TITLES.get(kind) or f"{device or 'other devices'} {kind}"


def _tone(row: Row) -> Tone:
    match row.get("kind"):
        case "console":
            line = str(row.get("line", ""))
            return "error" if _CONSOLE_ERROR.search(line) else "warning" if _CONSOLE_WARNING.search(line) else "plain"
        case "frame":
            return "received" if row.get("source") == "gateway" else "sent"
        case "fault":
            return "fault"
        case "event":
            return "lost" if _LOST.search(str(row.get("event", ""))) else "plain"
        case _:
            return "lost" if _LOST.search(str(row.get("what", ""))) else "plain"
