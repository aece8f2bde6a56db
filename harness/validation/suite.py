"""Runs the scenarios on a board, or with a fake device in its place, in a process of their own.

`harness.validation.results` says why it is one, and what it leaves behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import harness
from gateway.identity import printable
from harness.bench.bench_file import Bench, to_json
from harness.validation.errors import NoScenario, SuiteFailed
from harness.validation.results import Lines, ScenarioResult, remarks

SILENCE = 300.0
"""Seconds without a result: the longest scenario takes 20 s, a board that has to be brought back and written anew, 200.
"""
END = 20.0
"""Seconds from being told to end to being killed: the boards are given back meanwhile."""
LOOK = 0.1
_FAILED, _USAGE, _NONE = 1, 4, 5  # exit codes of pytest
_SHOWN = 2000  # characters of the end of what it said

Heard = Callable[[ScenarioResult], None]


class Suite:
    """The scenarios, run as often as wanted.

    Args:
        directory: for files, in which no other run puts any; one of them holds the password of a virtual bench.
        heard: is told each result.
        faulty: a defect that is planted in each gateway; empty: none.
        remark: is told what had to be tried again because of the rig.
        silence: seconds without a result, after which it is ended.
    """

    def __init__(
        self,
        directory: Path,
        heard: Heard = lambda _: None,
        *,
        faulty: str = "",
        remark: Callable[[str], None] = lambda _: None,
        silence: float = SILENCE,
    ) -> None:
        self._directory = directory
        self._heard = heard
        self._faulty = faulty
        self._remark = remark
        self._silence = silence
        self._runs = 0
        directory.mkdir(parents=True, exist_ok=True)

    def on_board(self, bench: Bench, build: Path, expression: str = "") -> tuple[ScenarioResult, ...]:
        """Run the scenarios on a board of a bench that nobody holds.

        Args:
            bench: with that board alone.
            build: that is on it.
            expression: which ones, as of ``-k``; empty: all that boards can have.

        Raises:
            NoScenario: the expression chooses none, or is none.
            SuiteFailed: they could not be run to their end; what was heard before counts.
        """
        file = self._directory / "bench.json"
        file.touch(mode=0o600)
        file.write_bytes(to_json(bench))
        chosen = ["-k", expression] if expression else []
        return self._run(["-m", "hil", f"--ws-bench={file}", f"--ws-build={build}", *chosen], expression)

    def without_board(self, names: Iterable[str]) -> tuple[ScenarioResult, ...]:
        """Run scenarios with fake devices, by their names; raises as `on_board`."""
        only = self._directory / "only.txt"
        only.write_text("\n".join(names), encoding="utf-8")
        return self._run([f"--ws-only={only}"])

    def _run(self, options: Sequence[str], expression: str = "") -> tuple[ScenarioResult, ...]:
        self._runs += 1
        results, log = self._directory / f"results-{self._runs}.jsonl", self._directory / f"pytest-{self._runs}.log"
        lines, found = Lines(results), []
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 - pytest, and our own modules
                self._command(results, options),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(),
            )
            try:
                last = time.monotonic()
                while True:
                    code = process.poll()
                    for result in lines.new():
                        last = time.monotonic()
                        found.append(result)
                        self._heard(result)
                    if code is not None:
                        break
                    if time.monotonic() - last > self._silence:
                        raise SuiteFailed(f"no scenario has ended for {self._silence:g} s: {_end_of(log)}")
                    time.sleep(LOOK)
            finally:
                _end(process)
        for text in remarks(results):
            self._remark(text)
        if code == _NONE or (code == _USAGE and expression and "expression" in _end_of(log)):
            raise NoScenario(f"expected scenarios that match {printable(expression)!r}, there are none")
        if code not in {0, _FAILED} or len(found) < max((one.total for one in found), default=0):
            raise SuiteFailed(f"the scenarios ended with {code} after {len(found)} of them: {_end_of(log)}")
        return tuple(found)

    def _command(self, results: Path, options: Sequence[str]) -> list[str]:
        plugins = ("pytest_asyncio.plugin", "pytest_wsdevice.plugin", "pytest_wsdevice.results")
        faulty = [f"--ws-faulty={self._faulty}"] if self._faulty else []
        return [
            *(sys.executable, "-m", "pytest", "--pyargs", "pytest_wsdevice.conformance"),
            *(word for plugin in plugins for word in ("-p", plugin)),
            # no settings, no cache and no plugins of whoever calls
            *("-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={self._directory}"),
            f"--basetemp={self._directory / f'pytest-{self._runs}'}",
            *("--import-mode=importlib", "-q", "--tb=short", f"--ws-results={results}", *faulty, *options),
        ]


def _environment() -> dict[str, str]:
    ours = str(Path(harness.__file__).parents[1])  # installed or not
    path = os.environ.get("PYTHONPATH", "")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("WSDEVICE_TEST_") and name not in {"PYTEST_ADDOPTS", "PYTEST_PLUGINS"}
    }
    return kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"{ours}{os.pathsep}{path}" if path else ours}


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # as Ctrl-C: boards are given back
        try:
            process.wait(END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END)


def _end_of(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()[-_SHOWN:]
    return "\n".join(printable(line, 300) for line in text.splitlines()) or "it said nothing"
