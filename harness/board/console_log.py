"""The file that a console's lines are written to, with their times and without secrets."""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from harness.board.console_lines import Line, LineKind
from harness.redaction import Redactor

MARKS: dict[LineKind, str] = {"said": " ", "written": ">", "gap": "-", "note": "-"}
"""Before each line, by who made it: the board, we, nobody, we."""

_logger = logging.getLogger(__name__)


class ConsoleLog:
    """Appends lines to a file; each has the seconds since it was begun. A file that cannot be written is given up.

    Args:
        path: of the file; its directory is made.
        name: of the board, for the first line.
        redactor: masks secrets.
    """

    def __init__(self, path: Path, name: str, redactor: Redactor) -> None:
        self._path = path
        self._name = name
        self._redactor = redactor
        self._began = 0.0
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        self._given_up = False

    def write(self, line: Line) -> None:
        """Append one line; opens the file, if it is not open."""
        with self._lock:
            if self._given_up:
                return
            try:
                file = self._file or self._open(line.at)
                file.write(f"{line.at - self._began:11.4f} {MARKS[line.kind]} {self._redactor(line.text)}\n")
                file.flush()
            except OSError as error:
                self._given_up = True
                _logger.error("the console log %s is given up: %s", self._path, error)  # noqa: TRY400 - no traceback
                self._close()

    def close(self) -> None:
        """Close the file; idempotent, and the next line opens it again."""
        with self._lock:
            self._close()

    def _open(self, at: float) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
        self._began = at
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._file.write(f"---- {self._name}, {now}, times are seconds since its first line\n")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # it tries once more to write what it could not
                file.close()
