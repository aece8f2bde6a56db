"""Sequences of the reset lines, in the notation of esptool's configuration file. Pure.

``D0|R1|W0.1|D1|R0``: DTR off, RTS on, wait 0.1 s ... ``U1,0`` sets both at once. On the boards' reset circuit EN is low
while RTS is on and DTR off, IO0 while DTR is on and RTS off; both on, or none, leaves the chip alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from harness.board.errors import BadSequence

LONGEST_WAIT = 30.0
"""Seconds of one step: a typing error must not hang a bench."""

_STEP = re.compile(r"([DR])([01])|U([01]),([01])|W(\d+(?:\.\d+)?)", re.IGNORECASE)


class Lines(NamedTuple):
    """Both lines from here on; True is asserted."""

    dtr: bool
    rts: bool


class Wait(NamedTuple):
    """Seconds in which the lines stay."""

    seconds: float


Step: TypeAlias = Lines | Wait

# The times are those of esptool (esp_pylib/serial_reset.py): 0.1 s for the capacitor at EN to be empty, 0.05 s for the
# ROM to have looked at IO0. On USB the chip leaves the bus while it is in reset, hence 0.2 s.
RUN = "U0,1|W0.1|U0,0"
"""Reset the chip, and let it run."""
RUN_USB = "U0,1|W0.2|U0,0|W0.2"
"""The same through the USB port of the chip itself."""
DOWNLOAD = "U0,1|W0.1|U1,0|W0.05|U0,0"
"""Reset the chip with IO0 low: it waits in its boot loader."""
DOWNLOAD_USB = "U0,0|W0.1|U1,0|W0.1|U1,1|U0,1|W0.1|U0,0"
"""The same through the USB port of the chip itself, which must see both lines on in between."""


def parse(sequence: str) -> tuple[Step, ...]:
    """Read a sequence; each of its line steps says what both lines are from there on, at first both off.

    Raises:
        BadSequence: a step that is none.
    """
    steps: list[Step] = []
    lines = Lines(dtr=False, rts=False)
    for text in filter(None, (part.strip() for part in sequence.split("|"))):
        found = _STEP.fullmatch(text.replace(" ", ""))
        if found is None:
            raise BadSequence(f"expected D0, D1, R0, R1, U0,1 or W0.1 between bars, got {text!r} in {sequence!r}")
        line, on, dtr, rts, seconds = found.groups()
        if seconds is not None:
            if float(seconds) > LONGEST_WAIT:
                raise BadSequence(f"expected to wait at most {LONGEST_WAIT:g} s, got {text!r} in {sequence!r}")
            steps.append(Wait(float(seconds)))
            continue
        if dtr is not None:
            lines = Lines(dtr == "1", rts == "1")
        elif line.upper() == "D":
            lines = lines._replace(dtr=on == "1")
        else:
            lines = lines._replace(rts=on == "1")
        steps.append(lines)
    if not steps:
        raise BadSequence(f"expected a reset sequence with at least one step, got {sequence!r}")
    return tuple(steps)


def one_at_a_time(sequence: str) -> str:
    """Write a sequence without ``U``: RFC 2217 moves one line at a time. Both on lies between any two states."""
    written: list[str] = []
    before: Lines | None = None
    for step in parse(sequence) if sequence else ():
        if isinstance(step, Wait):
            written.append(f"W{step.seconds:g}")
            continue
        dtr = [] if before and before.dtr == step.dtr else [f"D{step.dtr:d}"]
        rts = [] if before and before.rts == step.rts else [f"R{step.rts:d}"]
        written += [*dtr, *rts] if step.dtr else [*rts, *dtr]
        before = step
    return "|".join(written)
