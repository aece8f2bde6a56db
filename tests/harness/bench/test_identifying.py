"""How esptool reaches a board, and what it says of it."""

from __future__ import annotations

import pytest

from harness.bench import identifying
from harness.bench.bench_file import ConsoleConfig, FlashConfig
from harness.bench.identifying import Identity, call_for, console_port, identify
from harness.board.esptool import Call
from harness.board.esptool_output import Transcript
from harness.errors import Misuse
from tests.harness.bench.benches import a_board

# esptool 5.6.0, flash-id of an ESP32-S3 with PSRAM in its package
SAID = """\
Connected to ESP32-S3 on /dev/ttyACM0:
Chip type:          ESP32-S3 (QFN56) (revision v0.2)
Features:           Wi-Fi, BT 5 (LE), Dual Core + LP Core, 240MHz, Embedded PSRAM 8MB (AP_3v3)
Crystal frequency:  40MHz
MAC:                24:6f:28:aa:bb:cc
Flash Memory Information:
Manufacturer: ef
Device: 4018
Detected flash size: 16MB
"""


def said(text):
    """Make the transcript of a run."""
    transcript = Transcript()
    for line in text.splitlines():
        transcript.take(line)
    return transcript


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SAID, Identity("esp32s3", "24:6f:28:aa:bb:cc", 16, 8)),
        (SAID.replace(", Embedded PSRAM 8MB (AP_3v3)", ""), Identity("esp32s3", "24:6f:28:aa:bb:cc", 16, 0)),
        (SAID.replace("Detected", "Undetected"), Identity("esp32s3", "24:6f:28:aa:bb:cc", 0, 8)),
    ],
)
def test_identify(monkeypatch, text, expected):
    """Kind, MAC, and sizes as far as they are told."""
    asked = []
    monkeypatch.setattr(
        identifying.esptool, "run", lambda call, command, **others: asked.append((call, command)) or said(text)
    )

    assert identify(Call("/dev/x")) == expected
    assert asked == [(Call("/dev/x"), ["flash-id"])]


def test_other_chips(monkeypatch):
    """A chip of another kind is named."""
    text = SAID.replace("ESP32-S3", "ESP32-P4")
    monkeypatch.setattr(identifying.esptool, "run", lambda call, command, **others: said(text))

    with pytest.raises(Misuse, match="expected one of esp32, esp32s3, esp32c3, got 'ESP32-P4'"):
        identify(Call("/dev/x"))


@pytest.mark.parametrize(
    ("reset", "before", "after", "sequence"),
    [
        ("classic", "default-reset", "hard-reset", ""),
        ("usb", "usb-reset", "hard-reset", ""),
        ("none", "no-reset", "no-reset", ""),
        ("custom:D0|R1|W0.1", "default-reset", "hard-reset", "D0|R1|W0.1"),
    ],
)
def test_call(reset, before, after, sequence):
    """Each way of resetting is esptool's; whoever answers is not asked to be this board."""
    board = a_board(flash=FlashConfig(reset=reset))

    assert call_for(board) == Call("rfc2217://rig:4001", "auto", 921600, before, after, sequence)


def test_call_by_usb(monkeypatch):
    """A board that is flashed through its own USB port is reached there."""
    monkeypatch.setattr(identifying, "at_usb_location", lambda location: f"/dev/at-{location}")
    board = a_board(flash=FlashConfig(via="usb", usb_location="1-1.4", reset="usb"))

    assert call_for(board).port == "/dev/at-1-1.4"
    assert console_port(board.console) == "rfc2217://rig:4001"


def test_nowhere():
    """A port that is said nowhere is a mistake of the file."""
    assert console_port(ConsoleConfig(device="/dev/x")) == "/dev/x"
    with pytest.raises(Misuse, match="expected a url, a usb_location or a device"):
        console_port(ConsoleConfig())
