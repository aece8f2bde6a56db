"""Cells to write about."""

from harness.report.record import REAL, VIRTUAL, BoardUsed, BuildUsed, Cell, Verdict
from harness.validation.judgement import judged
from harness.validation.metrics import metric_named

BOARD = BoardUsed("s3", "esp32s3", virtual=False, evidence=REAL)
VIRTUAL_BOARD = BoardUsed("v", "esp32s3", virtual=True, evidence=VIRTUAL)


def cell(board: BoardUsed = BOARD, verdict: Verdict = "pass", **measured: list[float]) -> Cell:
    """A cell with these measurements."""
    found = [judged(metric_named(name.replace("__", ".")), values) for name, values in measured.items()]
    return Cell(BuildUsed("kettle", board.chip, version="1.4.2"), board, verdict, "why", measurements=tuple(found))
