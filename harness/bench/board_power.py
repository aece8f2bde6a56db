"""The supply of a held board, for tests: switched with all that the board, and who waits for it, goes through then."""

from __future__ import annotations

from collections.abc import Callable

from harness.bench.bench_file import PowerKind
from harness.board.power import Power


class BoardPower(Power):
    """The calls of `Power`; after them the board is off, or online again.

    Args:
        supply: what is switched.
        off: takes the board's power.
        on: gives it power, and waits until it is online.
    """

    def __init__(self, supply: Power, off: Callable[[], None], on: Callable[[], None]) -> None:
        self._supply = supply
        self._off = off
        self._on = on

    @property
    def kind(self) -> PowerKind:
        """As in the bench file."""
        return self._supply.kind

    @property
    def trusted(self) -> bool:
        """Whether someone saw that it makes this board dark."""
        return self._supply.trusted

    def off(self) -> None:
        """Take its power, so that nobody is told."""
        self._off()

    def on(self) -> None:
        """Give it power, and wait until it is online again."""
        self._on()

    def cycle(self) -> None:
        """Both, one after the other."""
        self.off()
        self.on()
