"""States of the firmware, and the line of each change."""

from __future__ import annotations

from harness.virtual.firmware.states import States
from tests.harness.virtual.firmware.stage import Uart


async def test_changes(uart: Uart):
    """Each change is said once; what the firmware does not know is refused."""
    states = States(uart.log)
    states.become("starting")
    states.become("starting")
    states.become("speaking")
    states.become("activating")

    assert states.now == "activating"
    assert uart.lines == [
        "StateMachine: State: unknown -> starting",
        "StateMachine: Invalid state transition: starting -> speaking",
        "StateMachine: State: starting -> activating",
    ]
