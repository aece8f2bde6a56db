"""Each faulty twin is found by the scenarios that are meant to, with a message that names its defect, and no other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.faulty.twins import Twin, twins

CONFORMANCE = "pytest_wsdevice.conformance"
LONGEST = 240
"""Seconds for one run of the suite: a few on a simulated network, some forty over sockets, on a busy machine more."""


def outcomes(tmp_path: Path, *arguments: str) -> dict[str, str | None]:
    """Run the suite; return each scenario that ran with the text of its failure, None where it passed."""
    report = tmp_path / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--pyargs",
        CONFORMANCE,
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
    ]
    (tmp_path / "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
    ended = subprocess.run(
        [*command, f"--junitxml={report}", f"--rootdir={tmp_path}", "-c", str(tmp_path / "pytest.toml"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
    found: dict[str, str | None] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        name = f"{case.attrib['classname'].rpartition('.')[2]}.py::{case.attrib['name'].removesuffix('[sim]')}"
        found[name] = None if bad is None else f"{bad.get('message')}\n{bad.text}"
    return found
