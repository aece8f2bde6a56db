"""A board's way from off to online, in named stages; what failed once is not suffered again by everybody who asks.

::

    off ──▶ flashed ──▶ provisioned ──▶ booted ──▶ online

Each stage has a deadline, and leaves a record. The first failure is kept, with whose fault it is, and told to all who
ask for that stage or a later one, until somebody asks for a fresh start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from harness.board.errors import BringUpFailed
from harness.board.judging import Judgement
from harness.errors import HarnessError, Misuse

StageName: TypeAlias = Literal["off", "flashed", "provisioned", "booted", "online"]

STAGES: tuple[StageName, ...] = ("off", "flashed", "provisioned", "booted", "online")


class Stage(NamedTuple):
    """How a stage is reached from the one before.

    Attributes:
        reach: does it, within so many seconds, and returns what was done, in words; raises a `HarnessError`.
        seconds: its deadline.
    """

    reach: Callable[[float], str]
    seconds: float


class StageRecord(msgspec.Struct, frozen=True):
    """One stage that was tried.

    Attributes:
        stage: which.
        began, ended: seconds of `time.monotonic`.
        outcome: whether it was reached.
        what: was done, or went wrong, in words.
    """

    stage: StageName
    began: float
    ended: float
    outcome: Literal["reached", "failed"]
    what: str

    @property
    def seconds(self) -> float:
        """It took."""
        return self.ended - self.began

    def __str__(self) -> str:
        return f"{self.stage}: {self.outcome} after {self.seconds:.1f} s: {self.what}"


class BringUp:
    """Brings one board up; calls may come from any thread, and wait for each other.

    Args:
        board: its id.
        stages: how each stage but ``off`` is reached.
        judge: says whose fault an error is that a stage raised; None: the caller's own, who gets it as it is.
        tail: returns the last lines of the console.
        watch: is shown each record.

    Attributes:
        stage: that the board is in.
        records: of all stages that were tried, in order.
        failure: that is told to all who ask; None: there is none.
    """

    def __init__(
        self,
        board: str,
        stages: Mapping[StageName, Stage],
        *,
        judge: Callable[[StageName, HarnessError], Judgement | None],
        tail: Callable[[], Sequence[str]],
        watch: Callable[[StageRecord], None] = lambda _: None,
    ) -> None:
        self.stage: StageName = "off"
        self.records: list[StageRecord] = []
        self.failure: BringUpFailed | None = None
        self._board = board
        self._stages = stages
        self._judge = judge
        self._tail = tail
        self._watch = watch
        self._busy = threading.RLock()

    def to(self, stage: StageName = "online", *, fresh: bool = False) -> tuple[StageRecord, ...]:
        """Have the board in a stage, or beyond; return the records of what was done for it, none if it was there.

        Args:
            stage: wanted.
            fresh: from the start, whatever stage it is in, and whatever failed before.

        Raises:
            BringUpFailed: a stage on the way failed, now or earlier.
        """
        with self._busy:
            wanted = _index(stage)
            if fresh:
                self.stage, self.failure = "off", None
            if self.failure is not None and _index(self.failure.stage) <= wanted:
                raise self._again(self.failure)
            first = _index(self.stage) + 1
            return tuple(self._reach(name) for name in STAGES[first : wanted + 1])

    def fell_back(self, stage: StageName) -> None:
        """Note that the board is in an earlier stage now: it was reset, or switched off. Later ones are no news."""
        with self._busy:
            if _index(stage) < _index(self.stage):
                self.stage = stage

    def forgive(self) -> None:
        """Forget the failure, if there is one: what it was about has been changed."""
        with self._busy:
            self.failure = None

    def _reach(self, name: StageName) -> StageRecord:
        stage = self._stages[name]
        began = time.monotonic()
        try:
            what = stage.reach(stage.seconds)
        except HarnessError as error:
            judgement = self._judge(name, error)
            if judgement is None:
                raise
            self._note(StageRecord(name, began, time.monotonic(), "failed", judgement.why))
            self.failure = BringUpFailed(self._board, name, judgement.verdict, judgement.why, self._tail())
            raise self.failure from error
        self.stage = name
        return self._note(StageRecord(name, began, time.monotonic(), "reached", what))

    def _note(self, record: StageRecord) -> StageRecord:
        self.records.append(record)
        self._watch(record)
        return record

    def _again(self, failure: BringUpFailed) -> BringUpFailed:
        """Make the same error anew: a traceback of the first time would grow with each."""
        failure.told_before += 1
        again = BringUpFailed(failure.board, failure.stage, failure.verdict, failure.why, failure.lines)
        again.told_before = failure.told_before
        return again


def _index(stage: str) -> int:
    for index, name in enumerate(STAGES):
        if name == stage:
            return index
    raise Misuse(f"expected one of {', '.join(STAGES)}, got {stage!r}")
