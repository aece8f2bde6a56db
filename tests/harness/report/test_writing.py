"""All files of a report, and none of an older one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.report.record import decode
from harness.report.writing import write_report
from tests.harness.report.samples import FAILING, MATRIX, PASSING


def test_what_is_written(tmp_path: Path):
    """The paths that are returned are there, and the record can be read back."""
    written = write_report(FAILING, tmp_path / "deep" / "report")

    assert decode(written.record.read_bytes()) == FAILING
    assert written.page.read_text().startswith("<!doctype html>")
    assert written.junit.read_text().startswith("<?xml")
    assert len(list(written.allure.glob("*-result.json"))) == 14
    assert written.allure.parent.joinpath("allurerc.json").is_file()
    assert [path.name for path in written.timelines] == [
        "01-test_reconnecting.py-test_wifi_loss-s3-box.svg",
        "02-test_duplicate_connections.py-test_handover-s3-box.svg",
    ]


def test_an_older_report_is_replaced(tmp_path: Path):
    """What failed then is not there any more, and what is not ours stays."""
    write_report(MATRIX, tmp_path)
    for mine in ("timelines/notes.svg", "allure/results/history.json", "mine.html"):
        (tmp_path / mine).write_text("mine")
    written = write_report(PASSING, tmp_path)

    assert written.timelines == ()
    assert [path.name for path in tmp_path.joinpath("timelines").iterdir()] == ["notes.svg"]
    assert len(list(written.allure.glob("*-result.json"))) == 10
    assert (tmp_path / "allure/results/history.json").read_text() == (tmp_path / "mine.html").read_text() == "mine"


def test_where_nothing_can_be_written(tmp_path: Path):
    """The error is the system's, and names the file."""
    (tmp_path / "taken").write_text("")

    with pytest.raises(OSError, match="taken"):
        write_report(PASSING, tmp_path / "taken")


def test_the_same_record_gives_the_same_files(tmp_path: Path):
    """No time, no host and no chance is in them."""
    for place in ("a", "b"):
        write_report(MATRIX, tmp_path / place)
    first = {
        path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()
    }
    second = {
        path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()
    }

    assert first == second
