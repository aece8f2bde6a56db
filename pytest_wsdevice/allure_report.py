"""The one file that knows Allure: what is attached to the report of a test that failed."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import allure

from pytest_wsdevice.types import AnyTimeline

STEPS = 200
"""Of one device, the last ones: Allure's page becomes slow with thousands."""


def attach(timeline: AnyTimeline, path: Path) -> None:
    """Attach the listing and the JSON lines, and write a step for each device with what it did below it.

    The steps are written now, one after the other: steps that are opened by concurrent tasks nest in each other.
    """
    allure.attach(timeline.listing(), name="timeline (last seconds)", attachment_type=allure.attachment_type.TEXT)
    allure.attach(path.read_bytes(), name="timeline", attachment_type="application/x-ndjson", extension="jsonl")
    rows = sorted(timeline.rows(), key=_who)
    for who, own in groupby(rows, key=_who):
        with allure.step(who):
            for row in list(own)[-STEPS:]:
                with allure.step(f"{row['at']:.3f} s  {_said(row)}"):
                    pass


def _who(row: dict[str, Any]) -> str:
    """Of which device a row is; the gateway's own and the test's stand for themselves."""
    return str(row["target"] if row["source"] == "gateway" and row["target"] else row["source"])


def _said(row: dict[str, Any]) -> str:
    if row["kind"] == "frame":
        said = row.get("text") or row.get("reason") or f"{row['opcode']}, {row['bytes']} bytes"
        return f"{row['source']} -> {row['target']}  {said}"
    if row["kind"] == "event":
        return " ".join(str(value) for name, value in row.items() if name not in {"at", "kind", "source", "target"})
    return str(row["what"])
