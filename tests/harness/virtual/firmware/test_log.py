"""The firmware's log lines."""

from __future__ import annotations

import re
import time

import pytest

from harness.virtual.firmware.log import Log, to_uart


def test_lines():
    """Lines of ESP-IDF, with the milliseconds since reset; the driver's have no space behind the tag."""
    written: list[str] = []
    log = Log(time.monotonic() - 2, written.append)
    log("W", "Ota", "text")
    log.driver("state: init -> auth (0xb0)")

    assert re.fullmatch(r"W \(20\d\d\) Ota: text\n", written[0])
    assert re.fullmatch(r"I \(20\d\d\) wifi:state: init -> auth \(0xb0\)\n", written[1])


def test_uart(capsys: pytest.CaptureFixture[str]):
    """The UART is standard output, at once."""
    to_uart("x\n")

    assert capsys.readouterr().out == "x\n"
