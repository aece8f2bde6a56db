"""A board's console as one test has it: what was said since the test began, in the order in which it asks for it."""

from __future__ import annotations

from collections.abc import Callable

from harness.board.console import Console
from harness.board.console_lines import Line
from harness.board.line_record import EXPECT, Wanted, Watcher


class ConsoleView:
    """The console from one moment on; what the harness itself waits for on it does not move it on.

    Args:
        console: of the board.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = console.position

    def expect(self, wanted: Wanted, timeout: float = EXPECT, *, since: int | None = None) -> Line:
        """Wait for a line that the board says, and return it; one that it has said already will do.

        Args:
            wanted: a text that is in the line, a regular expression that is found in it, or a test of the line.
            timeout: in seconds.
            since: number of the first line that is looked at; None: behind the one that was expected last, here.

        Raises:
            LineMissing: it did not come in time, or the console was closed.
            BoardCrashed, PortFailed: what happened while it was waited for.
        """
        line = self._console.expect(wanted, timeout, since=self._next if since is None else since)
        if since is None:
            self._next = line.number + 1
        return line

    def write_line(self, text: str) -> None:
        """Put a line on the UART; may block as long as the port does."""
        self._console.write_line(text)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Show each line from now on; see `Console.watch`."""
        return self._console.watch(watcher)

    @property
    def position(self) -> int:
        """The number that the next line will have."""
        return self._console.position

    def lines(self, since: int = 0) -> tuple[Line, ...]:
        """Return the lines that are kept, from a number on, oldest first; from 0 on: since the port was opened."""
        return self._console.lines(since)

    def tail(self, count: int = 15) -> list[str]:
        """Return the text of the last lines, gaps and the unfinished line included."""
        return self._console.tail(count)
