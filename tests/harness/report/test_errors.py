"""What the errors say."""

from __future__ import annotations

from harness.errors import Misuse
from harness.report.errors import BadRecord, UnknownSchema


def test_an_unknown_schema_says_what_to_do():
    """What was expected, what came, and what helps."""
    error = UnknownSchema("wsdevice.validation/9", "wsdevice.validation/1")

    assert isinstance(error, BadRecord)
    assert isinstance(error, Misuse)
    assert str(error) == (
        "expected a record of schema 'wsdevice.validation/1', got 'wsdevice.validation/9': read it with the version of "
        "wsdevice that wrote it (its field run.tools says which), or validate again"
    )
