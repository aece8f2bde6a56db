"""Brings back a board that does not answer: a ladder of remedies, the mildest first.

What the remedies are is up to whoever has the board; this is their order, and what is done about their outcome. The
first one that helps is the last one tried; if none does, the board is quarantined.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.bench.health import Health
from harness.board.power import Power
from harness.errors import HarnessError

_log = logging.getLogger(__name__)

WHY_CHARACTERS = 200
"""Of what a failed remedy says."""

Outcome: TypeAlias = Literal["helped", "did not help", "failed", "not possible"]


class Remedies(msgspec.Struct, frozen=True):
    """What can be done to a board; each blocks until it is done, with a deadline of its own. None: it cannot.

    Attributes:
        reboot: the gateway tells the device to reboot; False: the device is not connected.
        reset: EN is pulsed through the port's lines.
        watchdog_reset: esptool has the chip's own watchdog reset it, which also wakes a native USB port that is stuck.
        power: its supply; used only where it is trusted.
        reflash: the whole flash is erased, and what belongs on it is written again.
    """

    reboot: Callable[[], bool] | None = None
    reset: Callable[[], None] | None = None
    watchdog_reset: Callable[[], None] | None = None
    power: Power | None = None
    reflash: Callable[[], None] | None = None


class Attempt(msgspec.Struct, frozen=True):
    """One step of the ladder.

    Attributes:
        step: its name.
        outcome: what came of it.
        seconds: it took, the look at the board included.
        why: it failed, or is not possible.
    """

    step: str
    outcome: Outcome
    seconds: float
    why: str = ""

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"{self.step} {self.outcome}{why} ({self.seconds:.1f} s)"


class Recovery(msgspec.Struct, frozen=True):
    """What became of a board.

    Attributes:
        board: which one.
        attempts: each step that was looked at, in order.
        helped: the one that helped; empty: none did, and the board is in quarantine.
    """

    board: str
    attempts: tuple[Attempt, ...]
    helped: str

    def __str__(self) -> str:
        end = f"{self.board} is back after: {self.helped}" if self.helped else f"{self.board} was put into quarantine"
        return "; ".join([*map(str, self.attempts), end])


Remedy: TypeAlias = Callable[[], object] | str
"""What a step does, or why it cannot be done."""
Step: TypeAlias = tuple[str, Callable[[Remedies], Remedy]]


def _reboot(remedies: Remedies) -> Remedy:
    return remedies.reboot or "no gateway can tell it"


def _reset(remedies: Remedies) -> Remedy:
    return remedies.reset or "its port has no lines"


def _watchdog(remedies: Remedies) -> Remedy:
    return remedies.watchdog_reset or "esptool cannot reach it"


def _power(remedies: Remedies) -> Remedy:
    power = remedies.power
    if power is None or power.kind == "none":
        return "it has no supply that can be switched"
    return power.cycle if power.trusted else f"its supply ({power.kind}) was never probed"


def _reflash(remedies: Remedies) -> Remedy:
    return remedies.reflash or "nothing is known that belongs on it"


LADDER: tuple[Step, ...] = (
    ("gateway reboot", _reboot),
    ("EN reset", _reset),
    ("watchdog reset", _watchdog),
    ("power cycle", _power),
    ("erase and reflash", _reflash),
)
"""The steps in their order. Each costs more than the one before: a second, a second, five, five, a minute."""


def recover(
    board: str,
    remedies: Remedies,
    answers: Callable[[], bool],
    health: Health,
    *,
    why: str,
    test: str = "",
    watch: Callable[[Attempt], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Recovery:
    """Climb the ladder until the board answers; put it into quarantine if it never does.

    Args:
        board: its id.
        remedies: what can be done to it.
        answers: looks whether the board is well, with a deadline of its own; an error of the harness is a no.
        health: its history, where each step and the end are noted.
        why: what was wrong with it, for the history.
        test: which noticed it, for the history.
        watch: is shown each step when it is over.
        clock: seconds, for what a step took.
    """
    attempts: list[Attempt] = []
    for step, find in LADDER:
        attempt = _tried(step, find(remedies), answers, clock)
        attempts.append(attempt)
        _log.info("%s: %s", board, attempt)
        watch(attempt)
        if attempt.outcome != "not possible":
            health.recovery(board, str(attempt), test)
        if attempt.outcome == "helped":
            return Recovery(board, tuple(attempts), step)
    health.quarantine(board, f"{why}; " + "; ".join(f"{one.step} {one.outcome}" for one in attempts), test)
    _log.warning("%s is quarantined: %s", board, why)
    return Recovery(board, tuple(attempts), "")


def _tried(step: str, remedy: Remedy, answers: Callable[[], bool], clock: Callable[[], float]) -> Attempt:
    if isinstance(remedy, str):
        return Attempt(step, "not possible", 0.0, remedy)
    began = clock()
    try:
        if remedy() is False:
            return Attempt(step, "not possible", clock() - began, "the device is not connected")
    except (HarnessError, OSError) as error:
        return Attempt(step, "failed", clock() - began, printable(error, WHY_CHARACTERS))
    try:
        outcome: Outcome = "helped" if answers() else "did not help"
        why = ""
    except (HarnessError, OSError) as error:
        outcome, why = "did not help", printable(error, WHY_CHARACTERS)
    return Attempt(step, outcome, clock() - began, why)
