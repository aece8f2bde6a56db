"""What a run of the scenarios leaves behind: one line of JSON for each, written as soon as it is over.

The scenarios are pytest tests and run in a process of their own: the harness works without pytest, a suite that hangs
can be ended, and what pytest does to a process (loops, warnings, exit) is not done to ours. JUnit's XML would be
written at the very end, or, after a kill, never; lines show the progress as it is made, carry timelines and verdicts,
and all that were written count whatever happens later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from harness.report.record import Outcome, Scenario, Verdict

KEPT_ROWS = 3000
"""Of the timeline of a scenario that failed, the last ones: as many as a page draws."""
KEPT_ROWS_PASSED = 200
"""Of one that passed: its exchange is a dozen messages."""


class ScenarioResult(msgspec.Struct, frozen=True):
    """One scenario that is over.

    Attributes:
        name: file and test: ``test_hello.py::test_a_session``.
        doc: its sentence.
        outcome: what came of it.
        seconds: setup and teardown included.
        message: why it failed or was skipped.
        verdict: whose fault it is, where its error says so; else None.
        crash, crash_text, signature: what the board's firmware did meanwhile, unasked; empty: nothing.
        timeline: rows, oldest first.
        dropped: rows that were left out.
        failed_at: seconds of the timeline.
        total: how many scenarios the run has.
    """

    name: str
    doc: str
    outcome: Outcome
    seconds: float
    message: str = ""
    verdict: Verdict | None = None
    crash: str = ""
    crash_text: str = ""
    signature: str = ""
    timeline: tuple[dict[str, Any], ...] = ()
    dropped: int = 0
    failed_at: float | None = None
    total: int = 0

    @property
    def bad(self) -> bool:
        """Whether it failed, or could not be carried out."""
        return self.outcome in {"failed", "error"}

    @property
    def group(self) -> str:
        """The area it is of, by its file."""
        return self.name.partition("::")[0].removeprefix("test_").removesuffix(".py").replace("_", " ")

    def to_scenario(self, blames: Verdict | None, reproduce: str) -> Scenario:
        """Return it as a record has it."""
        return Scenario(
            self.name,
            self.doc,
            self.outcome,
            self.seconds,
            self.message,
            blames,
            self.group,
            self.timeline,
            self.dropped,
            self.failed_at,
            reproduce,
        )


class Lines:
    """Reads the lines of a file that still grows.

    Args:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> list[ScenarioResult]:
        """Return the results that have come since the last call; a line that has not ended waits.

        Raises:
            msgspec.DecodeError: a line is none.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        return [msgspec.json.decode(line, type=ScenarioResult) for line in whole.splitlines()]


def to_line(result: ScenarioResult) -> bytes:
    """Write one result."""
    return msgspec.json.encode(result) + b"\n"


def remarks_file(results: Path) -> Path:
    """Return where a run that leaves its results here leaves what had to be tried again because of the rig."""
    return results.with_suffix(".remarks.json")


def remarks(results: Path) -> tuple[str, ...]:
    """Return what had to be tried again in a run, in words; nothing where it has left nothing."""
    try:
        return msgspec.json.decode(remarks_file(results).read_bytes(), type=tuple[str, ...])
    except FileNotFoundError:
        return ()
