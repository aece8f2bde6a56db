"""Hypothesis picks the steps: it finds nothing in the gateway, and finds and shrinks two faulty twins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.harness.exploration.machine import Machine


def look(machine: type[Machine], examples: int, steps: int, *phases: Phase) -> None:
    """Run a machine; the same examples each time."""
    how: dict[str, Any] = {
        "deadline": None,
        "database": None,
        "derandomize": True,
        "print_blob": False,
        "report_multiple_bugs": False,
    }
    how |= {"suppress_health_check": list(HealthCheck), "phases": (Phase.generate, *phases)}
    run_state_machine_as_test(machine, settings=settings(max_examples=examples, stateful_step_count=steps, **how))


def test_the_gateway():
    """No sequence of steps breaks an invariant."""
    look(Machine, 25, 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "invariant", "most"),
    [
        ("end-of-the-older-unregisters-the-newer", "invariant 4", 1),
        ("mail-taken-for-delivered-in-silence", "invariant 1", 4),
    ],
)
def test_a_twin(name: str, invariant: str, most: int):
    """A defect is found, and what is left of the steps is about what it takes."""

    class Faulty(Machine):
        faulty = name
        recovers = False

    with pytest.raises(AssertionError) as failure:
        look(Faulty, 200, 8, Phase.shrink)

    assert invariant in str(failure.value)
    steps = [line for line in getattr(failure.value, "__notes__", []) for line in line.splitlines()]
    taken = [
        line for line in steps if line.startswith("state.") and not line.startswith(("state.begin", "state.teard"))
    ]
    assert 1 <= len(taken) <= most, "\n".join(steps)
