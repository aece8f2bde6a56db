"""One build on one board, from the refusal of a bad build to the verdict. Calls block; all is told as it goes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gateway import __version__
from harness.bench.bench_file import Bench, BoardConfig
from harness.bench.errors import HistoryFailed, LockFailed, NoBoardFree, NothingMatches, RigFailed
from harness.bench.held_board import HeldBoard
from harness.bench.holding import Holding
from harness.board.errors import BoardCrashed, BringUpFailed, FlashFailed, LineMissing, PortFailed
from harness.board.flash_plan import Flashed
from harness.board.orders import NoAnswer, OrderFailed
from harness.board.power import PowerFailed
from harness.firmware.build import Build
from harness.firmware.errors import FirmwareError
from harness.report.record import REAL, VIRTUAL, BoardUsed, Cell, Crash, Measurement, PartUsed, Scenario, Verdict
from harness.validation import refusing
from harness.validation.errors import SuiteFailed
from harness.validation.job import GROUPS, Job
from harness.validation.judgement import judged
from harness.validation.limits import limit_of
from harness.validation.measuring import Measuring, Values
from harness.validation.metrics import metric_named
from harness.validation.observing import NotBack, Observation, says_wifi_lost
from harness.validation.progress import Measured, Remark, ScenarioOver, Stage, Tell
from harness.validation.results import ScenarioResult
from harness.validation.suite import Suite
from harness.validation.verdicts import Evidence, decide

_RIG_FAILED = (PortFailed, FlashFailed, PowerFailed, NoBoardFree, NothingMatches, LockFailed, HistoryFailed, RigFailed)
"""What the rig's own errors are; `FlashFailed` may blame the firmware, and says so."""


class Validation:
    """Finds everything out about one build on one board.

    Args:
        job: what to do.
        directory: for files, its own.
        tell: is told what goes on.

    Attributes:
        secrets: that were seen, and must be in no report.
    """

    def __init__(self, job: Job, directory: Path, tell: Tell = lambda _: None) -> None:
        self.secrets: set[str] = set()
        self._job = job
        self._directory = directory
        self._tell = tell
        self._board: BoardConfig = job.bench.board(job.board)
        self._build: Build | None = None
        self._evidence: list[Evidence] = []
        self._measurements: list[Measurement] = []
        self._scenarios: list[Scenario] = []
        self._crashes: list[Crash] = []
        self._flashed: Flashed | None = None
        self._environment: dict[str, str] = {}

    def run(self) -> Cell:
        """Do it all, and return what was found.

        Raises:
            Misuse: what was asked for cannot be.
        """
        began = time.monotonic()
        if psk := self._job.bench.network.psk():
            self.secrets.add(psk)
        if self._is_fit() and self._measure() and self._job.suite:
            self._run_suite()
        self._judge_measurements()
        verdict, why, decided_by = decide(self._evidence, self._good())
        return Cell(
            build=refusing.used(self._build, self._job.name, self._board.chip),
            board=used_board(self._board),
            verdict=verdict,
            why=why,
            decided_by=decided_by,
            seconds=time.monotonic() - began,
            measurements=tuple(self._measurements),
            scenarios=tuple(self._scenarios),
            flashed=parts_used(self._build, self._flashed),
            crashes=tuple(self._crashes),
            environment=self._environment,
        )

    # --- the build ----------------------------------------------------------------------------------------------

    def _is_fit(self) -> bool:
        self._tell(Stage("looking at the build"))
        try:
            self._build = refusing.found(Path(self._job.build), self._board)
        except FirmwareError as error:
            self._evidence.append(Evidence("refused", refusing.in_one_line(error)))
            return False
        return True

    # --- the board ----------------------------------------------------------------------------------------------

    def _measure(self) -> bool:
        """Bring the board up and measure it; false: it is of no use for scenarios."""
        assert self._build is not None, "it is fit"
        alone = msgspec.structs.replace(self._job.bench, boards=(self._board,))
        self._tell(Stage("waiting for the board"))
        with (
            self._finding(),
            Holding(
                alone,
                self._directory,
                {self._board.chip: self._build},
                wait=self._job.wait,
                online=self._job.online,
                tell=self._remark,
            ) as holding,
        ):
            self._tell(Stage("flashing and booting"))
            held = holding.board(test=f"wsdevice validate {self._job.name}")
            self.secrets |= held.redactor.secrets
            self._flashed = held.board.flashed
            self._note_environment(held)
            with Measuring(held, holding.front, self._directory / "gateway", self._measured) as measuring:
                try:
                    self._measure_groups(measuring)
                finally:
                    self._look_back(measuring.observation)
            self._environment["boot"] = ", ".join(
                f"{one.stage} {one.seconds:.1f} s" for one in held.board.bring_up.records
            )
        return not any(one.kind in {"crashed", "rig_failed", "not_up", "brown_out"} for one in self._evidence)

    def _measure_groups(self, measuring: Measuring) -> None:
        repeats = self._job.repeats
        for group in GROUPS:
            if group in self._job.groups:
                self._tell(Stage(f"measuring: {group}"))
                getattr(measuring, group)(repeats)
        if self._job.soak:
            self._tell(Stage(f"soaking for {self._job.soak:g} s"))
            measuring.soak(self._job.soak)
        measuring.resets()
        if self._job.ota:
            self._tell(Stage("updates"))
            if why_none := measuring.updates(self._take_update):
                self._tell(Remark(f"no updates: {why_none}"))
                self._environment["updates"] = f"not tried: {why_none}"

    def _take_update(self, scenario: Scenario) -> None:
        self._scenarios.append(scenario)
        self._tell(ScenarioOver(scenario.name, scenario.outcome, len(self._scenarios), len(self._scenarios)))
        if scenario.bad:
            why = f"{scenario.name}: {scenario.message.partition(chr(10))[0]}"
            self._evidence.append(Evidence("scenario", why, scenario.name))

    def _look_back(self, seen: Observation) -> None:
        """Take what the observation found besides."""
        if seen.crashes:
            seen.held.await_crash()
        signatures = [crash.signature for crash in seen.held.crashes]
        for number, crashed in enumerate(seen.crashes):
            self._add_crash(crashed.kind, crashed.report, "", signatures[number] if number < len(signatures) else "")
        losses = seen.wifi_losses()
        if losses:
            more = f", {len(losses)} such lines" if len(losses) > 1 else ""
            self._evidence.append(Evidence("wifi_lost", f"it lost its Wi-Fi unasked: {losses[0].text}{more}"))

    def _add_crash(self, kind: str, text: str, scenario: str, signature: str, at: float | None = None) -> None:
        self._crashes.append(Crash(kind, text, scenario, at, signature))
        where = f" in {scenario}" if scenario else ""
        first = text.partition("\n")[0]
        evidence = "brown_out" if kind == "brown_out" else "crashed"
        self._evidence.append(Evidence(evidence, f"it crashed{where}: {first}", scenario))  # type: ignore[arg-type]

    @contextmanager
    def _finding(self) -> Iterator[None]:
        """Make evidence of what goes wrong in here."""
        verdict: Verdict
        try:
            yield
        except BringUpFailed as failed:
            kind = "rig_failed" if failed.verdict == "rig" else "not_up"
            self._evidence.append(Evidence(kind, f"{failed.stage}: {failed.why}", verdict=failed.verdict))  # type: ignore[arg-type]
            self._environment["console"] = "\n".join(failed.lines)
        except BoardCrashed:
            if not any(one.kind in {"crashed", "brown_out"} for one in self._evidence):
                raise
        except NotBack as missing:
            self._evidence.append(Evidence("not_up", str(missing), verdict="firmware"))
        except (NoAnswer, OrderFailed, LineMissing) as error:
            verdict = getattr(error, "verdict", "firmware")
            self._evidence.append(Evidence("not_up", _first_line(error), verdict=verdict))
        except _RIG_FAILED as failed:
            verdict = getattr(failed, "verdict", "rig")
            kind = "rig_failed" if verdict == "rig" else "not_up"
            self._evidence.append(Evidence(kind, _first_line(failed), verdict=verdict))  # type: ignore[arg-type]

    def _remark(self, text: str) -> None:
        """Tell what was tried again because of the rig, and keep it for the report."""
        self._tell(Remark(text))
        self._environment["tried again"] = "\n".join(filter(None, (self._environment.get("tried again", ""), text)))

    def _note_environment(self, held: HeldBoard) -> None:
        self._environment["network"] = "virtual access point" if held.config.virtual else "Wi-Fi of the bench"
        self._environment["power"] = held.power.kind
        self._environment["gateway"] = f"wsdevice {__version__}"

    # --- measurements -------------------------------------------------------------------------------------------

    def _measured(self, name: str, values: Values, why_none: str, remark: str) -> None:
        metric = metric_named(name)
        measurement = judged(
            metric,
            list(map(float, values)),
            limit=limit_of(name, self._job.limits),
            baseline=self._job.baseline.get(name),
            why_none=why_none,
            remark=remark,
        )
        self._measurements = [one for one in self._measurements if one.name != name] + [measurement]
        self._tell(Measured(measurement))

    def _judge_measurements(self) -> None:
        for one in self._measurements:
            if one.bad:
                kind = "over_limit" if one.judgement == "over limit" else "worse"
                blames = metric_named(one.name).blames
                self._evidence.append(Evidence(kind, f"{one.title}: {one.why}", one.name, blames))  # type: ignore[arg-type]

    # --- scenarios ----------------------------------------------------------------------------------------------

    def _run_suite(self) -> None:
        assert self._build is not None, "it is fit"
        self._tell(Stage("scenarios"))
        heard: list[ScenarioResult] = []

        def hear(result: ScenarioResult) -> None:
            heard.append(result)
            self._tell(ScenarioOver(result.name, result.outcome, len(heard), result.total))

        suite = Suite(self._directory, hear, faulty=self._job.faulty, remark=self._remark)
        alone: Bench = msgspec.structs.replace(self._job.bench, boards=(self._board,))
        try:
            suite.on_board(alone, Path(self._job.build), self._job.scenarios)
        except SuiteFailed as failed:
            self._evidence.append(Evidence("suite_failed", _first_line(failed)))
        results = tuple(heard)
        without = self._without_board([one for one in results if one.bad and _unexplained(one)])
        for one in results:
            self._take(one, without)

    def _without_board(self, failed: Sequence[ScenarioResult]) -> frozenset[str]:
        """Run what failed without a reason of its own with fake devices; return the names of those that fail there."""
        if not failed:
            return frozenset()
        self._tell(Stage("what failed, with a fake device in the board's place"))
        try:
            again = Suite(self._directory / "fake", faulty=self._job.faulty).without_board(one.name for one in failed)
        except SuiteFailed as error:
            self._tell(Remark(f"what failed could not be run with fake devices: {_first_line(error)}"))
            return frozenset()
        return frozenset(one.name for one in again if one.bad)

    def _take(self, result: ScenarioResult, without: frozenset[str]) -> None:
        evidence = _evidence_of(result, without) if result.bad else None
        if result.crash:
            self._add_crash(result.crash, result.crash_text, result.name, result.signature, result.failed_at)
            evidence = self._evidence[-1]
        elif evidence is not None:
            self._evidence.append(evidence)
        reproduce = f"{self._job.reproduce} -k {_test_of(result.name)}" if self._job.reproduce else ""
        self._scenarios.append(result.to_scenario(evidence.blames if evidence else None, reproduce if evidence else ""))

    def _good(self) -> str:
        passed = sum(one.outcome == "passed" for one in self._scenarios)
        measured = sum(bool(one.values) for one in self._measurements)
        return f"{passed} scenarios passed, {measured} measurements are within their limits"


def used_board(board: BoardConfig) -> BoardUsed:
    """Say what is reported of a board."""
    return BoardUsed(board.id, board.chip, board.virtual, VIRTUAL if board.virtual else REAL)


def parts_used(build: Build | None, flashed: Flashed | None) -> tuple[PartUsed, ...]:
    """Say what became of each part of a build; settings, which are secret, are left out."""
    if flashed is None:
        return ()
    named = {part.offset: part.label or part.role.replace("_", " ") for part in build.parts} if build else {}
    return tuple(
        PartUsed(
            named.get(part.offset, part.name),
            part.offset,
            part.size,
            bool(part.written),
            "it differed" if part.written else "the flash holds the same",
        )
        for part in flashed.parts
        if part.purpose == "build"
    )


def _evidence_of(result: ScenarioResult, without: frozenset[str]) -> Evidence:
    why = f"{result.name}: {_reason(result.message)}"
    if result.verdict == "rig":
        return Evidence("rig_failed", why, result.name)
    losses = [row for row in result.timeline if row.get("kind") == "console" and says_wifi_lost(str(row.get("line")))]
    if losses:
        return Evidence("wifi_lost", f"it lost its Wi-Fi unasked in {result.name}: {losses[0]['line']}", result.name)
    if result.verdict is not None:
        return Evidence("not_up", why, result.name, result.verdict)
    return Evidence("scenario_without_board" if result.name in without else "scenario", why, result.name)


def _unexplained(result: ScenarioResult) -> bool:
    return result.verdict is None and not result.crash


def _reason(message: str) -> str:
    """Return the line of pytest's report that says what went wrong: the first that it marks as an error."""
    marked = [line[1:].strip() for line in message.splitlines() if line.startswith("E ")]
    return next(iter(marked or message.splitlines()), "it failed").strip()


def _test_of(name: str) -> str:
    return name.partition("::")[2].partition("[")[0]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
