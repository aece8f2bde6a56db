"""Whether a run asks for boards."""

from __future__ import annotations

import pytest

from pytest_wsdevice.hil import asked_for


@pytest.mark.parametrize(
    "expression", ["hil", "hil and slow", "hil and not slow", "slow or hil", "not (slow or not hil)", "hil(chip=1)"]
)
def test_an_expression_that_chooses_by_hil(expression: str):
    """Some test would be chosen because it is marked hil."""
    assert asked_for(expression)


@pytest.mark.parametrize("expression", ["", "not hil", "slow", "slow and not hil", "hil or not hil", "hil and", "hils"])
def test_an_expression_that_does_not(expression: str):
    """No test is chosen for being marked hil."""
    assert not asked_for(expression)
