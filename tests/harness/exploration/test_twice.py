"""The same seed, the same bytes: gateway, devices and faults; twice in one process, and in others."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter as real_seconds  # by a name that the simulation does not know

from harness.exploration.habits import Habits
from harness.exploration.running import run_seed
from harness.exploration.scenarios import SCENARIOS, Scenario
from harness.exploration.twice import run_twice
from harness.exploration.world import World

ROOT = Path(__file__).parents[3]
BOTH = ("everything_at_once", "flapping")


def test_twice_in_one_process():
    """Nothing is left to chance that no seed decides."""
    assert [run_twice(SCENARIOS[name], 5).violations for name in BOTH] == [[], []]


def test_in_other_processes():
    """Under another PYTHONHASHSEED, in another process, the same bytes pass at the same moments."""
    runs = [
        (
            name,
            subprocess.Popen(
                [sys.executable, "-m", "harness.exploration.twice", name, "5"],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
            ),
        )
        for name in BOTH
        for seed in ("1", "2")
    ]
    digests = {(name, run.communicate(timeout=25)[0].decode()) for name, run in runs}

    assert digests == {(name, run_seed(SCENARIOS[name], 5).digest) for name in BOTH}


def test_difference():
    """Where chance gets in, the first line that differs is said."""

    async def happens(world: World) -> None:
        await asyncio.sleep(real_seconds() % 1e-3)

    result = run_twice(Scenario("of the test", "Something happens.", (Habits(),), happens=happens), 1)

    (violation,) = result.violations
    assert violation.invariant == 16
    assert "two runs of the same seed" in violation.text
