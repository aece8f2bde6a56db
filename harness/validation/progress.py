"""What a cell tells while it goes on, one line of JSON each, from its process to the one that shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from harness.report.record import Cell, Measurement, Outcome


class Stage(msgspec.Struct, frozen=True, tag="stage"):
    """Something else begins.

    Attributes:
        what: it is, in words.
    """

    what: str


class Measured(msgspec.Struct, frozen=True, tag="measured"):
    """A measurement was judged."""

    measurement: Measurement


class ScenarioOver(msgspec.Struct, frozen=True, tag="scenario"):
    """A scenario is over.

    Attributes:
        name, outcome: of it.
        done, total: how many are over, and how many there are.
    """

    name: str
    outcome: Outcome
    done: int
    total: int


class Remark(msgspec.Struct, frozen=True, tag="remark"):
    """Something that whoever looks on should know: a fault of the rig that was tried again."""

    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It could not begin: what was asked for cannot be.

    Attributes:
        text: why, in words.
    """

    text: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """It is over.

    Attributes:
        cell: everything that was found.
        secrets: that were seen, and must be in no report.
    """

    cell: Cell
    secrets: tuple[str, ...] = ()


Event: TypeAlias = Stage | Measured | ScenarioOver | Remark | Refused | Finished
Tell: TypeAlias = Callable[[Event], None]


def to_line(event: Event) -> bytes:
    """Write an event."""
    return msgspec.json.encode(event) + b"\n"


def from_line(line: bytes) -> Event:
    """Read an event.

    Raises:
        msgspec.DecodeError: it is none.
    """
    decoded: Any = msgspec.json.decode(line, type=Event)
    event: Event = decoded
    return event
