"""Looks whether each board of a bench is as its file says: who answers, what the console says, what feeds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.bench.bench_file import Bench, BoardConfig
from harness.bench.health import Health
from harness.bench.identifying import Identify, call_for, console_port, identify
from harness.bench.leases import Leases
from harness.bench.scan import AT_ONCE
from harness.bench.tables import table
from harness.board.console import Console
from harness.board.errors import FlashFailed, LineMissing, PortFailed
from harness.board.power import PowerFailed, Supply
from harness.board.reset_lines import ResetLines
from harness.board.supplies import supply_of
from harness.errors import Misuse
from harness.firmware.chips import CHIPS

LISTEN = 4.0
"""Seconds to wait for a line after a reset: a ROM speaks within 0.1 s; a port on a chip's own USB is back in 2."""
WHY_CHARACTERS = 300
"""Of what an error, or a quarantine, says."""
ASPECTS = ("port", "chip", "MAC", "flash", "console", "power")
"""What is looked at, in the order in which one fault hides the next."""

# A ROM's first line; its reset cause; a line of ESP-IDF's log.
_SENSE = re.compile(r"^(ESP-ROM:|ets [A-Z]|rst:0x|[EWIDV] \(\d+\) )")
_SIZE = re.compile(r"flash:(\d+)M")
_GARBLED = 0.2  # of the characters that came: text has none, another baud rate makes at least half of them so

Mark: TypeAlias = Literal["ok", "WRONG", "note", ""]


class Finding(msgspec.Struct, frozen=True):
    """What was found out about one aspect of a board.

    Attributes:
        mark: ``note`` is worth to be read, and no fault.
        text: what is wrong, and what to do.
    """

    mark: Mark
    text: str = ""


class Checked(msgspec.Struct, frozen=True):
    """What was found out about a board.

    Attributes:
        board: which one.
        state: ``free``, ``held by …``, or ``quarantined``.
        findings: by aspect; what could not be looked at is not there.
        remedy: what to do about the state, if anything.
    """

    board: BoardConfig
    state: str
    findings: dict[str, Finding]
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something is the matter with the board; that somebody has it is not."""
        return bool(self.remedy) or any(finding.mark == "WRONG" for finding in self.findings.values())


Listen: TypeAlias = Callable[[BoardConfig], Finding]


def check(bench: Bench, *, ask: Identify = identify, listen: Listen | None = None) -> list[Checked]:
    """Look at every board that nobody holds, several at once; each is reset by it.

    Args:
        bench: the rig.
        ask: asks a chip who it is.
        listen: finds out about a console; None: by a reset.
    """
    leases, health = Leases(bench.lock_dir), Health(bench.state_dir)

    def look(board: BoardConfig) -> Checked:
        lease = leases.take(board, "wsdevice boards check")
        if lease is None:
            return Checked(board, f"held by {leases.holder_of(board.id) or 'somebody'}", {})
        with lease:
            findings = _look(board, ask, listen or _listen)
        quarantine = health.of(board.id).quarantine
        if quarantine is None:
            return Checked(board, "free", findings)
        clear = f"wsdevice boards clear {board.id} --bench {bench.source}"
        remedy = f"{printable(quarantine.text, WHY_CHARACTERS)}; once it is well: {clear}"
        return Checked(board, "quarantined", findings, remedy)

    with ThreadPoolExecutor(AT_ONCE, "check") as threads:
        return list(threads.map(look, bench.boards))


def _look(board: BoardConfig, ask: Identify, listen: Listen) -> dict[str, Finding]:
    found = {"power": _power(board)}
    try:
        identity = ask(call_for(board))
    except (PortFailed, FlashFailed, Misuse) as error:
        return found | {"port": Finding("WRONG", printable(str(error).partition("\n")[0], WHY_CHARACTERS))}
    found["port"] = Finding("ok")
    found["chip"] = _same("chip", CHIPS[board.chip].title, CHIPS[identity.chip].title)
    found["MAC"] = _same("MAC", board.mac, identity.mac)
    found["flash"] = _flash(board, identity.flash)
    found["console"] = listen(board)
    return found


def _same(what: str, expected: str, got: str) -> Finding:
    if expected == got:
        return Finding("ok")
    advice = "were boards swapped? 'wsdevice boards scan' tells which one is where"
    return Finding("WRONG", f"expected the {what} {expected} of the bench file, found {got}; {advice}")


def _flash(board: BoardConfig, size: int) -> Finding:
    stated = next((int(found[1]) for cap in board.caps if (found := _SIZE.fullmatch(cap))), 0)
    if not size:
        return Finding("note", "its size could not be told")
    if stated and stated != size:
        return Finding("WRONG", f"expected flash:{stated}M of its caps, found {size} MiB")
    return Finding("ok")


def _power(board: BoardConfig) -> Finding:
    if board.power.kind == "none":
        return Finding("")
    if board.power.kind not in {"uhubctl", "shell"}:
        return Finding("ok")
    supply = supply_of(board)
    assert isinstance(supply, Supply)
    try:
        if supply.is_on() is False:
            return Finding("WRONG", "it is switched off")
    except PowerFailed as error:
        return Finding("WRONG", printable(error.why, WHY_CHARACTERS))
    if not supply.trusted:
        return Finding(
            "note",
            "recovery does not use it: switch it off, see the board go dark, and write the day into power.probed",
        )
    return Finding("ok")


def _listen(board: BoardConfig) -> Finding:
    """Reset a board and read what it says."""
    console = Console(board.id, lambda: console_port(board.console), baud=board.console.baud)
    can_reset = False
    try:
        with console:
            lines = ResetLines(board.id, console, board.flash.reset if board.flash.via == "console" else "classic")
            can_reset = lines.can_reset
            if can_reset:
                lines.reset()
            console.expect(_SENSE, timeout=LISTEN)
    except LineMissing:
        said = [line.text for line in console.lines() if line.kind == "said"]
        return heard_nothing(said, board, was_reset=can_reset)
    except PortFailed as error:
        return Finding("WRONG", printable(error.why, WHY_CHARACTERS))
    return Finding("ok")


def heard_nothing(said: Sequence[str], board: BoardConfig, *, was_reset: bool) -> Finding:
    """Judge a console on which no line made sense."""
    text = "".join(said)
    if not text:
        if not was_reset:
            return Finding("note", f"it said nothing for {LISTEN:g} s, and cannot be reset through its port")
        return Finding("WRONG", f"nothing came for {LISTEN:g} s after a reset; do its TX and RTS reach this port?")
    if text.count("\\x") * len("\\x00") > _GARBLED * len(text):
        return Finding("WRONG", f"what comes is no text; is {board.console.baud} its baud rate (console.baud)?")
    return Finding("note", f"no line of a ROM or of ESP-IDF among what came: {printable(said[-1], 60)}")


# --- what is shown --------------------------------------------------------------------------------------------


def report(checked: Sequence[Checked]) -> str:
    """Make the table, and below it what is wrong and what to do."""
    head = ("board", "type", *ASPECTS, "state")
    rows = [
        (one.board.id, one.board.chip, *(_mark(one.findings.get(aspect)) for aspect in ASPECTS), one.state)
        for one in checked
    ]
    todo = [line for one in checked for line in _todo(one)]
    return table(head, rows) + ("\n" + "\n".join(todo) + "\n" if todo else "")


def _mark(finding: Finding | None) -> str:
    return "?" if finding is None else finding.mark or "-"


def _todo(one: Checked) -> list[str]:
    lines = [
        f"{one.board.id}: {aspect}: {one.findings[aspect].text}"
        for aspect in ASPECTS
        if aspect in one.findings and one.findings[aspect].text
    ]
    return [*lines, *([f"{one.board.id}: quarantined: {one.remedy}"] if one.remedy else [])]
