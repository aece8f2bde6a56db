"""What lasted in a timeline, from its beginning to its end: presence of a device, lack of power, faults in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.faults.vocabulary import KINDS
from harness.report.wording import Row

BarKind: TypeAlias = Literal["online", "dark", "fault"]

_ENDS = {"wifi_on": "wifi_off", "power_on": "power_cut", "start_gateway": "kill_gateway"}
"""Faults that end another one."""
_BEGINS = {name for name, kind in KINDS.items() if kind.lasts} | set(_ENDS.values())


class Bar(msgspec.Struct, frozen=True):
    """Something that lasted.

    Attributes:
        kind: ``online``: the gateway had the device; ``dark``: the device had no power; ``fault``: one was in force.
        device: whose; empty: all, or the gateway's.
        began, ended: seconds since the timeline began; the last row's time where it did not end.
        text: in words.
    """

    kind: BarKind
    device: str
    began: float
    ended: float
    text: str


class _Change(msgspec.Struct, frozen=True):
    kind: BarKind
    device: str
    name: str
    begins: bool
    text: str = ""


def bars(rows: Sequence[Row]) -> tuple[Bar, ...]:
    """Return what lasted, in the order in which it began; rows are in the order of time."""
    found: list[Bar] = []
    running: dict[tuple[BarKind, str, str], tuple[float, str]] = {}
    for row in rows:
        at = float(row.get("at", 0.0))
        for change in _changes(row):
            key = (change.kind, change.device, change.name)
            if change.begins:
                running.setdefault(key, (at, change.text))
                continue
            for ended in [each for each in running if _ends(key, each)]:
                began, text = running.pop(ended)
                found.append(Bar(ended[0], ended[1], began, at, text))
    end = float(rows[-1].get("at", 0.0)) if rows else 0.0
    found += [Bar(kind, device, began, end, text) for (kind, device, _), (began, text) in running.items()]
    return tuple(sorted(found, key=lambda bar: bar.began))


def _ends(change: tuple[BarKind, str, str], running: tuple[BarKind, str, str]) -> bool:
    """Whether a change ends something that runs; an empty device or name stands for all."""
    kind, device, name = change
    return kind == running[0] and device in {"", running[1]} and name in {"", running[2]}


def _changes(row: Row) -> Iterator[_Change]:
    what = str(row.get("what", ""))
    match row.get("kind"):
        case "event" if row.get("event") in {"DeviceOnline", "DeviceOffline"}:
            device = printable(row.get("target", ""))
            yield _Change("online", device, "", row["event"] == "DeviceOnline", f"{device} is online")
        case "fault" | "lifecycle" if what in {"loses power", "has power"}:
            device = printable(row.get("source", ""))
            yield _Change("dark", device, "", what == "loses power", f"{device} has no power")
        case "fault":
            yield from _fault(what)


def _fault(what: str) -> Iterator[_Change]:
    """Read back how a fault of the vocabulary writes itself: ``partition direction='both' on kitchen``."""
    name, _, rest = what.partition(" ")
    device = rest.removeprefix("on ").rpartition(" on ")[2]
    device = "" if device == "all devices" else device
    if name in _BEGINS:
        yield _Change("fault", device, name, begins=True, text=printable(what))
    elif name in _ENDS:
        yield _Change("fault", device, _ENDS[name], begins=False)
    elif name == "heal":
        healed = rest.partition("what=")[2].partition(" ")[0].strip("'")
        yield _Change("fault", device, healed, begins=False)
