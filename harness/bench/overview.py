"""Shows the boards of a bench without touching them: what they are, who has them, what went wrong of late."""

from __future__ import annotations

from datetime import datetime

from gateway.identity import printable
from harness.bench.bench_file import Bench
from harness.bench.health import BoardHealth, Health
from harness.bench.leases import Leases
from harness.bench.tables import table

TEXT_CHARACTERS = 60
"""Of the last fault, in a line of its own width."""


def overview(bench: Bench) -> str:
    """Make the table: id, chip, MAC, state, rig faults of the last day, the last one."""
    leases, health = Leases(bench.lock_dir), Health(bench.state_dir)
    rows = []
    for board in bench.boards:
        holder, state = leases.holder_of(board.id), health.of(board.id)
        rows.append(
            (
                board.id,
                f"{board.chip} (virtual)" if board.virtual else board.chip,
                board.mac,
                f"held by {holder}" if holder else _quarantine(state),
                str(state.recent_faults),
                _last_fault(state),
            )
        )
    return table(("board", "chip", "MAC", "state", "faults", "last fault"), rows)


def _quarantine(state: BoardHealth) -> str:
    return f"quarantined: {printable(state.quarantine.text, TEXT_CHARACTERS)}" if state.quarantine else "free"


def _last_fault(state: BoardHealth) -> str:
    last = next((event for event in reversed(state.events) if event.kind == "rig_fault"), None)
    if last is None:
        return ""
    day = datetime.fromtimestamp(last.at).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{day} {printable(last.text, TEXT_CHARACTERS)}"
