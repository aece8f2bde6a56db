"""Many seeds on all cores: what is run, in processes of its own, and what has come of it so far."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from types import TracebackType
from typing import Any, NamedTuple, Self

from harness.exploration.replay import Replay, examine
from harness.exploration.running import run_seed
from harness.exploration.scenarios import scenario
from harness.exploration.twice import run_twice

BATCH = 2
"""Seeds in one call: half a second at most, so that an end is not waited for."""
TWICE_EVERY = 25
"""Every so-manieth seed is run twice."""
KEPT = 3
"""Failures of one scenario and invariant that are examined: more of a kind say nothing new, and shrinking is slow."""
_SPAWNING = multiprocessing.get_context("spawn")  # a forked process would have the loops and patches of this one


class Run(NamedTuple):
    """One seed of a scenario.

    Attributes:
        scenario, seed: which.
        invariant: the first that was violated; None: none was.
        text: what was violated, in a sentence.
        seconds: of real time.
        virtual: of virtual time.
    """

    scenario: str
    seed: int
    invariant: int | None
    text: str
    seconds: float
    virtual: float


class Tally:
    """What came of all runs so far.

    Attributes:
        runs, failures: how many, by scenario.
        seconds, virtual: of real and of virtual time, by scenario.
    """

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.virtual: dict[str, float] = {}
        self._kinds: Counter[tuple[str, int]] = Counter()

    def add(self, run: Run) -> bool:
        """Count a run; return whether it is worth a look."""
        self.runs[run.scenario] += 1
        self.seconds[run.scenario] = self.seconds.get(run.scenario, 0.0) + run.seconds
        self.virtual[run.scenario] = self.virtual.get(run.scenario, 0.0) + run.virtual
        if run.invariant is None:
            return False
        self.failures[run.scenario] += 1
        self._kinds[run.scenario, run.invariant] += 1
        return self._kinds[run.scenario, run.invariant] <= KEPT


class Hunt:
    """Runs seeds in other processes; ``async`` has no part in it.

    ``with`` ends the processes, once the batches and the examinations that run are over.

    Args:
        scenarios: their names, in turns.
        jobs: processes.
        first: the first seed of each scenario; then one after the other.
        seeds: of each scenario; None: no end.
        faulty: name of a defect to plant; empty: none.

    Attributes:
        tally: what has come of it so far.
    """

    def __init__(
        self, scenarios: Sequence[str], *, jobs: int, first: int = 1, seeds: int | None = None, faulty: str = ""
    ) -> None:
        self.tally = Tally()
        self._faulty = faulty
        self._jobs = jobs
        self._batches = _batches(scenarios, first, seeds)
        self._pool = ProcessPoolExecutor(jobs, mp_context=_SPAWNING, initializer=_begin)
        self._running: dict[Future[list[Run]], None] = {}
        self._examined: dict[Future[Replay | None], None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Begin nothing more, and wait for what runs."""
        self._pool.shutdown(cancel_futures=True)

    def go_on(self, seconds: float, *, begin: bool = True) -> Iterator[Run | Replay]:
        """Run for so long; yield runs that fail, and, when they have been examined, what is to be kept of them.

        Args:
            seconds: for which it waits at most.
            begin: begin new runs, too; else only what runs is waited for.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._fill(begin)
            if self.is_over:
                return
            under_way: list[Future[Any]] = [*self._running, *self._examined]
            wait(under_way, left, FIRST_COMPLETED)
            yield from self._take_runs()
            yield from self._take_examined()

    @property
    def is_over(self) -> bool:
        """Whether nothing is under way."""
        return not (self._running or self._examined)

    def _fill(self, begin: bool) -> None:
        while begin and len(self._running) < 2 * self._jobs:
            batch = next(self._batches, None)
            if batch is None:
                return
            self._running[self._pool.submit(_run_some, *batch, self._faulty)] = None

    def _take_runs(self) -> Iterator[Run]:
        for future in [future for future in self._running if future.done()]:
            del self._running[future]
            for run in future.result():
                if self.tally.add(run):
                    self._examined[self._pool.submit(examine, run.scenario, run.seed, self._faulty)] = None
                if run.invariant is not None:
                    yield run

    def _take_examined(self) -> Iterator[Replay]:
        for future in [future for future in self._examined if future.done()]:
            del self._examined[future]
            kept = future.result()
            if kept is not None:
                yield kept


def _batches(scenarios: Sequence[str], first: int, seeds: int | None) -> Iterator[tuple[str, range]]:
    last = None if seeds is None else first + seeds
    while last is None or first < last:
        end = first + BATCH if last is None else min(first + BATCH, last)
        for name in scenarios:
            yield name, range(first, end)
        first = end


def _begin() -> None:
    """Begin a process: Ctrl-C is the parent's business, and so is what is logged."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.lastResort = None
    os.nice(5)  # a machine that hunts is to be used as well


def _run_some(name: str, seeds: range, faulty: str) -> list[Run]:
    which, runs = scenario(name), []
    for seed in seeds:
        began = time.monotonic()
        try:
            result = (run_twice if seed % TWICE_EVERY == 0 else run_seed)(which, seed, faulty=faulty)
        except BaseException as error:
            error.add_note(f"in the scenario {name} with the seed {seed}")  # or nobody knew, in the parent
            raise
        first = result.violations[0] if result.violations else None
        number, text = (None, "") if first is None else (first.invariant, str(first))
        runs.append(Run(name, seed, number, text, time.monotonic() - began, result.seconds))
    return runs
