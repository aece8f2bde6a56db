"""The exit codes of a validation."""

from typing import get_args

from harness.report.record import Verdict
from harness.validation.exit_codes import ValidationExit, exit_code


def test_each_verdict_has_its_own():
    """And none of them is what Python or a shell ends with by accident."""
    codes = [exit_code(verdict) for verdict in get_args(Verdict)]

    assert len(set(codes)) == len(codes)
    assert not {1, 2, 126, 127}.intersection(codes)
    assert exit_code("pass") is ValidationExit.PASS == 0
