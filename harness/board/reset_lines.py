"""EN and IO0 of a board, through DTR and RTS of its console: reset, boot loader, the BOOT button."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

from harness.board.errors import NoLines
from harness.board.reset_sequences import DOWNLOAD, DOWNLOAD_USB, RUN, RUN_USB, Wait, parse

CLICK = 0.1
"""Seconds of a click on BOOT: firmware debounces its buttons over 20 to 50 ms, and takes 1 s or so for a long press."""

Circuit: TypeAlias = Literal["uart", "usb"]
"""How the lines reach the chip: by the two transistors behind a UART bridge, or by the USB port of the chip itself."""


class Movable(Protocol):
    """A port with lines, such as a `Console`.

    Attributes:
        has_lines: they can be moved.
        plays_resets: the server plays whole sequences when it sees the first move of one.
    """

    has_lines: bool
    plays_resets: bool

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Set both."""
        ...


class ResetLines:
    """The lines of one board; calls may come from any thread, and one sequence is played at a time.

    Args:
        board: its id, for errors.
        port: whose lines are moved.
        reset: as in a bench file: ``classic``, ``usb``, ``none``, or ``custom:`` and a sequence that enters the boot
            loader.
        wait: waits so many seconds; tests give another.
    """

    def __init__(
        self, board: str, port: Movable, reset: str = "classic", wait: Callable[[float], None] = time.sleep
    ) -> None:
        self._board = board
        self._port = port
        self._circuit: Circuit = "usb" if reset == "usb" else "uart"
        self._none = reset == "none"
        self._download = reset.removeprefix("custom:") if reset.startswith("custom:") else ""
        self._wait = wait
        self._playing = threading.Lock()

    @property
    def can_reset(self) -> bool:
        """Whether the board can be reset, as far as the port tells: it has lines, and they lead to EN."""
        return self._port.has_lines and not self._none

    @property
    def can_click(self) -> bool:
        """Whether BOOT can be clicked: not through the chip's own USB port, nor a server that makes resets of it."""
        return self.can_reset and self._circuit == "uart" and not self._port.plays_resets

    def reset(self) -> None:
        """Hold EN low for a moment: the chip boots what is on its flash. Returns when EN is let go.

        Raises:
            NoLines: its lines cannot be moved.
            PortBusy, PortVanished: as `Console.set_lines`.
        """
        self._demand(self.can_reset, "to be reset")
        self.play(RUN_USB if self._circuit == "usb" else RUN)

    def enter_download(self) -> None:
        """Reset the chip into its boot loader, where it waits for esptool. Raises as `reset`."""
        self._demand(self.can_reset, "to enter its boot loader")
        self.play(self._download or (DOWNLOAD_USB if self._circuit == "usb" else DOWNLOAD))

    def hold_en(self, hold: bool) -> None:
        """Hold EN low until it is let go, or the port is closed: the chip stands still. Raises as `reset`."""
        self._demand(self.can_reset and not self._port.plays_resets, "to be held in reset")
        with self._playing:
            self._port.set_lines(dtr=False, rts=hold)

    def click_boot(self, seconds: float = CLICK) -> None:
        """Press the BOOT button (IO0) for so long, while the firmware runs. Raises as `reset`.

        xiaozhi firmware takes a click in state ``idle`` for "talk", and in state ``starting`` for "set up the Wi-Fi".
        """
        self._demand(self.can_click, "to have its BOOT button clicked")
        self.play(f"U1,0|W{seconds:.3f}|U0,0")

    def play(self, sequence: str) -> None:
        """Play any sequence; see `harness.board.reset_sequences`.

        Raises:
            BadSequence: it is none; nothing was moved.
        """
        steps = parse(sequence)
        with self._playing:
            for step in steps:
                if isinstance(step, Wait):
                    self._wait(step.seconds)
                else:
                    self._port.set_lines(dtr=step.dtr, rts=step.rts)

    def _demand(self, possible: bool, what: str) -> None:
        if not possible:
            raise NoLines(
                f"expected {self._board} {what} through DTR and RTS of its console; its port has none, they lead "
                "elsewhere, or its server makes resets of its own of them. Use its power, or a button"
            )
