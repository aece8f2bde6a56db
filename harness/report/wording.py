"""Says in one line what a row of a timeline is, for people."""

from __future__ import annotations

from typing import Any, TypeAlias

from gateway.identity import printable

Row: TypeAlias = dict[str, Any]
"""As `harness.timeline.Timeline.rows` yields them."""

SAID_CHARACTERS = 240
"""Of one entry in a report: a long console line or hello message whole; the record has all of it."""
_FRAME = {"at", "kind", "source", "target", "device", "session", "event", "lane"}
"""Of a row, what is said beside its text or not at all."""


def said(row: Row) -> str:
    """Return what happened, on one line, printable and capped; a control character of a peer is shown as an escape."""
    return printable(_said(row), SAID_CHARACTERS)


def who(row: Row) -> str:
    """Return who did it, and to whom."""
    source, target = str(row.get("source", "")), str(row.get("target", ""))
    if not target:
        return printable(source)
    return f"{printable(source)} {'→' if row.get('kind') == 'frame' else '·'} {printable(target)}"


def _said(row: Row) -> str:
    match row.get("kind"):
        case "frame":
            return _frame(row)
        case "console":
            return str(row.get("line", ""))
        case "event":
            facts = (f"{name}={_value(value)}" for name, value in row.items() if name not in _FRAME and value != "")
            return " ".join([str(row.get("event", "event")), *facts])
        case _:
            return str(row.get("what", ""))


def _frame(row: Row) -> str:
    if "code" in row:
        return " ".join(["Close", str(row["code"]), str(row.get("reason", ""))]).strip()
    if "text" in row:
        rest = f" … and {row['left_out_bytes']} bytes more" if row.get("left_out_bytes") else ""
        return f"{row['text']}{rest}"
    return f"{row.get('opcode', 'frame')}, {row.get('bytes', 0)} bytes"


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
