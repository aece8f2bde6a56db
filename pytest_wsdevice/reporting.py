"""What is left of a test that failed: the last seconds of its timeline on the terminal, all of it in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wsdevice import rig
from pytest_wsdevice.hil import asks_for_boards
from pytest_wsdevice.options import OPTIONS

if TYPE_CHECKING:
    from pytest_wsdevice.stage import BlockingStage, Stage
    from pytest_wsdevice.types import AnyTimeline

TIMELINE: pytest.StashKey[AnyTimeline] = pytest.StashKey()
"""Of a test: its timeline, once it has one."""

STAGE: pytest.StashKey[Stage | BlockingStage] = pytest.StashKey()
"""Of a test: its stage, once it has one."""

SECTION = "what happened (seconds before the failure; who -> whom; what)"
CONSOLE_LINES = 40
"""Of a board's console, in the report of a failure: a boot to its session."""
FILE_SECTION = "the whole timeline"


def header(config: pytest.Config) -> list[str]:
    """Return the lines of the report's head: what is tested, and settings that are not the default."""
    options = config.stash[OPTIONS]
    tested = options.gateway_url or "a gateway of this package, started for each test"
    real, simulated = "loopback sockets", "a simulated network in virtual time"
    over = {"tcp": real, "sim": simulated, "auto": f"{simulated}, or {real} where a test needs them"}[options.network]
    over = real if options.gateway_url else over
    lines = [f"wsdevice: {tested}; fake devices over {over}"]
    if options.faulty:
        lines.append(f"wsdevice: with the defect {options.faulty}, which the tests are to find")
    if asks_for_boards(config):
        lines.append(f"wsdevice: the first device of each test is a board of {options.bench}")
        if options.bench.startswith("virtual:"):
            lines.append(
                "wsdevice: virtual boards: tool, protocol, images, NVS, network are real; CPU, radio, timing not"
            )
    return lines + [f"wsdevice: {name} = {value}" for name, value in options.given.items()]


def raise_crash(item: pytest.Item, error: BaseException | None = None) -> None:
    """Raise what the board of a test has done unasked, be it that the test failed by it or did not notice.

    Raises:
        BoardCrashed: with the dump.
    """
    stage = item.stash.get(STAGE, None)
    if stage is None or not asks_for_boards(item.config) or stage.crashed is error:
        return
    if error is not None:
        from pytest_wsdevice.boards import HELD  # noqa: PLC0415 - who asks for no boards loads nothing of them

        for held in item.stash.get(HELD, []):
            held.await_crash()
    if stage.crashed is not None:
        raise stage.crashed from error


def let_go(item: pytest.Item) -> None:
    """Forget the stage of an item that is over: pytest keeps all items."""
    if STAGE in item.stash:
        del item.stash[STAGE]


def summarize(reporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write what had to be tried again because of the rig: a pass that needed that must not look like any other."""
    remarks = rig.remarks(config)
    if remarks:
        reporter.section("wsdevice: faults of the rig")
        for remark in remarks:
            reporter.line(remark)


def report_failure(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the timeline to the report of a test that failed, and write it to a file; and what its boards said last."""
    if report.failed:
        _report_boards(item, report)
    timeline = item.stash.get(TIMELINE, None)
    if timeline is None or not report.failed:
        return
    options = item.config.stash[OPTIONS]
    report.sections.append((SECTION, timeline.listing(seconds=options.timeline_seconds)))
    path = _directory(item.config, options.artifacts) / f"{_file_name(item.nodeid)}.{report.when}.jsonl"
    timeline.write(path)
    report.sections.append((FILE_SECTION, str(path)))
    if item.config.pluginmanager.has_plugin("allure_listener"):
        from pytest_wsdevice import allure_report  # noqa: PLC0415 - the one file that knows Allure

        allure_report.attach(timeline, path)


def _report_boards(item: pytest.Item, report: pytest.TestReport) -> None:
    if not asks_for_boards(item.config):
        return
    from pytest_wsdevice.boards import HELD  # noqa: PLC0415 - who asks for no boards loads nothing of them

    for held in item.stash.get(HELD, []):
        held.unsettled = True  # whatever went wrong, the next test should not find it
        report.sections.append((f"console of {held.id} ({held.body})", "\n".join(held.console.tail(CONSOLE_LINES))))


def _directory(config: pytest.Config, asked: Path | None) -> Path:
    if asked is None:
        # the private one behind `tmp_path_factory`: under xdist each worker has its own below it
        factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001
        asked = factory.getbasetemp() / "ws-timelines"
    asked.mkdir(parents=True, exist_ok=True)
    return asked


def _file_name(nodeid: str) -> str:
    return re.sub(r"[^\w.-]+", "-", nodeid.removesuffix("]"))[-150:].strip("-")
