"""What the process of one cell is told: one build, one board, and what to do with them."""

from __future__ import annotations

import msgspec

from harness.bench.bench_file import Bench
from harness.board.board import ONLINE
from harness.report.record import Baseline
from harness.validation.limits import Limits

GROUPS = ("sizes", "boot", "power", "gateway", "wifi", "idle", "letters", "audio", "pings", "heap")
"""What can be measured by itself, in this order."""


class Job(msgspec.Struct, frozen=True):
    """One build on one board.

    Attributes:
        build: path, made absolute.
        name: what reports call the build.
        bench: the rig, opened.
        board: id of the board.
        scenarios: which ones, as of pytest's ``-k``; empty: all.
        repeats: of each measurement.
        soak: seconds to stay connected and be watched, at the end; 0: none.
        limits: declared, by measurement.
        baseline: what the measurements were before, by name.
        groups: what to measure; see `GROUPS`.
        suite: run the scenarios.
        ota: run the scenarios of updates.
        online: seconds from its start to the gateway, at most.
        wait: seconds to wait for the board while others hold it.
        faulty: a defect that is planted in each gateway; empty: none.
        reproduce: the command that runs a scenario again, but for its name.
    """

    build: str
    name: str
    bench: Bench
    board: str
    scenarios: str = ""
    repeats: int = 3
    soak: float = 0.0
    limits: Limits = {}
    baseline: dict[str, Baseline] = {}
    groups: tuple[str, ...] = GROUPS
    suite: bool = True
    ota: bool = True
    online: float = ONLINE
    wait: float = 600.0
    faulty: str = ""
    reproduce: str = ""
