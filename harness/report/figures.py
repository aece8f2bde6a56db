"""Writes numbers with their units, for people: three digits that matter, bytes in KiB and MiB."""

from __future__ import annotations

_BYTES = ((1 << 20, "MiB"), (1 << 10, "KiB"))
SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def number(value: float) -> str:
    """Return three digits that matter, at least all before the point; no exponent; a real minus sign."""
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 1 else 3
    shown = f"{size:,.{digits}f}".replace(",", SPACE)
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return MINUS + shown if value < 0 and shown != "0" else shown


def quantity(value: float | None, unit: str) -> str:
    """Return a value with its unit; a dash where there is none."""
    if value is None:
        return "–"
    if unit in {"bytes", "bytes/s"}:
        return _bytes(value) + unit.removeprefix("bytes")
    return f"{number(value)}{SPACE}{unit}" if unit else number(value)


def change(value: float | None, before: float) -> str:
    """Return by how much a value differs from another, in percent of that; empty where that says nothing."""
    if value is None or before == 0:
        return ""
    percent = 100 * (value - before) / abs(before)
    if abs(percent) < 0.05:
        return "±0 %".replace(" ", SPACE)
    return f"{'+' if percent > 0 else ''}{number(round(percent, 1))}{SPACE}%"


def duration(seconds: float) -> str:
    """Return a time span: ``840 ms``, ``12.4 s``, ``3 min 05 s``, ``2 h 04 min``."""
    if seconds < 1:
        return f"{number(round(seconds * 1000))}{SPACE}ms"
    if seconds < 60:
        return f"{number(round(seconds, 1))}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min{SPACE}{rest:02d}{SPACE}s"
    return f"{minutes // 60}{SPACE}h{SPACE}{minutes % 60:02d}{SPACE}min"


def _bytes(value: float) -> str:
    for size, unit in _BYTES:
        if abs(value) >= size:
            return f"{number(value / size)}{SPACE}{unit}"
    return f"{number(value)}{SPACE}B"
