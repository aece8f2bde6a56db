"""Makes the supply that a bench file describes."""

from __future__ import annotations

from collections.abc import Callable

from harness.bench.bench_file import BoardConfig
from harness.bench.rig_control import RigControl
from harness.board.person import Person
from harness.board.power import EnLine, IsSilent, NoSupply, Power, VirtualSupply
from harness.board.switching import ShellCommand, Uhubctl
from harness.errors import Misuse


def supply_of(
    board: BoardConfig, *, hold_en: Callable[[bool], None] | None = None, is_silent: IsSilent | None = None
) -> Power:
    """Make the supply of a board.

    Args:
        board: as in the bench file.
        hold_en: holds EN low (true), or lets it go; needed for a supply of kind ``en`` only.
        is_silent: listens to the console after the supply was switched off.
    """
    config = board.power
    if config.kind == "en":
        if hold_en is None:
            raise Misuse(f"expected the reset lines of {board.id}, which its supply is switched by")
        return EnLine(board.id, config, hold_en, is_silent)
    if config.kind == "virtual":
        return VirtualSupply(board.id, config, RigControl(board).power)
    made = {"uhubctl": Uhubctl, "shell": ShellCommand, "person": Person}.get(config.kind)
    return made(board.id, config, is_silent) if made else NoSupply(board.id)
