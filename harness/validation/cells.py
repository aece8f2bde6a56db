"""Which builds are tried on which boards, and the run of them all: in parallel, one process for each board.

What ends with a fault of the rig or the network is tried once more, on another board of the kind where there is one.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.identity import printable
from harness.bench.bench_file import BoardConfig
from harness.bench.health import Health
from harness.errors import Misuse
from harness.report.record import Attempt, Cell
from harness.validation.errors import CellFailed
from harness.validation.job import Job
from harness.validation.progress import Event, Finished, Refused, Remark, from_line
from harness.validation.verdicts import TRIED_AGAIN

ATTEMPTS = 2
"""Of a build on a kind of board: a second fault in a row is no accident."""
END = 30.0
"""Seconds for a process to end: it gives back its board, and ends its scenarios."""
_SHOWN = 2000

TellOf: TypeAlias = Callable[[str, str, Event], None]
"""Is told what goes on: name of the build, id of the board, what."""


class Planned(msgspec.Struct, frozen=True):
    """One cell that is to be.

    Attributes:
        job: its board is the first to be tried.
        boards: those that may take its place, the first one included, in the order in which they are to be tried.
    """

    job: Job
    boards: tuple[str, ...]


class Cells:
    """Runs cells; `run` blocks until all are over, and may be called once.

    Args:
        tell: is told what goes on, from threads, one call at a time.
        command: starts the process of a cell; tests give another.

    Attributes:
        secrets: that were seen.
    """

    def __init__(
        self, tell: TellOf, command: Sequence[str] = (sys.executable, "-m", "harness.validation.cell_process")
    ) -> None:
        self.secrets: set[str] = set()
        self._tell = tell
        self._command = list(command)
        self._lock = threading.Lock()
        self._free = threading.Condition()
        self._busy: set[str] = set()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(self, plan: Sequence[Planned]) -> tuple[Cell, ...]:
        """Run all cells, in parallel as far as they have boards of their own; return them in the order of the plan.

        Raises:
            Misuse: what was asked for cannot be.
            CellFailed: a process ended without a result.
        """
        if not plan:
            return ()
        with ThreadPoolExecutor(len({board for one in plan for board in one.boards}) or 1) as pool:
            futures = [pool.submit(self._cell, one) for one in plan]
            try:
                return tuple(future.result() for future in futures)
            except BaseException:
                for future in futures:
                    future.cancel()
                self._end()
                raise

    def _cell(self, planned: Planned) -> Cell:
        """Run one cell, again where its fault is not the build's."""
        attempts: list[Attempt] = []
        tried: list[str] = []
        while True:
            board = self._take(planned.boards, tried)
            try:
                cell = self._once(msgspec.structs.replace(planned.job, board=board))
            finally:
                self._give_back(board)
            tried.append(board)
            if cell.verdict not in TRIED_AGAIN or len(tried) == ATTEMPTS:
                return msgspec.structs.replace(cell, attempts=tuple(attempts))
            attempts.append(Attempt(board, cell.verdict, cell.why, cell.seconds))
            again = "another board" if set(planned.boards) - set(tried) else "the same board: there is no other"
            self._told(planned.job.name, board, Remark(f"{cell.verdict} fault: {cell.why}; tried again on {again}"))

    def _take(self, boards: Sequence[str], tried: Sequence[str]) -> str:
        """Wait for a board that no other cell has: one that was not tried, or, where there is none, any."""
        wanted = [board for board in boards if board not in tried] or list(boards)
        with self._free:
            while not (idle := [board for board in wanted if board not in self._busy]):
                self._free.wait()
            self._busy.add(idle[0])
            return idle[0]

    def _give_back(self, board: str) -> None:
        with self._free:
            self._busy.discard(board)
            self._free.notify_all()

    def _once(self, job: Job) -> Cell:
        process = subprocess.Popen(  # noqa: S603 - our own module
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with self._lock:
            self._running.add(process)
            if self._ended:
                process.terminate()
        try:
            return self._listen(process, job)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.close()
            _wait(process)
            process.stdout.close()
            process.stderr.close()
            with self._lock:
                self._running.discard(process)

    def _listen(self, process: subprocess.Popen[bytes], job: Job) -> Cell:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[bytes] = []
        ear = threading.Thread(target=lambda err=process.stderr: said.extend(err), daemon=True)
        ear.start()
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            event = from_line(line)
            if isinstance(event, Refused):
                raise Misuse(event.text)
            if isinstance(event, Finished):
                with self._lock:
                    self.secrets.update(event.secrets)
                return event.cell
            self._told(job.name, job.board, event)
        code = process.wait(END)
        ear.join(END)
        end = b"".join(said)[-_SHOWN:].decode("utf-8", "replace")
        raise CellFailed(code, "\n".join(printable(line, 300) for line in end.splitlines()))

    def _told(self, build: str, board: str, event: Event) -> None:
        with self._lock:
            self._tell(build, board, event)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            if process.stdin is not None:
                process.stdin.close()  # it ends as by Ctrl-C
        for process in running:
            _wait(process)


def candidates(
    boards: Sequence[BoardConfig], health: Health | None, chip: str, ids: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the boards of a chip that a build may be tried on, those in quarantine last, the healthiest first."""
    fit = [board.id for board in boards if board.chip == chip and (not ids or board.id in ids)]
    if health is None:
        return tuple(fit)
    states = {board: health.of(board) for board in fit}
    return tuple(sorted(fit, key=lambda board: (states[board].quarantine is not None, states[board].recent_faults)))


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that differ: the second of a kind gets a number."""
    counted: dict[str, int] = {}
    found = []
    for name in names:
        counted[name] = counted.get(name, 0) + 1
        found.append(name if counted[name] == 1 else f"{name} ({counted[name]})")
    return tuple(found)


def name_of(path: Path) -> str:
    """Return what reports call a build: its folder, or the project's where that is called ``build``."""
    whole = path.resolve()
    return whole.parent.name if whole.name in {"build", ".pio"} else whole.name


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(END)
