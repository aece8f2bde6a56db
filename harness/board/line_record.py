"""What was said on a console, in order: kept, shown to who watches, and waited for. No port, and no thread."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from harness.board.console_lines import Line, LineKind, LineSplitter, Said
from harness.board.console_log import ConsoleLog
from harness.board.errors import LineMissing, PortFailed
from harness.errors import HarnessError

KEPT = 20_000
"""Lines in memory: half an hour of firmware that logs ten in a second; the log file has all."""
EXPECT = 10.0
"""Seconds to wait for a line by default: a boot with Wi-Fi takes 3 to 6."""

State: TypeAlias = Literal["closed", "open", "paused", "away", "lost"]
Watcher: TypeAlias = Callable[[Line], None]
Wanted: TypeAlias = str | re.Pattern[str] | Callable[[Line], bool]

_logger = logging.getLogger(__name__)


class Alarm:
    """Something that went wrong at a line, and is to be told to who waits for a later one.

    Attributes:
        number: of the line.
        settled: it is known what went wrong; until then, who gets to the line waits.
        error: to raise; None once it is settled: it was nothing.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.settled = False
        self.error: HarnessError | None = None


class LineRecord:
    """The lines of one console; calls may come from any thread.

    Args:
        name: of the board, for errors and logs.
        log: a file that all lines are appended to.

    Attributes:
        name: of the board.
        dropped: lines that are not kept any more.
        state: of the console's port: ``closed``; ``open``; ``paused``: another program has it; ``away``: it vanished,
            and is looked for; ``lost``: it did not come back in time.
    """

    def __init__(self, name: str, log: ConsoleLog | None) -> None:
        self.name = name
        self.dropped = 0
        self.state: State = "closed"
        self._log = log
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._news = threading.Condition(threading.RLock())
        self._watchers: list[Watcher] = []
        self._alarms: list[Alarm] = []
        self._lost: PortFailed | None = None
        self._expected_up_to = 0
        self._splitter = LineSplitter()

    def note(self, text: str) -> None:
        """Write down what is done to the board, among its lines."""
        self._add("note", text)

    def _take(self, data: bytes) -> None:
        for said in self._splitter.feed(data, time.monotonic()):
            self._append("said", said)

    def _flush(self) -> None:
        if rest := self._splitter.flush():
            self._append("said", rest)

    def _add(self, kind: LineKind, text: str) -> None:
        self._append(kind, Said(time.monotonic(), text))

    def _append(self, kind: LineKind, said: Said) -> None:
        with self._news:
            line = Line(self.position, said.at, kind, said.text, said.colour, said.cut)
            self.dropped += len(self._lines) == KEPT
            self._lines.append(line)
            self._news.notify_all()
            watchers = tuple(self._watchers)
        if self._log:
            self._log.write(line)
        for watcher in watchers:
            self._show(watcher, line)

    def _show(self, watcher: Watcher, line: Line) -> None:
        try:
            watcher(line)
        except Exception:
            # the rim: a watcher of somebody else's must not end the reader, and must not go unheard
            _logger.exception("a watcher of %s's console failed, and is not shown further lines", self.name)
            self._detach(watcher)

    # --- what was said ------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The number that the next line will have."""
        with self._news:
            return self.dropped + len(self._lines)

    def lines(self, since: int = 0) -> tuple[Line, ...]:
        """Return the lines that are kept, from a number on, oldest first."""
        with self._news:
            return tuple(itertools.islice(self._lines, max(since - self.dropped, 0), None))

    def tail(self, count: int = 15) -> list[str]:
        """Return the text of the last lines, gaps and the unfinished line included."""
        with self._news:
            shown = [_shown(line) for line in self.lines(self.position - count)]
            return shown + ([rest] if (rest := self._splitter.unfinished) else [])

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Show each line to somebody as it comes, in order; return what ends it.

        It is called in the reader's thread (gaps and notes: in the thread that makes them), and must be quick: nothing
        is read meanwhile.
        """
        with self._news:
            self._watchers.append(watcher)
        return lambda: self._detach(watcher)

    def _detach(self, watcher: Watcher) -> None:
        with self._news, contextlib.suppress(ValueError):
            self._watchers.remove(watcher)

    def expect(self, wanted: Wanted, timeout: float = EXPECT, *, since: int | None = None) -> Line:
        """Wait for a line that the board says, and return it; one that it has said already will do.

        Args:
            wanted: a text that is in the line, a regular expression that is found in it, or a test of it.
            timeout: in seconds.
            since: number of the first line that is looked at (`position`); None: behind the one that was expected last.

        Raises:
            LineMissing: it did not come in time, or the console was closed.
            BoardCrashed, PortFailed: what happened while it was waited for.
        """
        with self._news:
            first = self._expected_up_to if since is None else since
            line = self._await(wanted, timeout, first)
            self._expected_up_to = max(line.number + 1, self._expected_up_to if since is None else 0)
            return line

    def _await(self, wanted: Wanted, timeout: float, first: int) -> Line:
        began, at = time.monotonic(), first
        while True:
            for line in self.lines(at):
                if self._alarmed(first, line.number):
                    break
                at = line.number + 1
                if line.kind == "said" and holds(wanted, line):
                    return line
            if not self._alarmed(first, at) and self.state == "lost" and self._lost is not None:
                raise self._lost
            left = began + timeout - time.monotonic()
            ending = "the console was closed" if self.state == "closed" else "it had not come" if left <= 0 else ""
            if ending:
                raise self._missing(wanted, time.monotonic() - began, ending, first)
            self._news.wait(left)

    def _missing(self, wanted: Wanted, seconds: float, ending: str, first: int) -> LineMissing:
        gaps = [line.text for line in self.lines(first) if line.kind == "gap"]
        if not gaps and self.state in {"paused", "away", "lost"}:
            gaps.append(f"the console is {self.state}")
        if first < self.dropped:
            gaps.append(f"{self.dropped - first} lines are not kept any more")
        return LineMissing(f"{self.name}'s console", in_words(wanted), seconds, ending, self.tail(), gaps)

    # --- alarms -------------------------------------------------------------------------------------------------

    def alarm(self, number: int) -> Alarm:
        """Have everybody who waits for a line, and gets to this one without having found it, wait for `settle`."""
        with self._news:
            self._alarms.append(alarm := Alarm(number))
            return alarm

    def settle(self, alarm: Alarm, error: HarnessError | None) -> None:
        """Say what an alarm was about: the error is raised where the line was waited for, and wherever it will be."""
        with self._news:
            alarm.settled, alarm.error = True, error
            if error is None and alarm in self._alarms:
                self._alarms.remove(alarm)
            self._news.notify_all()

    def calm(self) -> None:
        """Forget the alarms so far: what they were about has been dealt with."""
        with self._news:
            self._alarms.clear()
            self._news.notify_all()

    def _alarmed(self, first: int, last: int) -> bool:
        """Raise what alarms from a line to a line were about; return whether there is one that is not known yet."""
        found = [alarm for alarm in self._alarms if first <= alarm.number <= last]
        for alarm in found:
            if alarm.error is not None:
                raise alarm.error
        return bool(found)


def holds(wanted: Wanted, line: Line) -> bool:
    """Tell whether a line is what is wanted."""
    if isinstance(wanted, str):
        return wanted in line.text
    return wanted.search(line.text) is not None if isinstance(wanted, re.Pattern) else wanted(line)


def in_words(wanted: Wanted) -> str:
    """Say what is wanted."""
    if isinstance(wanted, str):
        return wanted
    return (
        f"/{wanted.pattern}/"
        if isinstance(wanted, re.Pattern)
        else getattr(wanted, "__name__", "what is wanted").replace("_", " ")
    )


_MARKS: dict[LineKind, str] = {"said": "", "written": "> ", "gap": "-- ", "note": "-- "}


def _shown(line: Line) -> str:
    return _MARKS[line.kind] + line.text
