"""Watches a console for crashes, and tells whoever waits for a line of it at once, with the crash decoded.

From the first line of a crash on nobody is told that a later line came: the board may have started again by then, and
say what was waited for. When the crash is told to its end, or nothing more comes, it is raised where it was waited.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from harness.board.console_lines import Line
from harness.board.crash_report import CrashReport
from harness.board.crashes import CrashParser, Notice
from harness.board.errors import BoardCrashed
from harness.board.line_record import Alarm, LineRecord
from harness.board.resets import BootLoop

QUIET = 2.0
"""Seconds without a line after which a crash is over: a panic prints without a pause, at 115200 baud for up to 1 s."""
DECODED = 20.0
"""Seconds that are waited for a decoder when watching ends."""
KEPT = 100
"""Crashes and boot loops that are remembered."""
_LOOK = 0.02  # seconds between two looks whether a crash is complete

_logger = logging.getLogger(__name__)


class CrashWatch:
    """Watches one console; `close` ends it.

    Args:
        board: its id.
        console: that is watched.
        describe: says a crash in words, decoded if it can; is called in a thread of its own, for decoders are slow.
        tell: is told each crash, in that thread, with what is raised where a line is waited for, before it is; None:
            nothing is, for it was allowed, or the firmware went on.

    Attributes:
        crashes: that were seen, the last ones, oldest first; those that did not end the firmware, too.
        boot_loops: likewise.
    """

    def __init__(
        self,
        board: str,
        console: LineRecord,
        *,
        describe: Callable[[CrashReport], str] = str,
        tell: Callable[[CrashReport, BoardCrashed | None], None] = lambda *_: None,
    ) -> None:
        self.crashes: deque[CrashReport] = deque(maxlen=KEPT)
        self.boot_loops: deque[BootLoop] = deque(maxlen=KEPT)
        self._board = board
        self._console = console
        self._describe = describe
        self._tell = tell
        self._parser = CrashParser()
        self._lock = threading.Lock()
        self._alarm: Alarm | None = None  # of the crash that is under way
        self._excused = False  # that one began where it was allowed
        self._heard_at = 0.0
        self._over: threading.Timer | None = None
        self._tellers: list[threading.Thread] = []
        self._allowed = 0
        self._detach = console.watch(self._see)

    def close(self) -> None:
        """Watch no more; a crash that is not complete is taken as it is. Idempotent."""
        self._detach()
        with self._lock:
            self._take(self._parser.flush())
            tellers = tuple(self._tellers)
        for teller in tellers:
            teller.join(DECODED)

    def await_end(self, begins: float, ends: float) -> None:
        """Wait until a crash is complete and was told on; what it breaks may be noticed before its first line.

        Args:
            begins: seconds for one to begin.
            ends: seconds for one that has begun.
        """
        seen, began = len(self.crashes), time.monotonic()
        while True:
            with self._lock:
                under_way = self._parser.under_way or any(teller.is_alive() for teller in self._tellers)
            waited = time.monotonic() - began
            if len(self.crashes) > seen and not under_way:
                return
            if waited > (ends if under_way else begins):
                return
            time.sleep(_LOOK)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[deque[CrashReport]]:
        """Raise no crash that begins in here, and give those that were seen: the test is about them."""
        self._allow(1)
        try:
            yield self.crashes
        finally:
            self._allow(-1)

    def _allow(self, more: int) -> None:
        with self._lock:
            self._allowed += more

    def _see(self, line: Line) -> None:
        if line.kind != "said":
            return
        with self._lock:
            self._heard_at = time.monotonic()
            self._take(self._parser.feed(line.text, line.at))
            if not self._parser.under_way:
                return
            if self._alarm is None and not self._excused:
                self._excused = self._allowed > 0
                self._alarm = None if self._excused else self._console.alarm(line.number)
            if self._over is None:
                self._look_after(QUIET)

    def _look_after(self, seconds: float) -> None:
        self._over = threading.Timer(seconds, self._look)
        self._over.daemon = True
        self._over.start()

    def _look(self) -> None:
        """Take a crash as complete when nothing has come for a while; else look again."""
        with self._lock:
            self._over = None
            if not self._parser.under_way:
                return
            left = self._heard_at + QUIET - time.monotonic()
            if left > 0:
                self._look_after(left)
            else:
                self._take(self._parser.flush())

    def _take(self, notices: list[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, BootLoop):
                self.boot_loops.append(notice)
            elif isinstance(notice, CrashReport):
                self._hand_over(notice)
        if not self._parser.under_way and self._over is not None:
            self._over.cancel()
            self._over = None

    def _hand_over(self, report: CrashReport) -> None:
        alarm, self._alarm = self._alarm, None
        excused = self._excused or (alarm is None and self._allowed > 0)  # one that ended with the line it began with
        self._excused = False
        teller = threading.Thread(target=self._raise, args=(report, alarm, excused), name=f"crash of {self._board}")
        self._tellers = [thread for thread in self._tellers if thread.is_alive()]
        self._tellers.append(teller)
        teller.start()

    def _raise(self, report: CrashReport, alarm: Alarm | None, excused: bool) -> None:
        self.crashes.append(report)
        error: BoardCrashed | None = None
        try:
            if report.fatal and not excused:
                before = [line.text for line in self._console.lines() if alarm is None or line.number < alarm.number]
                error = BoardCrashed(self._board, report.kind, self._in_words(report), before)
            self._tell(report, error)
        finally:
            if alarm is not None:
                self._console.settle(alarm, error)

    def _in_words(self, report: CrashReport) -> str:
        try:
            return self._describe(report)
        except Exception:
            # the rim: a decoder of somebody else's, on whatever a board printed, must not hide the crash
            _logger.exception("a crash of %s could not be decoded", self._board)
            return f"{report}\n(it could not be decoded; the log says why)"
