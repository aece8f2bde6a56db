"""Faults of the wire that strike one command of the serial protocol: lost, or heard with a wrong bit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from harness.errors import Misuse
from harness.virtual.serial_protocol import Command

Kind: TypeAlias = Literal["drop", "corrupt"]


class CommandFaults:
    """The faults that are asked for; each strikes once. Any thread may call.

    Args:
        struck: is told in words of a fault that came to pass.
    """

    def __init__(self, struck: Callable[[str], None]) -> None:
        self._struck = struck
        self._lock = threading.Lock()
        self._asked: list[tuple[Kind, int, int]] = []  # kind, command, how many more of it pass until it strikes

    def ask(self, kind: Kind, op: int, nth: int) -> None:
        """Have the nth command ``op`` from now on dropped or corrupted.

        Raises:
            Misuse: there is no nth.
        """
        if nth < 1:
            raise Misuse(f"expected the first command or a later one, got number {nth}")
        with self._lock:
            self._asked.append((kind, op, nth))

    def hear(self, command: Command) -> Command | None:
        """Return what arrives of a command; None: nothing."""
        strikes = self._count(command.op)
        for kind in strikes:
            self._struck(f"{kind}: command {command.op:#04x} with {len(command.data)} bytes of data")
        if "drop" in strikes:
            return None
        return _with_wrong_bit(command) if "corrupt" in strikes else command

    def _count(self, op: int) -> list[Kind]:
        with self._lock:
            strikes: list[Kind] = [kind for kind, wanted, left in self._asked if wanted == op and left == 1]
            counted = [(kind, wanted, left - (wanted == op)) for kind, wanted, left in self._asked]
            self._asked = [fault for fault in counted if fault[2] > 0]
        return strikes


def _with_wrong_bit(command: Command) -> Command:
    """Flip the last bit of its data, or of its checksum where it has none: what a checksum covers comes last."""
    if not command.data:
        return msgspec.structs.replace(command, checksum=command.checksum ^ 1)
    return msgspec.structs.replace(command, data=command.data[:-1] + bytes([command.data[-1] ^ 1]))
