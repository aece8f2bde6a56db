"""Lines on the UART."""

from __future__ import annotations

import time

from harness.virtual.boot_log import BootLog, formatted


def test_format():
    """Level, milliseconds, tag and text, as ESP-IDF prints them."""
    assert formatted("E", 77, "boot", "No bootable app partitions") == "E (77) boot: No bootable app partitions"


def test_lines():
    """Lines end as on a UART, and those that belong together are sent in one piece."""
    sent: list[bytes] = []
    log = BootLog(sent.append)
    log.line("ä")
    log.lines(["a", "", "b"])

    assert sent == [b"\xc3\xa4\r\n", b"a\r\n\r\nb\r\n"]


def test_milliseconds():
    """They count from the reset."""
    sent: list[bytes] = []
    BootLog(sent.append, began=time.monotonic() - 5)("I", "boot", "text")

    assert 5000 <= int(sent[0].split(b"(")[1].split(b")")[0]) < 6000
