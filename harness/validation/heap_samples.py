"""Free heap over time, as a board tells it: by order, or by the lines its firmware prints. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.board.console_lines import Line
from harness.validation.spread import slope

LEAST_SAMPLES = 3
"""Of a slope: two always lie on a line."""
_PRINTED = re.compile(r"free sram: (\d+) minimal sram: (\d+)")


class HeapSamples:
    """The samples of one board, over several lives of its firmware.

    Attributes:
        why_none: why there is nothing to report, where there is nothing.
    """

    why_none = "its firmware does not tell its free heap often enough"

    def __init__(self) -> None:
        self._asked: list[tuple[float, float]] = []
        self._printed: list[tuple[float, float]] = []
        self._minimum: int | None = None

    def add(self, at: float, free: int, minimum: int) -> None:
        """Take a sample that was asked for."""
        self._asked.append((at, float(free)))
        self._least(minimum)

    def hear(self, lines: Iterable[Line]) -> None:
        """Take the samples that were printed."""
        for line in lines:
            if line.kind == "said" and (found := _PRINTED.search(line.text)):
                self._printed.append((line.at, float(found[1])))
                self._least(int(found[2]))

    def minimum(self) -> list[float]:
        """Return the fewest bytes that were ever free; nothing if it was never told."""
        return [] if self._minimum is None else [float(self._minimum)]

    def slopes(self) -> list[float]:
        """Return what the free heap gains in a second; nothing if there are too few samples.

        Those that were asked for are of one life; where there are none, the printed ones have to do.
        """
        points = self._asked or self._printed
        rise = slope(points) if len(points) >= LEAST_SAMPLES else None
        return [] if rise is None else [rise]

    def _least(self, minimum: int) -> None:
        self._minimum = minimum if self._minimum is None else min(self._minimum, minimum)
