"""What is left of a test that failed: the last seconds of its timeline on the terminal, all of it in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wsdevice.options import OPTIONS

if TYPE_CHECKING:
    from pytest_wsdevice.types import AnyTimeline

TIMELINE: pytest.StashKey[AnyTimeline] = pytest.StashKey()
"""Of a test: its timeline, once it has one."""

SECTION = "what happened (seconds before the failure; who -> whom; what)"
FILE_SECTION = "the whole timeline"


def header(config: pytest.Config) -> list[str]:
    """Return the lines of the report's head: what is tested, and settings that are not the default."""
    options = config.stash[OPTIONS]
    tested = options.gateway_url or "a gateway of this package, started for each test"
    over = {"tcp": "loopback sockets", "sim": "a simulated network in virtual time"}[options.network]
    lines = [f"wsdevice: {tested}; fake devices over {over}"]
    if options.faulty:
        lines.append(f"wsdevice: with the defect {options.faulty}, which the tests are to find")
    return lines + [f"wsdevice: {name} = {value}" for name, value in options.given.items()]


def report_failure(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the timeline to the report of a test that failed, and write it to a file."""
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


def _directory(config: pytest.Config, asked: Path | None) -> Path:
    if asked is None:
        # the private one behind `tmp_path_factory`: under xdist each worker has its own below it
        factory: Any = config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001
        asked = factory.getbasetemp() / "ws-timelines"
    asked.mkdir(parents=True, exist_ok=True)
    return asked


def _file_name(nodeid: str) -> str:
    return re.sub(r"[^\w.-]+", "-", nodeid.removesuffix("]"))[-150:].strip("-")
