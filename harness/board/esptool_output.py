"""What esptool prints, read: progress, what it found, what it wrote, and why it failed. Pure.

The words are those of esptool 5; each is here with what it means to us.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from gateway.identity import escaped
from harness.board.errors import (
    BuildUnfit,
    EsptoolMissing,
    FlashFailed,
    NoSync,
    VerifyFailed,
    WrongBoard,
    WrongChip,
)

KEPT = 400
"""Lines of a transcript: a flash of ten files says 80; progress is not among them."""
LINE_CHARACTERS = 500


class Progress(msgspec.Struct, frozen=True):
    """How far a write is.

    Attributes:
        offset: where on the flash it is, in bytes.
        percent: of this file, as it is sent.
    """

    offset: int
    percent: float


class Wrote(NamedTuple):
    """One write that is done: where it began, and how many bytes of flash it filled."""

    offset: int
    size: int


_PROGRESS = re.compile(r"^Writing at (0x[0-9a-f]+)\b.*?(\d+(?:\.\d+)?)%")
_WROTE = re.compile(r"^Wrote (\d+) bytes .*?\bat (0x[0-9a-f]+) in ")
_KNOWN = re.compile(r"\bat (0x[0-9a-f]+) (?:already in flash|verified\.)")
_CHIP = re.compile(r"^Connected to (\S+) on ")
_TYPE = re.compile(r"^Chip type:\s+(.+)$")
_MAC = re.compile(r"^(?:BASE )?MAC:\s+([0-9a-f]{2}(?::[0-9a-f]{2}){5})$")
_SIZE = re.compile(r"^(?:Auto-d|D)etected flash size: (\d+)(KB|MB)$")


class Transcript:
    """What one run of esptool printed, taken in line by line.

    Attributes:
        lines: printable, the last ones, without progress.
        chip: as esptool calls it; empty: it did not get so far.
        description: its package and revision.
        mac: in lower case with colons; empty: as above.
        flash_size: in bytes; 0: it did not say.
        wrote: each write that was finished.
        known: offsets of the files that were on the flash already.
        verified: files whose hash was read back from the flash, after they were written.
    """

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.chip = self.description = self.mac = ""
        self.flash_size = 0
        self.wrote: list[Wrote] = []
        self.known: list[int] = []
        self.verified = 0

    def take(self, line: str) -> Progress | None:
        """Take one line in; return the progress, if that is what it tells."""
        line = line.rstrip()
        if found := _PROGRESS.match(line):
            return Progress(int(found[1], 16), float(found[2]))
        self.lines.append(escaped(line[:LINE_CHARACTERS]))
        self._note(line)
        return None

    def _note(self, line: str) -> None:
        if found := _WROTE.match(line):
            self.wrote.append(Wrote(int(found[2], 16), int(found[1])))
        elif found := _KNOWN.search(line):
            self.known.append(int(found[1], 16))
        elif found := _CHIP.match(line):
            self.chip = found[1]
        elif found := _TYPE.match(line):
            self.description = found[1]
        elif found := _MAC.match(line):
            self.mac = found[1]
        elif found := _SIZE.match(line):
            self.flash_size = int(found[1]) << (20 if found[2] == "MB" else 10)
        elif line.startswith("Hash of data verified."):
            self.verified += 1


# --- why it failed ----------------------------------------------------------------------------------------------

PORT_UNUSABLE = ("Could not open ", "A serial exception error occurred: Could not")
"""The port could not be opened; why can be found out better by trying than from these texts."""

_WRONG_BOARD = 77  # harness.board.fast_rfc2217.__main__.WRONG_BOARD, which is not imported: it is a program
_REASONS: tuple[tuple[str, type[FlashFailed], str], ...] = (
    ("No module named esptool", EsptoolMissing, "esptool is not installed: pip install 'wsdevice[hil]'"),
    ("wsdevice: wrong board:", WrongBoard, ""),
    ("Wrong chip argument?", WrongChip, ""),
    ("Wrong boot mode detected", NoSync, "it runs its firmware and not its boot loader: IO0 was not low at reset"),
    ("serial TX path seems to be down", NoSync, "it is in its boot loader, and does not hear us"),
    (
        "Failed to connect to ",
        NoSync,
        "it does not answer in its boot loader; is it powered, and do DTR and RTS reach it?",
    ),
    ("will not fit in", BuildUnfit, ""),
    ("Use --force to flash anyway", BuildUnfit, ""),
    ("Use the force argument to override", BuildUnfit, ""),
    ("Detected overlap at address", BuildUnfit, ""),
    ("MD5 of file does not match data in flash", VerifyFailed, "what is on the flash is not what was written"),
    ("the written flash region is empty", VerifyFailed, "nothing was written; is the flash protected?"),
    ("Verification failed.", VerifyFailed, ""),
    ("A serial exception error occurred", FlashFailed, "the port went away in the middle"),
    ("The chip stopped responding", FlashFailed, "the chip fell silent in the middle"),
    ("No more data to read from the serial port", FlashFailed, "the port went away in the middle"),
)
"""A text that is in one of the last lines; the kind of failure; in words, if esptool's own do not say it."""

_NO_REASON = re.compile(r"^(?:ERROR: )?(?:A fatal error occurred: )?")


def failure(doing: str, code: int, lines: Sequence[str]) -> FlashFailed:
    """Make the error of a run that ended with a code other than 0.

    Args:
        doing: what it was to do, in words.
        code: how it ended; negative: by a signal.
        lines: what it printed last.
    """
    if code < 0:
        return FlashFailed(doing, f"esptool was ended by signal {-code}", lines)
    for text, kind, words in _REASONS:
        for line in reversed(lines):
            if text in line:
                said = _NO_REASON.sub("", line).removeprefix("wsdevice: ")
                return kind(doing, f"{words} (esptool: {said})" if words else said, lines)
    if code == _WRONG_BOARD:
        return WrongBoard(doing, "another board answers", lines)
    said = next((_NO_REASON.sub("", line) for line in reversed(lines) if "rror" in line), "")
    return FlashFailed(doing, f"esptool ended with code {code}{': ' + said if said else ''}", lines)
