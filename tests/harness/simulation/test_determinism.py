"""The same seed, the same bytes: twice in one process, and in others under other hash seeds."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from harness.simulation.trace import Trace, first_difference
from tests.harness.simulation.storm import trace_of

ROOT = Path(__file__).parents[3]


@functools.cache
def first_run() -> Trace:
    """Run a storm, once for all tests."""
    return trace_of(7)


def test_twice_in_one_process():
    """Two runs of a storm take the same way; where they did not, the first line that differs would be shown."""
    one, other = first_run(), trace_of(7)

    assert first_difference(one.lines, other.lines) is None
    assert one.digest() == other.digest()


def test_another_seed():
    """Another seed takes another way."""
    assert first_run().digest() != trace_of(8).digest()


def test_in_other_processes():
    """Under another PYTHONHASHSEED, in another process, the same bytes pass at the same moments."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.harness.simulation.storm", "7"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    digests = {run.communicate(timeout=20)[0].decode() for run in runs}

    assert digests == {first_run().digest()}
