"""``wsdevice explore``: hunt for what breaks an invariant, and look at it again."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TextIO

import msgspec

from gateway.exit_codes import ExitCode
from harness.errors import Misuse
from harness.exploration.hunting import Hunt, Run, Tally
from harness.exploration.replay import Replay, read, replay, write
from harness.exploration.scenarios import SCENARIOS, scenario
from harness.faulty.twins import twin

FIRST, EVERY = 1.0, 5.0
"""Seconds to the first line of progress, and between two."""
LAST = 120.0
"""Seconds for the failures that were found last to be examined, past the end."""


def run(arguments: argparse.Namespace) -> int:
    """Run ``wsdevice explore``; return its exit code."""
    if arguments.list:
        print(listing())
        return ExitCode.OK
    if arguments.replay is not None:
        return see_again(arguments.replay)
    return explore(
        arguments.scenario,
        minutes=arguments.minutes,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        out=arguments.out,
        faulty=arguments.faulty,
    )


def explore(
    names: Sequence[str],
    *,
    minutes: float,
    seeds: int | None,
    jobs: int | None,
    out: Path,
    faulty: str = "",
    to: TextIO | None = None,
) -> int:
    """Hunt, and return the exit code: 0, nothing was found; 1, something was; 2, wrong arguments; 70, a bug of ours.

    Args:
        names: of scenarios; none: all.
        minutes: for how long, with fresh seeds.
        seeds: the seeds 1 to so many of each scenario instead, however long they take; None: fresh ones.
        jobs: processes; None: as many as there are cores.
        out: where replay files go.
        faulty: name of a defect to plant, to see it found; empty: none.
        to: where progress goes; None: the standard output.
    """
    to = to or sys.stdout
    try:
        chosen = [scenario(name).name for name in names] or list(SCENARIOS)
        if faulty:
            twin(faulty)
    except Misuse as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    first = 1 if seeds is not None else random.SystemRandom().randrange(1_000, 1_000_000_000)
    cores = jobs or len(os.sched_getaffinity(0))
    print(f"{len(chosen)} scenarios, seeds from {first:,} on, {cores} processes", file=to, flush=True)
    try:
        with Hunt(chosen, jobs=cores, first=first, seeds=seeds, faulty=faulty) as hunt:
            _hunt(hunt, float("inf") if seeds is not None else minutes * 60, out, to)
            print(table(hunt.tally, chosen), file=to, flush=True)
            return ExitCode.FAILED if hunt.tally.failures.total() else ExitCode.OK
    except BrokenProcessPool:
        print("wsdevice: a process of the hunt died; the system's log may say why", file=sys.stderr)
        return ExitCode.UNCLEAN


def _hunt(hunt: Hunt, seconds: float, out: Path, to: TextIO) -> None:
    """Hunt until the time is over, or all seeds are run, or Ctrl-C; then examine what was found last."""
    began, pause = time.monotonic(), FIRST
    try:
        while (left := began + seconds - time.monotonic()) > 0:
            for found in hunt.go_on(min(pause, left)):
                _tell(found, out, to)
            print(progress(hunt.tally, time.monotonic() - began), file=to, flush=True)
            if hunt.is_over:
                return
            pause = EVERY
        for found in hunt.go_on(LAST, begin=False):
            _tell(found, out, to)
    except KeyboardInterrupt:
        print("ending; what runs is waited for", file=to, flush=True)


def _tell(found: Run | Replay, out: Path, to: TextIO) -> None:
    if isinstance(found, Run):
        print(f"{found.scenario}, seed {found.seed}: {found.text}", file=to, flush=True)
        return
    path = write(found, out)
    steps = "" if found.schedule is None else f", {len(found.schedule.steps)} steps of faults"
    print(f"{found.scenario}, seed {found.seed}{steps}: wsdevice explore --replay {path}", file=to, flush=True)


def see_again(path: Path, to: TextIO | None = None) -> int:
    """Run a failure again and show it; return 1 if it fails again, 0 if it passes, 2 if it cannot be run.

    The whole timeline is left beside the file, as JSON lines.
    """
    to = to or sys.stdout
    try:
        kept = read(path)
        result = replay(kept)
    except Misuse as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    timeline = path.with_suffix(".timeline.jsonl")
    timeline.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in result.timeline))
    lines = [f"{kept.scenario}, seed {kept.seed}: {scenario(kept.scenario).says}"]
    lines += [] if result.schedule is None else str(result.schedule).splitlines()
    lines += ["", "what happened (seconds before the end; who -> whom; what)", result.listing]
    lines += ["", "the last lines of the trace", *result.trace[-40:], "", "who waits for what", *result.waiting, ""]
    lines += [f"the whole timeline: {timeline}"]
    lines += [str(violation) for violation in result.violations] or ["it passes"]
    if result.digest != kept.digest:
        lines.append("it went another way than when it was found: this is another version, or not the same Python")
    print("\n".join(lines), file=to, flush=True)
    return ExitCode.FAILED if result.violations else ExitCode.OK


def progress(tally: Tally, seconds: float) -> str:
    """Say in one line how things stand."""
    runs, failures = tally.runs.total(), tally.failures.total()
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:3}:{rest:02}  {runs:,} runs, {failures:,} failures"


def table(tally: Tally, names: Sequence[str]) -> str:
    """Say what came of each scenario."""
    width = max(map(len, names))
    lines = [f"{'scenario':<{width}}  {'runs':>7}  {'failures':>8}  {'ms each':>7}"]
    for name in names:
        runs = tally.runs[name]
        each = 1000 * tally.seconds[name] / runs if runs else 0.0
        lines.append(f"{name:<{width}}  {runs:7,}  {tally.failures[name]:8,}  {each:7.0f}")
    return "\n".join(lines)


def listing() -> str:
    """List the scenarios, each with its sentence."""
    width = max(map(len, SCENARIOS))
    return "\n".join(f"{one.name:<{width}}  {one.says}" for one in SCENARIOS.values())
