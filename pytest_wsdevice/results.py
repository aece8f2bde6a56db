"""Writes what came of each test to a file, a line of JSON each, for a program that runs the tests.

A plugin of its own, which ``wsdevice validate`` asks for: ``-p pytest_wsdevice.results --ws-results FILE``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

import harness
from harness.board.errors import BoardCrashed
from harness.report.record import Verdict
from harness.validation.results import KEPT_ROWS, KEPT_ROWS_PASSED, ScenarioResult, remarks_file, to_line
from pytest_wsdevice import rig
from pytest_wsdevice.boards import HELD
from pytest_wsdevice.reporting import TIMELINE

_VERDICT = re.compile(
    r"^verdict: (firmware|gateway|rig|network)$", re.MULTILINE
)  # as a board that does not come up says
_RESULT = pytest.StashKey[ScenarioResult]()
_TOTAL = pytest.StashKey[int]()
_MESSAGE_CHARACTERS = 20_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the options."""
    group = parser.getgroup("wsdevice")
    group.addoption("--ws-results", type=Path, metavar="FILE", help="Append what came of each test, as JSON lines.")
    group.addoption("--ws-only", type=Path, metavar="FILE", help="Run the tests that this file names, one a line.")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only what was named."""
    only: Path | None = config.getoption("ws_only")
    if only is not None:
        names = set(only.read_text(encoding="utf-8").splitlines())
        left_out = [item for item in items if name_of(item) not in names]
        items[:] = [item for item in items if name_of(item) in names]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count them."""
    session.config.stash[_TOTAL] = len(session.items)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add one phase to what is known of a test; after the last one, write it."""
    report = yield
    before = item.stash.get(_RESULT, None)
    item.stash[_RESULT] = result = _after(item, call, report, before)
    if report.when == "teardown":
        del item.stash[_RESULT]
        path: Path | None = item.config.getoption("ws_results")
        if path is not None:
            with path.open("ab") as file:
                file.write(to_line(result))
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what had to be tried again because of the rig: a pass that needed that must not look like any other."""
    path: Path | None = session.config.getoption("ws_results")
    if path is not None and (said := rig.remarks(session.config)):
        remarks_file(path).write_bytes(msgspec.json.encode(said))


def name_of(item: pytest.Item) -> str:
    """Return file and test, without a path of this machine."""
    return f"{item.path.name}::{item.nodeid.partition('::')[2]}"


def _after(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, before: ScenarioResult | None
) -> ScenarioResult:
    """Return what is known after one more phase: the first one that did not pass counts."""
    seconds = call.duration + (before.seconds if before else 0.0)
    if before is not None and (before.bad or report.passed):
        rows, dropped = _rows(item, failed=before.bad) if report.when == "call" else (before.timeline, before.dropped)
        return msgspec.structs.replace(before, seconds=seconds, timeline=rows, dropped=dropped)
    skipped = before is not None and before.outcome == "skipped"
    outcome = "skipped" if report.skipped or (skipped and report.passed) else "passed" if report.passed else "failed"
    error = call.excinfo.value if call.excinfo is not None else None
    text = _text(report)
    rows, dropped = _rows(item, failed=outcome == "failed")
    crashed = error if isinstance(error, BoardCrashed) else None
    return ScenarioResult(
        name=name_of(item),
        doc=inspect.cleandoc(getattr(getattr(item, "obj", None), "__doc__", "") or "").partition("\n")[0],
        outcome=outcome,  # type: ignore[arg-type]  # one of the four words
        seconds=seconds,
        message=text[-_MESSAGE_CHARACTERS:],
        verdict=_verdict(error, text),
        crash=crashed.kind if crashed else "",
        crash_text=crashed.report if crashed else "",
        signature=_signature(item) if crashed else "",
        timeline=rows,
        dropped=dropped,
        failed_at=float(rows[-1]["at"]) if outcome == "failed" and rows else None,
        total=item.config.stash.get(_TOTAL, 0),
    )


def _text(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return "" if report.passed else _without_places(report.longreprtext)


def _without_places(text: str) -> str:
    """Leave out where on this machine files are: whoever reads it is elsewhere."""
    for place in (Path(harness.__file__).parents[1], Path.cwd(), Path(sys.prefix), Path.home()):
        if place != place.parent:  # not the root of all files
            text = text.replace(f"{place}/", "")
    return text


def _verdict(error: BaseException | None, text: str) -> Verdict | None:
    said = getattr(error, "verdict", None)
    if said is None and (found := _VERDICT.search(text)):
        said = found[1]
    return cast("Verdict | None", said)


def _rows(item: pytest.Item, *, failed: bool) -> tuple[tuple[dict[str, Any], ...], int]:
    timeline = item.stash.get(TIMELINE, None)
    if timeline is None:
        return (), 0
    rows = list(timeline.rows())
    kept = KEPT_ROWS if failed else KEPT_ROWS_PASSED
    dropped = max(0, len(rows) - kept)
    return tuple(rows[dropped:]), dropped + getattr(timeline, "dropped", 0)


def _signature(item: pytest.Item) -> str:
    crashes = [crash for held in item.stash.get(HELD, []) for crash in held.crashes]
    return crashes[-1].signature if crashes else ""
