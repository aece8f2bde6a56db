"""What a cell tells."""

import pytest

from harness.validation.progress import Finished, Measured, Refused, Remark, ScenarioOver, Stage, from_line, to_line
from tests.harness.validation.cells import cell

CELL = cell(boot_to_ip=[2.0])


@pytest.mark.parametrize(
    "event",
    [
        Stage("flashing"),
        Measured(CELL.measurements[0]),
        ScenarioOver("a", "passed", 1, 2),
        Remark("x\ny"),
        Refused("no"),
        Finished(CELL, ("psk",)),
    ],
    ids=lambda event: type(event).__name__,
)
def test_one_line_each(event):
    """It is read as it was written, and is one line."""
    line = to_line(event)

    assert line.count(b"\n") == 1
    assert from_line(line) == event
