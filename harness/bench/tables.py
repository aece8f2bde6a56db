"""Tables in plain text, for a terminal or a log."""

from __future__ import annotations

from collections.abc import Sequence

_BETWEEN = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows below their head, each column as wide as its longest cell; lines end without blanks."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        _BETWEEN.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )
