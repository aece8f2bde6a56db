"""Which board a test gets, and why it gets none."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence

from gateway.identity import printable
from harness.bench import capabilities
from harness.bench.bench_file import Bench, BoardConfig
from harness.bench.errors import NoBoardFree, NothingMatches
from harness.bench.health import BoardHealth, Health
from harness.bench.leases import Lease, Leases
from harness.errors import Misuse
from harness.firmware.chips import chip_named

WAIT = 600.0
"""Seconds to wait for a board that others hold: a test that flashes, boots and talks takes one or two minutes."""
POLL = 0.2
"""Seconds between two looks: the kernel does not tell who waits with a deadline that a lock is free."""


def choose(
    bench: Bench,
    leases: Leases,
    health: Health,
    chip: str | None = None,
    caps: Sequence[str] = (),
    *,
    ids: Collection[str] | None = None,
    test: str = "",
    wait: float = WAIT,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take a board: of those that match and are free, the one with the fewest recent rig faults, by file order.

    Args:
        bench: the rig.
        leases: of its boards.
        health: of its boards.
        chip: of which kind; None: any.
        caps: what it must have.
        ids: only these; None: any.
        test: for whom, as others are told.
        wait: seconds to wait for a board that others hold.
        sleep: waits between two looks.

    Raises:
        NothingMatches: no board can be it, however long one waits: at once.
        NoBoardFree: others held those that match until the time was over.
        Misuse: a chip, a capability or an id that nobody knows.
    """
    wanted = _in_words(chip, caps, ids)
    _check(bench, caps, ids)
    kind = chip_named(chip).name if chip else None
    began = time.monotonic()
    while True:
        states = [(board, health.of(board.id)) for board in bench.boards]
        because = {board.id: why for board, state in states if (why := _unfit(bench, board, state, kind, caps, ids))}
        fit = [(board, state) for board, state in states if board.id not in because]
        for board, _ in sorted(fit, key=lambda one: one[1].recent_faults):  # sorted keeps the order of equals
            if lease := leases.take(board, test):
                return lease
        own = _note_holders([board for board, _ in fit], leases, because)
        if own == len(fit):  # none fits, or this very process has them all
            raise NothingMatches(wanted, because)
        waited = time.monotonic() - began
        if waited >= wait:
            raise NoBoardFree(wanted, because, waited)
        sleep(min(POLL, wait - waited))


def free_boards(bench: Bench, leases: Leases | None = None, health: Health | None = None) -> tuple[BoardConfig, ...]:
    """Return the boards that nobody holds and that are not in quarantine, as far as one can know a moment later."""
    leases = leases or Leases(bench.lock_dir)
    health = health or Health(bench.state_dir)
    return tuple(
        board for board in bench.boards if health.of(board.id).quarantine is None and leases.holder_of(board.id) is None
    )


def matching(
    bench: Bench, chip: str | None = None, caps: Sequence[str] = (), ids: Collection[str] | None = None
) -> tuple[BoardConfig, ...]:
    """Return the boards that could be it, held or not, quarantined or not.

    Raises:
        Misuse: a chip, a capability or an id that nobody knows.
    """
    _check(bench, caps, ids)
    kind = chip_named(chip).name if chip else None
    return tuple(board for board in bench.boards if not any(_mismatches(board, kind, caps, ids)))


def _check(bench: Bench, caps: Sequence[str], ids: Collection[str] | None) -> None:
    for cap in caps:
        if not capabilities.is_capability(cap):
            meant = capabilities.meant(cap)
            question = f"; did you mean {meant}?" if meant else ""
            raise Misuse(f"expected a capability of boards, got {cap!r}{question}")
    for board_id in ids or ():
        bench.board(board_id)


def _unfit(
    bench: Bench,
    board: BoardConfig,
    state: BoardHealth,
    chip: str | None,
    caps: Sequence[str],
    ids: Collection[str] | None,
) -> str:
    """Say why a board cannot be it; empty: it can."""
    mismatches = ", ".join(_mismatches(board, chip, caps, ids))
    if mismatches:
        return mismatches
    if state.quarantine:
        remedy = f"wsdevice boards clear {board.id} --bench {bench.source}"
        return f"quarantined: {printable(state.quarantine.text)} (once it is well: {remedy})"
    return ""


def _mismatches(
    board: BoardConfig, chip: str | None, caps: Sequence[str], ids: Collection[str] | None
) -> Iterator[str]:
    if ids is not None and board.id not in ids:
        yield "not asked for"
    if chip and board.chip != chip:
        yield f"is an {board.chip_facts.title}"
    if missing := [cap for cap in caps if not capabilities.has(board, cap)]:
        had = ", ".join(capabilities.of_board(board)) or "none"
        yield f"has no {', '.join(missing)} (it has: {had})"


def _note_holders(boards: Sequence[BoardConfig], leases: Leases, because: dict[str, str]) -> int:
    """Say of each board who holds it; return how many of them this process does."""
    own = 0
    for board in boards:
        holder = leases.holder_of(board.id)
        if holder is None:
            because[board.id] = "it was held, and has just become free"
        elif leases.is_own(holder):
            own += 1
            because[board.id] = f"held by this process itself, {holder}"
        else:
            because[board.id] = f"held by {holder}"
    return own


def _in_words(chip: str | None, caps: Sequence[str], ids: Collection[str] | None) -> str:
    words = [f"an {chip_named(chip).title}" if chip else "any board"]
    if caps:
        words.append(f"with {', '.join(caps)}")
    if ids is not None:
        words.append(f"of {', '.join(ids)}")
    return " ".join(words)
