"""The page about the report says what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harness.report import markup, scenarios, thinning, wording

PAGE = Path(__file__).parents[3] / "docs" / "report.md"


def test_the_example_writes_a_report(tmp_path: Path):
    """As it stands, in a directory of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    root = str(PAGE.parents[1])
    ran = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert (ran.stdout, ran.stderr) == ("report/report.html\n", "")
    assert (tmp_path / "report" / "report.html").is_file()


def test_the_limits_are_those_of_the_code():
    """Each number that the page names."""
    text = PAGE.read_text()

    for number in (
        thinning.TIMELINE_MARKS, thinning.PAGE_MARKS, wording.SAID_CHARACTERS, scenarios.MESSAGE_CHARACTERS,
        markup.TEXT_CHARACTERS,
    ):  # fmt: skip
        assert f" {number:,} " in text or f" {number:,}." in text or f" {number:,}," in text


def test_the_pictures_are_there():
    """Each that the page shows."""
    pictures = re.findall(r"images/[\w-]+\.png", PAGE.read_text())

    assert len(pictures) == 3
    assert all((PAGE.parent / picture).is_file() for picture in pictures)
