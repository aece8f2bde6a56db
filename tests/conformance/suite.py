"""Runs of the conformance suite, each in a process of its own, and what became of each scenario.

The processes are forked from one that has imported everything already, which is half of what a run in virtual time
costs; and their state is in memory where that can be had, since a simulated run waits for nothing but the disk.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeAlias
from xml.etree import ElementTree as ET

import pytest

import pytest_wsdevice
from harness.faulty.twins import SUBJECTS

CONFORMANCE = "pytest_wsdevice.conformance"
LONGEST = 300.0
"""Seconds for one run: a few on a simulated network, less than sixty over sockets, on a busy machine more."""
AT_ONCE = 2
"""Runs at the same time: as many as the cores of the smallest machine that is meant."""

Texts: TypeAlias = dict[str, str]
"""By scenario (``test_file.py::test_name[parameters]``)."""

_MEMORY = Path("/dev/shm")
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    ["pytest", "pytest_asyncio", "pytest_wsdevice.stage", *(f"harness.faulty.{subject}" for subject in SUBJECTS)]
)


@cache
def _bytecode() -> TemporaryDirectory[str]:
    """Where the scenarios are compiled to, once, not once a run; no bytecode is to be left beside the sources.

    Made by who starts runs, and not by those, which import this module, too, and end without a word.
    """
    return TemporaryDirectory(prefix="wsdevice-bytecode-")


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


def run_suite(*arguments: str, files: Sequence[str] = ()) -> Outcomes:
    """Run the suite, or some of its files, as a user would, with a configuration that has nothing in it."""
    names = [f"{CONFORMANCE}.{file.removesuffix('.py')}" for file in files] or [CONFORMANCE]
    with TemporaryDirectory(prefix="wsdevice-conformance-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        Path(directory, "pytest.toml").write_text('[pytest]\nasyncio_default_fixture_loop_scope = "function"\n')
        process = _FORKING.Process(target=_run, args=(directory, _bytecode().name, ["--pyargs", *names, *arguments]))
        process.start()
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
        said = Path(directory, "output").read_text()
        assert process.exitcode in {0, 1}, f"{process.exitcode}: {said}"
        return _outcomes(ET.parse(Path(directory, "report.xml")))


def _run(directory: str, bytecode: str, arguments: list[str]) -> None:
    """Run pytest in this process, which has nothing else to do; its exit code is the process's."""
    os.chdir(directory)
    sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "COV_"))]:
        del os.environ[name]  # of the run that this one is a part of
    others = (
        "randomly",
        "cacheprovider",
        "anyio",
        "pytest_embedded",
        "allure_pytest",
        "cov",
        "xdist",
        "hypothesispytest",
    )
    without = [part for name in others for part in ("-p", f"no:{name}")]
    # below the suite's own folder all scenarios have the names of their files, however few of them run
    root = str(Path(pytest_wsdevice.__file__).parent / "conformance")
    own = ["-q", "-c", "pytest.toml", "--rootdir", root, "--basetemp", "state", "--junitxml", "report.xml"]
    with Path("output").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = pytest.main([*arguments, *own, *without])
    sys.exit(int(code))


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


class Asked(NamedTuple):
    """One run that is wanted: arguments, and files of the suite (all where there are none)."""

    arguments: tuple[str, ...]
    files: tuple[str, ...] = ()


class Runs:
    """Runs of the suite, some at once: those that will be asked for are begun before they are.

    Args:
        wanted: the runs, by their names, in the order in which they are begun.
    """

    def __init__(self, wanted: Mapping[str, Asked]) -> None:
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
        asked = self._wanted[name]
        return self._pool.submit(run_suite, *asked.arguments, files=asked.files)
