"""The supply of a board: switched off and on, and looked at whether it obeyed.

What a hub or a relay says of itself is not proof: some report "off" while the board lives on. So a supply is looked at
twice, where it can be: it is asked what it did, and the console is listened to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Literal, Protocol

from harness.bench.bench_file import PowerConfig, PowerKind
from harness.bench.errors import RigFailed
from harness.errors import Misuse, WorldError

IsSilent = Callable[[], bool]
"""Listens to a board's console for a moment that is long enough, and tells whether it said nothing."""


class PowerFailed(WorldError):
    """A board could not be switched, or did not obey.

    Attributes:
        board: which one.
        doing: what was tried: ``switch it off``.
        why: what went wrong, and what to do.
    """

    verdict: ClassVar[Literal["rig"]] = "rig"

    def __init__(self, board: str, doing: str, why: str) -> None:
        super().__init__(board, doing, why)
        self.board = board
        self.doing = doing
        self.why = why

    def __str__(self) -> str:
        return f"power of {self.board}: cannot {self.doing}: {self.why}"


class Power(Protocol):
    """The supply of one board; calls block, and come from one thread at a time."""

    @property
    def kind(self) -> PowerKind:
        """As in the bench file."""

    @property
    def trusted(self) -> bool:
        """Whether recovery may count on it: someone saw that it makes this board dark."""

    def off(self) -> None:
        """Switch it off; idempotent.

        Raises:
            PowerFailed: it could not be, or the board does not look as if it were.
            Misuse: the board has no supply that can be switched.
        """

    def on(self) -> None:
        """Switch it on; idempotent. Raises as `off`."""

    def cycle(self) -> None:
        """Switch it off, long enough for its capacitors, and on. Raises as `off`."""


class NoSupply:
    """The supply of a board that has none which could be switched."""

    kind: PowerKind = "none"
    trusted = False

    def __init__(self, board: str) -> None:
        self._board = board

    def off(self) -> None:
        """Raise `Misuse`."""
        raise Misuse(f"{self._board} has no supply that can be switched; its [board.power] in the bench file says so")

    on = cycle = off


class Supply:
    """What all supplies do about switching: look whether it helped.

    Args:
        board: its id, for errors.
        config: as in the bench file.
        is_silent: listens to the console once it is off; None: nobody listens.
        wait: waits so many seconds; tests give another.
    """

    def __init__(
        self,
        board: str,
        config: PowerConfig,
        is_silent: IsSilent | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.board = board
        self.config = config
        self._is_silent = is_silent
        self._wait = wait

    @property
    def kind(self) -> PowerKind:
        """As in the bench file."""
        return self.config.kind

    @property
    def trusted(self) -> bool:
        """Whether recovery may count on it: the bench file says when it was probed."""
        return bool(self.config.probed)

    def off(self) -> None:
        """Switch it off, and look whether it is."""
        self.switch(on=False)
        if self.is_on():
            raise PowerFailed(self.board, "switch it off", "what switches it reports that it is still on")
        if self._is_silent and not self._is_silent():
            raise PowerFailed(
                self.board,
                "switch it off",
                f"{self.kind} reports that it is off, but its console goes on talking: it is fed by another way, or "
                "the switch only says so",
            )

    def on(self) -> None:
        """Switch it on, and look whether it is."""
        self.switch(on=True)
        if self.is_on() is False:
            raise PowerFailed(self.board, "switch it on", "what switches it reports that it is still off")

    def cycle(self) -> None:
        """Switch it off, wait ``off_seconds``, and switch it on, if nobody else has."""
        self.off()
        self._wait(self.config.off_seconds)
        if self.is_on():
            raise PowerFailed(
                self.board,
                "keep it off",
                f"it came back by itself within {self.config.off_seconds:g} s; Linux does that to ports of some hubs: "
                'options = ["-r", "100"] has uhubctl insist',
            )
        self.on()

    # --- for those who know how -------------------------------------------------------------------------------

    def switch(self, *, on: bool) -> None:
        """Do it; PowerFailed where it could not be tried."""
        raise NotImplementedError

    def is_on(self) -> bool | None:
        """Ask what switches it; None: it cannot be asked."""
        return None

    def failed(self, *, on: bool, why: str) -> PowerFailed:
        """Make the error of a switch that could not be tried."""
        return PowerFailed(self.board, "switch it on" if on else "switch it off", why)


class EnLine(Supply):
    """EN held low: the chip stands still as without power, but RTC memory and peripherals keep theirs.

    Args:
        hold_en: holds EN low, or lets it go; raises what the port raises.
    """

    def __init__(
        self,
        board: str,
        config: PowerConfig,
        hold_en: Callable[[bool], None],
        is_silent: IsSilent | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(board, config, is_silent, wait)
        self._hold_en = hold_en

    @property
    def trusted(self) -> bool:
        """Never: it is no supply, and recovery has tried EN before it asks for one."""
        return False

    def switch(self, *, on: bool) -> None:
        """Let EN go, or hold it low."""
        self._hold_en(not on)


class VirtualSupply(Supply):
    """The supply of a virtual board.

    Args:
        order: tells its rig ``off`` or ``on``; returns when it is done.
    """

    def __init__(self, board: str, config: PowerConfig, order: Callable[[Literal["off", "on"]], None]) -> None:
        super().__init__(board, config, wait=lambda _: None)  # no capacitors
        self._order = order

    @property
    def trusted(self) -> bool:
        """Always."""
        return True

    def switch(self, *, on: bool) -> None:
        """Tell its rig."""
        try:
            self._order("on" if on else "off")
        except RigFailed as error:
            raise self.failed(on=on, why=str(error)) from error
