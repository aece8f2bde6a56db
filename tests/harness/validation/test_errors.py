"""The exceptions of a validation."""

import pytest

from harness.errors import Misuse, WorldError
from harness.validation.errors import BadBaseline, BadSettings, CellFailed, NoScenario, SuiteFailed


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (BadSettings, Misuse),
        (BadBaseline, Misuse),
        (NoScenario, Misuse),
        (SuiteFailed, WorldError),
        (CellFailed, WorldError),
    ],
)
def test_tree(error, parent):
    """Whose fault it is, is the first split."""
    assert issubclass(error, parent)


def test_cell_failed():
    """It tells what was said last, or that nothing was."""
    assert "it said nothing" in str(CellFailed(-9, ""))
    assert "-9" in str(CellFailed(-9, "killed"))
