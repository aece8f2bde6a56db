"""A supply that is switched by whoever sits there."""

from __future__ import annotations

import contextlib
import os
import select
import termios
import time
from collections.abc import Callable, Mapping
from typing import Final

from harness.bench.bench_file import PowerConfig
from harness.board.power import IsSilent, Supply

TERMINAL: Final = "/dev/tty"
"""Where people are, whatever a program's input and output are connected to."""
PATIENCE: Final = 10
"""A person may take so many times the seconds that a command may."""
_ANSWER_BYTES: Final = 1024


class Person(Supply):
    """Asks on the terminal to pull the plug, or to put it in; never where nobody is, such as in CI.

    Args:
        environ: has ``CI`` where nobody is; GitHub, GitLab and the others set it.
        terminal: the device to ask on.
    """

    def __init__(
        self,
        board: str,
        config: PowerConfig,
        is_silent: IsSilent | None = None,
        wait: Callable[[float], None] = time.sleep,
        *,
        environ: Mapping[str, str] = os.environ,
        terminal: str = TERMINAL,
    ) -> None:
        super().__init__(board, config, is_silent, wait)
        self._environ = environ
        self._terminal = terminal

    @property
    def trusted(self) -> bool:
        """Never: recovery goes on by itself."""
        return False

    def switch(self, *, on: bool) -> None:
        """Ask, and wait for Enter."""
        if self._environ.get("CI", "").lower() not in {"", "0", "false"}:
            raise self.failed(on=on, why="it takes a person, and in CI there is none (the variable CI is set)")
        try:
            terminal = os.open(self._terminal, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            raise self.failed(on=on, why=f"it takes a person, and there is no terminal: {error.strerror}") from error
        try:
            self._ask(terminal, on=on)
        finally:
            os.close(terminal)

    def _ask(self, terminal: int, *, on: bool) -> None:
        seconds = self.config.seconds * PATIENCE
        what = "give power to" if on else "take the power of"
        with contextlib.suppress(termios.error):  # a device that is no terminal has nothing typed ahead
            termios.tcflush(terminal, termios.TCIFLUSH)  # an Enter of before is no answer to this
        os.write(terminal, f"\r\n>>> Please {what} board {self.board}, then press Enter ({seconds:g} s): ".encode())
        ready, _, _ = select.select([terminal], [], [], seconds)
        if not ready or not os.read(terminal, _ANSWER_BYTES):
            raise self.failed(on=on, why=f"nobody pressed Enter within {seconds:g} s")
