"""The exceptions of a validation.

::

    HarnessError
    ├── Misuse
    │   ├── BadSettings            wsdevice.toml says what cannot be
    │   ├── BadBaseline            the baseline file cannot be read, or is none
    │   └── NoScenario             no scenario is called what was asked for
    └── WorldError
        ├── SuiteFailed            the scenarios could not be run to their end
        └── CellFailed             the process of one build on one board ended without a result
"""

from __future__ import annotations

from harness.errors import Misuse, WorldError


class BadSettings(Misuse):
    """A settings file has something that it cannot have; the text says where, and what was expected."""


class BadBaseline(Misuse):
    """A baseline file cannot be read, or says what it cannot."""


class NoScenario(Misuse):
    """No scenario is called what was asked for."""


class SuiteFailed(WorldError):
    """The scenarios could not be run to their end; nothing is known of those that are missing."""


class CellFailed(WorldError):
    """The process of one build on one board ended without a result.

    Attributes:
        code: its exit code.
        output: the end of what it said.
    """

    def __init__(self, code: int, output: str) -> None:
        super().__init__(code, output)
        self.code = code
        self.output = output

    def __str__(self) -> str:
        return (
            f"the process of this cell ended with {self.code} and without a result: {self.output or 'it said nothing'}"
        )
