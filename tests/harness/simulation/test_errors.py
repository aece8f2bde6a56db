"""What ends a simulation, in words."""

from __future__ import annotations

import pytest

from harness.simulation.errors import Deadlock, Escape, LimitPassed, Livelock, SimulationStopped


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            Deadlock(("a", "b")),
            "every task waits and no timer is set, so nothing can ever happen again:\n  a\n  b",
        ),
        (
            Livelock(5, 1.5, ("r",), ("w",)),
            "5 turns of the loop at 1.500000 s, and the clock does not move; ready is:\n  r\n  the tasks are:\n  w",
        ),
        (
            LimitPassed("7 real seconds", 1.5, ("w",)),
            "the simulation passed its limit of 7 real seconds; it is 1.500 s, and these wait:\n  w",
        ),
        (Escape("a thread", "do not"), "a thread would leave the simulation: do not"),
    ],
)
def test_text(error: SimulationStopped, text: str):
    """Each says what happened; none can be caught as an exception."""
    assert str(error) == text
    assert not isinstance(error, Exception)
