"""The one file that knows Allure: what is attached to the report of a test that failed."""

from __future__ import annotations

from pathlib import Path

import allure

from harness.report.allure_results import steps_by_device
from harness.report.svg import timeline_svg
from pytest_wsdevice.types import AnyTimeline


def attach(timeline: AnyTimeline, path: Path) -> None:
    """Attach the listing, the drawing and the JSON lines, and write a step for each device with what it did below it.

    The steps are written now, one after the other: steps that are opened by concurrent tasks nest in each other.
    """
    rows = list(timeline.rows())
    drawing = timeline_svg(rows, "what happened", rows[-1]["at"] if rows else None)
    allure.attach(timeline.listing(), name="timeline (last seconds)", attachment_type=allure.attachment_type.TEXT)
    allure.attach(drawing, name="timeline (drawn)", attachment_type=allure.attachment_type.SVG)
    allure.attach(path.read_bytes(), name="timeline", attachment_type="application/x-ndjson", extension="jsonl")
    for who, steps in steps_by_device(rows).items():
        with allure.step(who):
            for at, said in steps:
                with allure.step(f"{at:.3f} s  {said}"):
                    pass
