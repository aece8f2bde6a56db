"""Close codes: each has a meaning, may be sent where it is sent, and stands in the documentation as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from websockets.frames import Close

from gateway.protocol.close_codes import CloseCode

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.mark.parametrize("code", CloseCode)
def test_every_code_has_a_meaning(code):
    """A clause for the device's developer, without full stop, to be put into a sentence."""
    assert code.meaning
    assert not code.meaning.endswith(".")
    assert isinstance(code.retry, bool)


@pytest.mark.parametrize("code", [code for code in CloseCode if code is not CloseCode.ABNORMAL])
def test_every_code_but_1006_may_be_sent(code):
    """`websockets` checks the ranges of RFC 6455 when a Close frame is made; ours lie in the private one."""
    Close(code, code.name).check()
    assert 1000 <= code <= 1012 or 4000 <= code <= 4999


def test_devices_are_told_not_to_retry_where_that_would_go_on_for_ever():
    """Replaced, policy, flood: the cause is the device itself or its twin."""
    assert {code for code in CloseCode if not code.retry} == {CloseCode.REPLACED, CloseCode.POLICY, CloseCode.FLOOD}


def test_codes_of_the_wire_have_their_numbers():
    """Numbers that devices compare with; they never change."""
    numbers = {
        "NORMAL": 1000,
        "GOING_AWAY": 1001,
        "POLICY": 1008,
        "TOO_BIG": 1009,
        "SERVICE_RESTART": 1012,
        "REPLACED": 4001,
        "HELLO_TIMEOUT": 4002,
        "IDLE": 4003,
        "FLOOD": 4008,
        "MAILBOX_KICK": 4010,
    }
    assert {name: CloseCode[name].value for name in numbers} == numbers


def test_the_documentation_lists_exactly_these_codes():
    """Number, name, whether to retry, and the meaning in the code's own words."""
    rows = re.findall(
        r"^\| (\d{4}) \| `(\w+)` \| (yes|no) \| (.+?) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
    expected = [(str(int(code)), code.name.lower(), "yes" if code.retry else "no", code.meaning) for code in CloseCode]
    assert [tuple(row) for row in rows] == expected
