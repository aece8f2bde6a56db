"""The exceptions of a board.

::

    HarnessError
    ├── Misuse
    │   ├── NoLines                the port has no DTR and RTS, or the server plays resets of its own with them
    │   └── BadSequence            a reset sequence that is none
    ├── LineMissing                the console did not say what was waited for; an AssertionError, too
    ├── BoardCrashed               the firmware crashed; an AssertionError, too
    ├── BringUpFailed              a stage of the bring-up failed; its verdict says whose fault it is
    └── WorldError
        ├── PortFailed             a serial port cannot be used
        │   ├── PortMissing            it is not there
        │   ├── PortForbidden          this user may not open it
        │   ├── PortBusy               somebody else has it
        │   ├── PortSilent             something is there, and does not answer
        │   └── PortVanished           it was there
        ├── PowerFailed            it could not be switched, or did not obey (`harness.board.power`)
        └── FlashFailed            esptool could not do what it was asked
            ├── EsptoolMissing         it is not installed
            ├── NoSync                 the chip does not answer in its boot loader
            ├── WrongChip              it answers, and is another kind of chip
            ├── WrongBoard             it is the right kind of chip, and another board
            ├── VerifyFailed           what is on the flash is not what was written
            ├── BuildUnfit             esptool refuses the files
            └── FlashTimeout           it took longer than it may

Each has a ``verdict``: what a report blames. A rig's fault may be tried again on another board; a firmware's must not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeAlias

from gateway.identity import printable
from harness.errors import HarnessError, Misuse, WorldError

Verdict: TypeAlias = Literal["firmware", "rig", "network", "gateway"]

SHOWN_LINES = 15
"""Of the console, in the text of an error: enough for a register dump's head or the whole of a short boot."""
SHOWN_CHARACTERS = 200
"""Of one line."""


def tail(lines: Sequence[str], heading: str = "the last lines of the console:") -> list[str]:
    """Return the last lines of a console as those of an error's text, with their heading; or that there are none."""
    shown = lines[-SHOWN_LINES:]
    if not shown:
        return ["  the console said nothing"]
    return [f"  {heading}", *(f"    {printable(line, SHOWN_CHARACTERS)}" for line in shown)]


# --- misuse -----------------------------------------------------------------------------------------------------


class NoLines(Misuse):
    """The port has no reset lines that could be moved; ask a board's ``caps`` before."""


class BadSequence(Misuse):
    """A reset sequence that is not in esptool's notation."""


# --- the console ------------------------------------------------------------------------------------------------


class LineMissing(HarnessError, AssertionError):
    """The console did not say what was waited for.

    Attributes:
        console: whose.
        wanted: the pattern, as it was given.
        seconds: for how long was waited.
        ending: what ended the wait, in words.
        lines: the last ones that did come, oldest first.
        gaps: times in which nothing could be heard, in words; a line may have been missed in one.
    """

    def __init__(
        self, console: str, wanted: str, seconds: float, ending: str, lines: Sequence[str], gaps: Sequence[str] = ()
    ) -> None:
        super().__init__(console, wanted, seconds, ending, lines, gaps)
        self.console = console
        self.wanted = wanted
        self.seconds = seconds
        self.ending = ending
        self.lines = tuple(lines)
        self.gaps = tuple(gaps)

    @property
    def verdict(self) -> Verdict:
        """The rig's where something may have been missed, else the firmware's."""
        return "rig" if self.gaps else "firmware"

    def __str__(self) -> str:
        waited = f"after {self.seconds:.1f} s {self.ending}"
        head = f"{self.console} expected a line with {printable(self.wanted)}, but {waited}"
        missed = [f"  it may have been missed: {gap}" for gap in self.gaps]
        return "\n".join([head, *missed, *tail(self.lines)])


class BoardCrashed(HarnessError, AssertionError):
    """The firmware crashed, while something else was waited for or expected of it.

    Attributes:
        board: which one.
        kind: what the crash is called: ``exception``, ``abort``, ``task_watchdog`` ...
        report: the crash with where it was and, where that could be decoded, in which functions; several lines.
        lines: the console's lines before it, oldest first.
    """

    def __init__(self, board: str, kind: str, report: str, lines: Sequence[str]) -> None:
        super().__init__(board, kind, report, lines)
        self.board = board
        self.kind = kind
        self.report = report
        self.lines = tuple(lines)

    def __str__(self) -> str:
        report = [f"  {line}" for line in self.report.splitlines()]
        return "\n".join([f"{self.board} crashed ({self.verdict})", *report, *tail(self.lines, "before it:")])

    @property
    def verdict(self) -> Verdict:
        """The firmware's; a brown-out is the supply's."""
        return "rig" if self.kind == "brown_out" else "firmware"


class BringUpFailed(HarnessError):
    """A stage of the bring-up failed; the same error is told to everybody who asks for the board later.

    Attributes:
        board: which one.
        stage: that failed: ``flashed``, ``provisioned``, ``booted``, ``online``.
        verdict: whose fault it is.
        why: what happened, in words.
        lines: the last ones of the console, oldest first.
        told_before: how many were told before.
    """

    def __init__(self, board: str, stage: str, verdict: Verdict, why: str, lines: Sequence[str]) -> None:
        super().__init__(board, stage, verdict, why, lines)
        self.board = board
        self.stage = stage
        self.verdict = verdict
        self.why = why
        self.lines = tuple(lines)
        self.told_before = 0

    def __str__(self) -> str:
        head = f"{self.board} could not be {self.stage} ({self.verdict}): {self.why}"
        if self.told_before:
            head += "\n  (this happened once; it is not tried again for each test)"
        return "\n".join([head, *tail(self.lines)])


# --- the port ---------------------------------------------------------------------------------------------------


class PortFailed(WorldError):
    """A serial port cannot be used.

    Attributes:
        port: its path or URL.
        why: what is the matter, and what can be done.
    """

    verdict: ClassVar[Verdict] = "rig"

    def __init__(self, port: str, why: str) -> None:
        super().__init__(port, why)
        self.port = port
        self.why = why

    def __str__(self) -> str:
        return f"{printable(self.port)}: {self.why}"


class PortMissing(PortFailed):
    """There is no such port."""


class PortForbidden(PortFailed):
    """This user may not open it."""


class PortBusy(PortFailed):
    """Somebody else has it."""


class PortSilent(PortFailed):
    """Something is there, and does not answer as a port does."""


class PortVanished(PortFailed):
    """It was there, and is not any more: a cable, a hub, a server, or a chip that left the bus."""


# --- esptool ----------------------------------------------------------------------------------------------------


class FlashFailed(WorldError):
    """esptool could not do what it was asked.

    Attributes:
        doing: what it was asked, in words.
        why: what it said, or what we say of it.
        transcript: its last lines, secrets masked.
        verdict: whose fault it is.
    """

    verdict: Verdict = "rig"

    def __init__(self, doing: str, why: str, transcript: Sequence[str] = ()) -> None:
        super().__init__(doing, why, transcript)
        self.doing = doing
        self.why = why
        self.transcript = tuple(transcript)

    def __str__(self) -> str:
        head = f"{self.doing}: {self.why}"
        return "\n".join([head, *tail(self.transcript, "esptool's last lines:")]) if self.transcript else head


class EsptoolMissing(FlashFailed):
    """It is not installed in this Python."""


class NoSync(FlashFailed):
    """The chip does not answer in its boot loader."""


class WrongChip(FlashFailed):
    """Another kind of chip answers."""


class WrongBoard(FlashFailed):
    """Another board answers: its MAC is not the one that the bench file gives this board."""


class VerifyFailed(FlashFailed):
    """What is on the flash is not what was written."""


class BuildUnfit(FlashFailed):
    """esptool refuses the files: they are for another chip, or do not fit."""

    verdict = "firmware"


class FlashTimeout(FlashFailed):
    """It took longer than it may, and was ended."""
