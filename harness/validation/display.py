"""Shows how a validation goes on: on a terminal a line for each cell, that changes; elsewhere a line for each event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from gateway.identity import printable
from harness.report.figures import quantity
from harness.report.record import Measurement
from harness.validation.progress import Event, Measured, Remark, ScenarioOver, Stage

_UP, _CLEAR = "\x1b[{}A", "\x1b[2K"  # ECMA-48: cursor up, erase the line


class Display:
    """Shows events as they come.

    Args:
        out: where to.
        live: it is a terminal, which lines can be written over on.
        columns: of the terminal.
        mask: takes secrets out.
    """

    def __init__(
        self, out: TextIO, *, live: bool, columns: int = 100, mask: Callable[[str], str] = lambda text: text
    ) -> None:
        self._out = out
        self._live = live
        self._columns = columns
        self._mask = mask
        self._cells: dict[str, _Cell] = {}
        self._drawn = 0

    def tell(self, build: str, board: str, event: Event) -> None:
        """Show one event."""
        label = f"{build} on {board}"
        cell = self._cells.setdefault(label, _Cell())
        cell.take(event)
        if self._live:
            self._draw(event, label)
        elif line := _line(event):
            self._write(f"{label}: {line}")

    def close(self) -> None:
        """Leave what is shown."""
        self._drawn = 0

    def _draw(self, event: Event, label: str) -> None:
        if self._drawn:
            self._out.write(_UP.format(self._drawn))
        self._drawn = 0
        if isinstance(event, Remark) or (isinstance(event, Measured) and event.measurement.bad):
            self._write(f"{_CLEAR}{label}: {_line(event)}")  # stays, above the lines that change
        for name, cell in self._cells.items():
            self._write(_CLEAR + f"{name}: {cell}"[: self._columns - 1])
        self._drawn = len(self._cells)

    def _write(self, line: str) -> None:
        self._out.write(self._mask(line) + "\n")
        self._out.flush()


class _Cell:
    """What is going on in one cell, in one line."""

    def __init__(self) -> None:
        self._stage = ""
        self._measured: dict[str, Measurement] = {}
        self._done = self._total = self._failed = 0
        self._last = ""

    def take(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._stage, self._last = event.what, ""
        elif isinstance(event, Measured):
            self._measured[event.measurement.name] = event.measurement
            self._last = _value(event.measurement)
        elif isinstance(event, ScenarioOver):
            self._done, self._total, self._last = event.done, event.total, event.name
            self._failed += event.outcome in {"failed", "error"}

    def __str__(self) -> str:
        parts = [self._stage]
        if self._total:
            parts.append(f"{self._done}/{self._total} scenarios, {self._failed} failed")
        elif self._measured:
            bad = sum(one.bad for one in self._measured.values())
            parts.append(f"{len(self._measured)} measured, {bad} bad")
        return printable("; ".join(filter(None, [*parts, self._last])), 300)


def _line(event: Event) -> str:
    """Say one event; empty: it is not worth a line of its own."""
    if isinstance(event, Stage):
        return event.what
    if isinstance(event, Measured):
        sign = "  BAD: " if event.measurement.bad else "  "
        return f"{sign}{event.measurement.title}: {event.measurement.why}"
    if isinstance(event, ScenarioOver):
        return "" if event.outcome == "passed" else f"  {event.outcome}: {event.name} ({event.done}/{event.total})"
    return event.text if isinstance(event, Remark) else ""


def _value(measurement: Measurement) -> str:
    return f"{measurement.title} {quantity(measurement.value, measurement.unit)}"
