"""Writes a record as files: the one way from a record to anything that others read."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from harness.redaction import Redactor
from harness.report.allure_results import write_allure
from harness.report.junit import junit
from harness.report.masking import masked
from harness.report.page import page
from harness.report.record import Record, encode
from harness.report.svg import timeline_svg

_OWN = {"timelines": ("[0-9]*-*.svg",), "allure/results": ("*-result.json", "*-attachment.*")}
"""Directories whose files have names of their own in each run, and those of an older report, which are removed."""


class Written(msgspec.Struct, frozen=True):
    """Where everything went.

    Attributes:
        page: HTML, complete in itself.
        record: JSON; `harness.report.record.decode` reads it.
        junit: XML.
        allure: a directory of results; ``allurerc.json`` stands beside it.
        timelines: SVG, one for each scenario that failed, in their order.
    """

    page: Path
    record: Path
    junit: Path
    allure: Path
    timelines: tuple[Path, ...]


def write_report(record: Record, directory: Path, redactor: Redactor | None = None) -> Written:
    """Write all reports of a record; files of an older report in the same directory are replaced.

    Args:
        record: may hold secrets.
        directory: is made where it is not there.
        redactor: knows them. Without one, what looks like a secret is masked all the same.

    Raises:
        OSError: the files cannot be written.
    """
    record = masked(record, redactor or Redactor())
    for own, patterns in _OWN.items():
        (directory / own).mkdir(parents=True, exist_ok=True)
        for old in (found for pattern in patterns for found in directory.joinpath(own).glob(pattern)):
            old.unlink()
    written = Written(
        page=_write(directory / "report.html", page(record).encode()),
        record=_write(directory / "record.json", encode(record)),
        junit=_write(directory / "junit.xml", junit(record)),
        allure=directory / "allure" / "results",
        timelines=_timelines(record, directory / "timelines"),
    )
    write_allure(record, written.allure)
    return written


def _timelines(record: Record, directory: Path) -> tuple[Path, ...]:
    failed = [one for cell in record.cells for one in cell.scenarios if one.bad and one.timeline]
    return tuple(
        _write(
            directory / f"{number:02d}-{_file_name(one.name)}.svg",
            timeline_svg(one.timeline, one.doc or one.name, one.failed_at, one.dropped).encode(),
        )
        for number, one in enumerate(failed, 1)
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)[-100:].strip("-.")


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
