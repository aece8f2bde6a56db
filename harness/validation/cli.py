"""``wsdevice validate``: whether builds are good."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import platform
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.bench.bench_file import Bench
from harness.bench.bench_loading import load as load_bench
from harness.bench.health import Health
from harness.bench.selection import WAIT
from harness.bench.virtual_bench import MOST_BOARDS, VirtualRig, is_virtual
from harness.errors import HarnessError, Misuse
from harness.firmware.chips import CHIPS, ChipName, chip_named
from harness.firmware.errors import FirmwareError
from harness.redaction import Redactor
from harness.report.masking import masked
from harness.report.record import REAL, BoardUsed, Cell, Record, Run, Verdict, encode, gravest
from harness.report.writing import write_report
from harness.validation import baseline as baselines
from harness.validation import refusing
from harness.validation.baseline import BaselineFile, kind_of
from harness.validation.cells import Cells, Planned, candidates, name_of, unique
from harness.validation.display import Display
from harness.validation.errors import CellFailed
from harness.validation.exit_codes import ValidationExit, exit_code
from harness.validation.job import GROUPS, Job
from harness.validation.settings import Settings
from harness.validation.settings import load as load_settings

NO_BOARD = "none"
"""The id of the board in the cell of a build that was refused before one was chosen."""
NO_RIG = "there is no rig: --bench bench.toml names one, --bench virtual:2 is one without any board, as is --virtual"
_TOOLS = ("esptool", "pytest", "websockets", "littlefs-python", "esp-idf-nvs-partition-gen")


def validate(arguments: argparse.Namespace) -> int:
    """Validate builds, report, and return the exit code; see `ValidationExit`."""
    try:
        return _validate(arguments)
    except HarnessError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ValidationExit.BROKEN if isinstance(error, CellFailed) else ValidationExit.CANNOT_START
    except KeyboardInterrupt:
        print("wsdevice: interrupted; there is no verdict", file=sys.stderr)
        return ValidationExit.INTERRUPTED


def _validate(arguments: argparse.Namespace) -> int:
    if unknown := set(arguments.measure) - set(GROUPS):
        raise Misuse(f"expected what to measure ({', '.join(GROUPS)}), got {', '.join(sorted(unknown))}")
    settings = load_settings(arguments.config)
    path = arguments.baseline or (Path(settings.baseline) if settings.baseline else None)
    if arguments.update_baseline and path is None:
        raise Misuse("--update-baseline needs a file: --baseline FILE, or validate.baseline of wsdevice.toml")
    before = baselines.load(path, may_be_new=arguments.update_baseline) if path else BaselineFile()
    began, clock = dt.datetime.now(dt.UTC), time.monotonic()
    redactor = Redactor()
    display = _display(arguments, redactor)
    chips, refused = _looked_at(arguments)
    cells = list(refused)
    if chips:
        with _bench(arguments, settings, list(chips.values())) as bench:
            redactor.add(bench.network.psk())
            runner = Cells(display.tell)
            try:
                cells += runner.run(_plan(arguments, settings, before, bench, chips))
            finally:
                redactor.add(*runner.secrets)
    display.close()
    verdict = gravest(cell.verdict for cell in cells)
    run = Run(
        secrets.token_hex(6),
        began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        time.monotonic() - clock,
        _tools(),
        _again(arguments),
    )
    record = Record(run, verdict, _why(cells, verdict), tuple(cells))
    _give_out(arguments, record, redactor)
    if arguments.update_baseline and path is not None:
        _update(path, before, cells)
    return exit_code(verdict)


# --- what is to be done -----------------------------------------------------------------------------------------


def _looked_at(arguments: argparse.Namespace) -> tuple[dict[str, tuple[Path, ChipName]], list[Cell]]:
    """Return the builds that can be tried, by name, each with its chip; and a cell for each that is none."""
    names = unique([name_of(path) for path in arguments.build])
    found: dict[str, tuple[Path, ChipName]] = {}
    refused = []
    for name, path in zip(names, arguments.build, strict=True):
        try:
            build = refusing.found(path, None)
        except FirmwareError as error:
            why = refusing.in_one_line(error)
            chip = chip_named(arguments.chip).name if arguments.chip else "unknown"
            board = BoardUsed(
                NO_BOARD, chip, virtual=False, evidence=msgspec.structs.replace(REAL, real=("the files",))
            )
            refused.append(Cell(refusing.used(None, name, chip), board, "firmware", f"it was refused: {why}"))
        else:
            found[name] = (path, build.chip.name)
    return found, refused


@contextmanager
def _bench(
    arguments: argparse.Namespace, settings: Settings, builds: Sequence[tuple[Path, ChipName]]
) -> Iterator[Bench]:
    """Read the bench's file, or start the virtual one, and end it."""
    chips = [chip_named(arguments.chip).name] * len(builds) if arguments.chip else [chip for _, chip in builds]
    given = arguments.bench or settings.bench
    if arguments.virtual:
        given = f"virtual:{','.join(chips[:MOST_BOARDS])}"
    if not given:
        raise Misuse(NO_RIG)
    if not is_virtual(given):
        yield load_bench(Path(given))
        return
    with VirtualRig(given) as rig:
        yield rig.bench


def _plan(
    arguments: argparse.Namespace,
    settings: Settings,
    before: BaselineFile,
    bench: Bench,
    builds: dict[str, tuple[Path, ChipName]],
) -> list[Planned]:
    everywhere = "all" in arguments.board
    ids = [] if everywhere else arguments.board
    for board_id in ids:
        bench.board(board_id)
    plan = []
    for name, (path, chip) in builds.items():
        wanted = chip_named(arguments.chip).name if arguments.chip else chip
        # a board that was named is tried, whatever it is: the build is refused with the reason
        boards = candidates(bench.boards, Health(bench.state_dir), wanted, ids) or tuple(ids)
        if not boards:
            raise Misuse(f"no board of the bench {bench.name} is an {CHIPS[wanted].title}, which {name} is for")
        first = [(board,) for board in boards] if everywhere or len(ids) > 1 else [boards]
        plan += [Planned(_job(arguments, settings, before, bench, name, path, tried[0]), tried) for tried in first]
    return plan


def _job(
    arguments: argparse.Namespace,
    settings: Settings,
    before: BaselineFile,
    bench: Bench,
    name: str,
    path: Path,
    board: str,
) -> Job:
    config = bench.board(board)
    scenarios = arguments.scenarios if arguments.scenarios is not None else settings.scenarios
    rig, build = _said(arguments.bench or settings.bench or "virtual:1"), _said(str(path))
    return Job(
        build=str(path.resolve()),
        name=name,
        bench=bench,
        board=board,
        scenarios=scenarios,
        repeats=arguments.repeats or settings.repeats,
        soak=arguments.soak,
        limits={**before.limits, **settings.limits},
        baseline=dict(before.of(kind_of(config.chip, virtual=config.virtual))),
        groups=tuple(arguments.measure) or GROUPS,
        wait=WAIT,
        faulty=arguments.faulty,
        ota=not arguments.no_ota,
        reproduce=f"pytest -m hil --ws-bench={rig} --ws-build={build} --pyargs pytest_wsdevice.conformance",
    )


# --- what came of it --------------------------------------------------------------------------------------------


def _give_out(arguments: argparse.Namespace, record: Record, redactor: Redactor) -> None:
    """Write the report and the record, and say the verdict."""
    page = None
    if arguments.report is not None:
        page = write_report(record, arguments.report, redactor).page
    if arguments.json:
        sys.stdout.write(encode(masked(record, redactor)).decode())
        return
    if len(record.cells) > 1:
        print(*_matrix(record.cells), sep="\n")
    for cell in record.cells:
        for attempt in cell.attempts:
            print(redactor(f"{cell.build.name}: tried before on {attempt.board}: {attempt.verdict}: {attempt.why}"))
    print(redactor(f"{record.verdict}: {record.why}"))
    if page is not None:
        print(f"report: {page}")


def _matrix(cells: Sequence[Cell]) -> Iterator[str]:
    """One line for each build on a board."""
    build, board = (
        max(len(name) for name in names) for names in zip(*((c.build.name, c.board.id) for c in cells), strict=True)
    )
    for cell in cells:
        yield f"{cell.build.name:<{build}}  {cell.board.id:<{board}}  {cell.verdict:<8}  {cell.why}"


def _why(cells: Sequence[Cell], verdict: Verdict) -> str:
    """Say why in one line: of one cell its own; of several, of the first that has this verdict."""
    first = next(cell for cell in cells if cell.verdict == verdict)
    again = (
        f" (at the second attempt; first on {first.attempts[0].board}: {first.attempts[0].verdict})"
        if first.attempts
        else ""
    )
    if len(cells) == 1:
        return first.why + again
    if verdict == "pass":
        return f"all {len(cells)} cells are good"
    return f"{first.build.name} on {first.board.id}: {first.why}{again}"


def _update(path: Path, before: BaselineFile, cells: Sequence[Cell]) -> None:
    """Write what good cells measured."""
    good = [cell for cell in cells if fit_for_baseline(cell)]
    path.write_text(baselines.to_toml(baselines.updated(before, good)), encoding="utf-8")
    print(f"baseline: {len(good)} of {len(cells)} cells are good enough for {path}", file=sys.stderr)


def fit_for_baseline(cell: Cell) -> bool:
    """Whether a cell may become a baseline: good, or at most worse than the one before, which is what is replaced."""
    bad = any(one.bad for one in cell.scenarios) or any(one.judgement == "over limit" for one in cell.measurements)
    return bool(cell.measurements) and not bad and not cell.crashes and cell.verdict in {"pass", "firmware"}


def _display(arguments: argparse.Namespace, redactor: Redactor) -> Display:
    out = sys.stderr if arguments.json else sys.stdout
    return Display(out, live=out.isatty(), columns=shutil.get_terminal_size().columns, mask=redactor)


def _tools() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("wsdevice", *_TOOLS):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _again(arguments: argparse.Namespace) -> str:
    """Return the command that does it again, without a path of this machine."""
    words = ["wsdevice", "validate", *(_said(str(path)) for path in arguments.build)]
    words += ["--virtual"] if arguments.virtual else []
    words += [f"--bench={_said(arguments.bench)}"] if arguments.bench else []
    words += [f"--board={board}" for board in arguments.board]
    words += [f"--chip={arguments.chip}"] if arguments.chip else []
    words += [f"--scenarios={arguments.scenarios}"] if arguments.scenarios else []
    words += [f"--repeats={arguments.repeats}"] if arguments.repeats else []
    words += [f"--soak={arguments.soak:g}s"] if arguments.soak else []
    return shlex.join(words)


def _said(path: str) -> str:
    """Return a path as it was given; of an absolute one only its end, the rest is of this machine."""
    return Path(path).name if Path(path).is_absolute() else path
