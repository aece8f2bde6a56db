"""A row in one line, for people."""

from __future__ import annotations

import pytest

from harness.report.wording import SAID_CHARACTERS, said, who
from tests.harness.report.samples import console, frame, row


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (console(0, "I (3) boot: \x1b[0mok\u2028"), "I (3) boot: \\x1b[0mok\\u2028"),
        (frame(0, '{"type":"ping"}'), '{"type":"ping"}'),
        (row(0, "frame", "a", "gateway", opcode="text", text="{", left_out_bytes=9), "{ … and 9 bytes more"),
        (row(0, "frame", "a", "gateway", opcode="binary", bytes=112, base64="AAAA"), "binary, 112 bytes"),
        (row(0, "frame", "gateway", "a", opcode="close", code=1001, reason="bye", bytes=5), "Close 1001 bye"),
        (row(0, "event", "gateway", "a", event="DeviceOnline", device="02:", session="s", because=""), "DeviceOnline"),
        (
            row(0, "event", "gateway", "", event="GatewayStopped", seconds=0.25, clean=True),
            "GatewayStopped seconds=0.25 clean=True",
        ),
        (row(0, "fault", "test", what="wifi_off on a"), "wifi_off on a"),
        ({"at": 0, "kind": "of another version"}, ""),
    ],
)
def test_said(of, words):
    """Each kind of row says what matters, printable, without what stands beside it."""
    assert said(of) == words


def test_a_long_line_is_cut():
    """At its limit a line is whole, past it it ends with an ellipsis."""
    assert said(console(0, "x" * SAID_CHARACTERS)) == "x" * SAID_CHARACTERS
    assert said(console(0, "x" * (SAID_CHARACTERS + 1))) == "x" * SAID_CHARACTERS + "…"


def test_who():
    """Who did it, and to whom."""
    assert who(frame(0, "")) == "s3-box → gateway"
    assert who(row(0, "event", "gateway", "a")) == "gateway · a"
    assert who(console(0, "")) == "s3-box"
