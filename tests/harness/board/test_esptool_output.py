"""What esptool prints, read: the words are copied from its output."""

from __future__ import annotations

import pytest

from harness.board.errors import (
    BuildUnfit,
    EsptoolMissing,
    FlashFailed,
    NoSync,
    VerifyFailed,
    WrongBoard,
    WrongChip,
)
from harness.board.esptool_output import KEPT, LINE_CHARACTERS, Progress, Transcript, Wrote, failure

WRITE = """\
esptool v5.6.0
Serial port rfc2217://127.0.0.1:4901:
Connecting...

Connected to ESP32-S3 on rfc2217://127.0.0.1:4901:
Chip type:          ESP32-S3 (QFN56) (revision v0.2)
Features:           Wi-Fi, BT 5 (LE), Dual Core + LP Core, 240MHz
Crystal frequency:  40MHz
MAC:                02:53:45:6d:a2:de

Uploading stub flasher...
Stub flasher running.

Writing '/tmp/x/0x8000.bin' at 0x00008000...
Comparing flash contents against new data...
'/tmp/x/0x8000.bin' at 0x00008000 already in flash, skipping write.

Writing '/tmp/x/0xd000.bin' at 0x0000d000...
No changed sectors found, verifying if data is in flash...
'/tmp/x/0xd000.bin' at 0x0000d000 verified.

Writing '/tmp/x/0x20000.bin' at 0x00020000...
Flash will be erased from 0x00020000 to 0x00120fff...
Compressed 1052672 bytes to 11000...
Writing at 0x0001fff9                                  0.0% 0B/10.74kB [0s]
Writing at 0x00043ff9 ━━━━━━━━━━━━━━╸                 49.1% 16.00kB/2.29MB [1s]\x20
Writing at 0x00021000 [======================>       ]  72.5% 16384/22594 bytes...
Wrote 1052672 bytes (11000 compressed) at 0x00020000 in 0.2 seconds (39476.8 kbit/s).
Verifying written data...
Hash of data verified.

Wrote 4096 bytes at 0x00120000 in 0.0 seconds.
Hash of data verified.

Staying in bootloader.
"""


def test_write():
    """A write tells how far it is, what it wrote and what was there, and which board it is."""
    transcript = Transcript()
    progress = [told for line in WRITE.splitlines() if (told := transcript.take(line))]

    assert progress == [Progress(0x1FFF9, 0.0), Progress(0x43FF9, 49.1), Progress(0x21000, 72.5)]
    assert transcript.wrote == [Wrote(0x20000, 1052672), Wrote(0x120000, 4096)]
    assert (transcript.known, transcript.verified) == ([0x8000, 0xD000], 2)
    assert (transcript.chip, transcript.mac) == ("ESP32-S3", "02:53:45:6d:a2:de")
    assert transcript.description == "ESP32-S3 (QFN56) (revision v0.2)"
    assert not [line for line in transcript.lines if "%" in line]


@pytest.mark.parametrize(("said", "size"), [("4MB", 4 << 20), ("32MB", 32 << 20), ("512KB", 512 << 10)])
def test_flash_size(said: str, size: int):
    """The size of the flash is told in either of two ways; the MAC of chips with a longer one is the short one."""
    for line in (f"Detected flash size: {said}", f"Auto-detected flash size: {said}"):
        transcript = Transcript()
        transcript.take(line)
        assert transcript.flash_size == size
    for line in ("MAC:                40:4c:ca:ff:fe:46:20:24", "BASE MAC:           40:4c:ca:46:20:24"):
        transcript.take(line)
    assert transcript.mac == "40:4c:ca:46:20:24"


def test_bounded():
    """Only the last lines are kept, cut and printable."""
    transcript = Transcript()
    for number in range(KEPT + 5):
        transcript.take(f"{number}\x1b" + "x" * LINE_CHARACTERS)
    assert len(transcript.lines) == KEPT
    assert transcript.lines[0].startswith("5\\x1bx")
    assert len(transcript.lines[0]) <= LINE_CHARACTERS + 3


@pytest.mark.parametrize(
    ("line", "kind", "verdict", "words"),
    [
        ("/usr/bin/python: No module named esptool", EsptoolMissing, "rig", "pip install"),
        ("wsdevice: wrong board: its MAC is 02, expected 03", WrongBoard, "rig", "expected 03"),
        (
            "ERROR: A fatal error occurred: This chip is ESP32, not ESP32-S3. Wrong chip argument?",
            WrongChip,
            "rig",
            "^check it: This chip is ESP32, not ESP32-S3. Wrong chip argument",
        ),
        ("ERROR: A fatal error occurred: Wrong boot mode detected (0x13)! The", NoSync, "rig", "runs its firmware"),
        (
            "ERROR: A fatal error occurred: Failed to connect to ESP32-S3: No serial data received.",
            NoSync,
            "rig",
            "does not answer in its boot loader.*No serial data received",
        ),
        (
            "ERROR: A fatal error occurred: File 'x' (length 1) at offset 1 will not fit in 1 bytes of flash.",
            BuildUnfit,
            "firmware",
            "will not fit",
        ),
        (
            "ERROR: A fatal error occurred: 'x' is not an ESP32-S3 image. Use --force to flash anyway.",
            BuildUnfit,
            "firmware",
            "is not an ESP32-S3 image",
        ),
        (
            "ERROR: A fatal error occurred: MD5 of file does not match data in flash!",
            VerifyFailed,
            "rig",
            "is not what was written",
        ),
        ("ERROR: A serial exception error occurred: read failed", FlashFailed, "rig", "went away in the middle"),
        ("ERROR: A fatal error occurred: something new", FlashFailed, "rig", "code 2: something new"),
        ("nothing of use", FlashFailed, "rig", "esptool ended with code 2\n"),
    ],
)
def test_failures(line: str, kind: type[FlashFailed], verdict: str, words: str):
    """Each kind of failure is told by its words, with whose fault it is, and with esptool's last lines."""
    error = failure("check it", 2, ["esptool v5.6.0", line, "For troubleshooting steps visit: https://"])

    assert type(error) is kind
    assert error.verdict == verdict
    with pytest.raises(kind, match=words):
        raise failure("check it", 2, [line])
    assert "    esptool v5.6.0\n" in str(error)


def test_ended_otherwise():
    """A signal, and the gate's own exit code, are told without any words."""
    assert failure("check it", -9, []).why == "esptool was ended by signal 9"
    assert type(failure("check it", 77, [])) is WrongBoard
