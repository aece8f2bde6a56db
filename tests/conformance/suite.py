"""Runs of the conformance suite, each in a process of its own, and what became of each scenario."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias
from xml.etree import ElementTree as ET

CONFORMANCE = "pytest_wsdevice.conformance"
LONGEST = 300.0
"""Seconds for one run: a few on a simulated network, less than sixty over sockets, on a busy machine more."""
AT_ONCE = 2
"""Runs at the same time: as many as the cores of the smallest machine that is meant."""

Texts: TypeAlias = dict[str, str]
"""By scenario (``test_file.py::test_name[parameters]``)."""


class Outcomes(NamedTuple):
    """What became of the scenarios of one run.

    Attributes:
        passed: those that passed.
        failed: the texts of the failures of those that failed.
        skipped: the reasons of those that were skipped.
    """

    passed: set[str]
    failed: Texts
    skipped: Texts

    @property
    def ran(self) -> set[str]:
        """Those that passed or failed."""
        return {*self.passed, *self.failed}


_WITHOUT = "randomly", "cacheprovider", "anyio", "pytest_embedded", "allure_pytest", "cov", "xdist"


def run_suite(*arguments: str) -> Outcomes:
    """Run the suite as a user would, with a configuration that has nothing in it."""
    with TemporaryDirectory(prefix="wsdevice-conformance-") as directory:
        report = Path(directory, "report.xml")
        Path(directory, "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
        without = [part for name in _WITHOUT for part in ("-p", f"no:{name}")]
        command = [sys.executable, "-m", "pytest", "--pyargs", CONFORMANCE, "-q", f"--junitxml={report}", *without]
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        ended = subprocess.run(
            [*command, "-c", "pytest.toml", "--rootdir", ".", f"--basetemp={directory}/tmp", *arguments],
            cwd=directory,
            env=environ,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        assert ended.returncode in {0, 1}, ended.stdout + ended.stderr
        return _outcomes(ET.parse(report))


def _outcomes(report: ET.ElementTree[ET.Element]) -> Outcomes:
    found = Outcomes(set(), {}, {})
    for case in report.iter("testcase"):
        name = f"{case.attrib['classname'].rpartition('.')[2]}.py::{case.attrib['name']}"
        bad = [f"{text.get('message')}\n{text.text}" for kind in ("failure", "error") for text in case.iter(kind)]
        skipped = case.find("skipped")
        if bad:
            found.failed[name] = "\n".join(bad)
        elif skipped is not None:
            found.skipped[name] = str(skipped.get("message"))
        else:
            found.passed.add(name)
    return found


class Runs:
    """Runs of the suite with a defect each, some at once: those that will be asked for are begun before they are.

    Args:
        wanted: arguments of the runs, by their names, in the order in which they are begun.
    """

    def __init__(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        self._wanted = wanted
        self._pool = ThreadPoolExecutor(AT_ONCE)
        # a worker of xdist is asked for a part of them, nobody knows which
        ahead = () if "PYTEST_XDIST_WORKER" in os.environ else wanted
        self._runs = {name: self._begin(name) for name in ahead}

    def outcomes(self, name: str) -> Outcomes:
        """Return what became of the scenarios of one run."""
        if name not in self._runs:
            self._runs[name] = self._begin(name)
        return self._runs[name].result(LONGEST * len(self._wanted))

    def close(self) -> None:
        """Begin no more runs, and wait for those under way."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, name: str) -> Future[Outcomes]:
        return self._pool.submit(run_suite, *self._wanted[name])
