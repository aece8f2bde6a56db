"""Errors of the faults.

::

    Misuse (harness.errors)
    ├── Lacks          this ground cannot do that fault
    └── BadFault       a fault with a value that it cannot have, or on somebody who is not there
    WorldError (harness.errors)
    ├── Died           a gateway died before it had done what was asked of it
    └── NotDone        a fault of a schedule was not done in its time
"""

from __future__ import annotations

from harness.errors import Misuse, WorldError


class Lacks(Misuse):
    """A ground was asked for a fault that it cannot do.

    Attributes:
        ground: which one, in words.
        fault: the fault's name.
        why: what it would need.
    """

    def __init__(self, ground: str, fault: str, why: str) -> None:
        super().__init__(ground, fault, why)
        self.ground = ground
        self.fault = fault
        self.why = why

    def __str__(self) -> str:
        return f"{self.ground} cannot do {self.fault}: {self.why}"


class BadFault(Misuse):
    """A fault was asked for in a way that makes no sense; the text says what was expected."""


class Died(WorldError):
    """A gateway was killed, or lost its power, before it had done what was asked of it."""


class NotDone(WorldError):
    """A fault of a schedule was begun and did not end; the text says which."""
