"""What the report of a failure in virtual time adds: its seed, how to see it again, the trace, who waits for what."""

from __future__ import annotations

import os
import shlex

import pytest

from pytest_wsdevice.options import SETTINGS
from pytest_wsdevice.reporting import TIMELINE
from pytest_wsdevice.simulated import SeededLoop, loop_of

SECTION = "simulation"
ESCAPED = "would leave the simulation"
"""In the text of an `harness.simulation.errors.Escape`."""
HINT = 'a test that needs real sockets, threads or time says @pytest.mark.ws_needs("tcp"), and is not simulated then'
_OF_NO_MATTER = {"ws_network", "ws_seeds", "ws_seed", "ws_artifacts", "ws_timeline_seconds"}


def report_failure(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the section to the report of a simulated test that failed."""
    made = loop_of(item)
    if made is not None and report.failed:
        escaped = ESCAPED in report.longreprtext
        report.sections.append((SECTION, "\n".join([*([HINT] if escaped else []), _text(item, made)])))


def let_go(item: pytest.Item) -> None:
    """Forget the loop and the timeline of an item that is over: pytest keeps all items, thousands for many seeds."""
    if TIMELINE in item.stash:
        del item.stash[TIMELINE]
    made = loop_of(item)
    if made is not None:
        made.loop = None


def replay_command(item: pytest.Item, seed: int) -> str:
    """Return the command that runs this item alone, with this seed."""
    given = [(setting.option, item.config.getoption(setting.name)) for setting in SETTINGS if _matters(setting.name)]
    others = [f"{option}={value}" for option, value in given if value is not None]
    return shlex.join(["pytest", _unseeded(item, seed), f"--ws-seed={seed}", *others])


def _matters(name: str) -> bool:
    return name not in _OF_NO_MATTER


def _unseeded(item: pytest.Item, seed: int) -> str:
    """Return the id of an item as it is where it has one seed alone, which then does not stand in it."""
    path, _, names = item.nodeid.partition("::")
    path = os.path.relpath(item.config.rootpath / path, item.config.invocation_params.dir)
    name, bracket, parameters = f"{path}::{names}".partition("[")
    if not bracket:
        return name
    left = [part for part in parameters.removesuffix("]").split("-") if part != f"seed{seed}"]
    return f"{name}[{'-'.join(left)}]" if left else name


def _text(item: pytest.Item, made: SeededLoop) -> str:
    lines = [f"seed {made.seed}; to see it again:", f"  {replay_command(item, made.seed)}"]
    loop = made.loop
    if loop is not None:
        trace = loop.trace
        lines.append(f"the last {len(trace.lines)} of {trace.count} lines of the trace, at {loop.time():.6f} s:")
        lines += [f"  {line}" for line in trace.lines]
        lines.append("who waits for what:")
        lines += [f"  {line}" for line in loop.waiting()] or ["  nobody"]
    return "\n".join(lines)
