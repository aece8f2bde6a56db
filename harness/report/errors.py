"""The exceptions of reports.

::

    Misuse (harness.errors)
    └── BadRecord              a file that is no record of a validation
        └── UnknownSchema          it is one, of a version that this program does not know
"""

from __future__ import annotations

from harness.errors import Misuse


class BadRecord(Misuse):
    """What was read is no record of a validation; the text says where it departs from one."""


class UnknownSchema(BadRecord):
    """A record of another version.

    Attributes:
        schema: what it says it is.
        known: what this program reads.
    """

    def __init__(self, schema: str, known: str) -> None:
        super().__init__(schema, known)
        self.schema = schema
        self.known = known

    def __str__(self) -> str:
        return (
            f"expected a record of schema {self.known!r}, got {self.schema!r}: read it with the version of wsdevice "
            f"that wrote it (its field run.tools says which), or validate again"
        )
