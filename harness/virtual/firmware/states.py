"""The states of the firmware, and the line that each change prints (``device_state_machine.cc``)."""

from __future__ import annotations

from typing import Literal, TypeAlias

from harness.virtual.firmware.log import Log

State: TypeAlias = Literal[
    "unknown",
    "starting",
    "wifi_configuring",
    "idle",
    "connecting",
    "listening",
    "speaking",
    "upgrading",
    "activating",
]

_TAG = "StateMachine"
_NEXT: dict[State, frozenset[State]] = {
    "unknown": frozenset({"starting"}),
    "starting": frozenset({"wifi_configuring", "activating"}),
    "wifi_configuring": frozenset({"activating"}),
    "activating": frozenset({"upgrading", "idle", "wifi_configuring"}),
    "upgrading": frozenset({"idle", "activating"}),
    "idle": frozenset({"connecting", "listening", "speaking", "activating", "upgrading", "wifi_configuring"}),
    "connecting": frozenset({"idle", "listening"}),
    "listening": frozenset({"speaking", "idle"}),
    "speaking": frozenset({"listening", "idle"}),
}


class States:
    """The state of one life.

    Attributes:
        now: the present one.
    """

    def __init__(self, log: Log) -> None:
        self.now: State = "unknown"
        self._log = log

    def become(self, state: State) -> None:
        """Change to a state, and say so; a change that the firmware does not know is refused, and said."""
        if state == self.now:
            return
        if state not in _NEXT[self.now]:
            self._log("W", _TAG, f"Invalid state transition: {self.now} -> {state}")
            return
        before, self.now = self.now, state
        self._log("I", _TAG, f"State: {before} -> {state}")
