"""``wsdevice boards``: what is attached, what a bench has, whether it is well."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.exit_codes import ExitCode
from harness.bench.bench_file import Bench
from harness.bench.bench_loading import load
from harness.bench.errors import BadBenchFile
from harness.bench.health import Health
from harness.bench.overview import overview
from harness.bench.virtual_bench import VirtualRig, is_virtual
from harness.errors import HarnessError


def boards(arguments: argparse.Namespace) -> int:
    """Run one of the commands and return its exit code: 0; 1: something is the matter with a board; 2: no bench."""
    run = {"scan": _scan, "check": _check, "list": _list, "clear": _clear}[arguments.action]
    try:
        if arguments.bench is None:
            return _scan(None, arguments)
        with _opened(arguments.bench) as bench:
            return run(bench, arguments)
    except BadBenchFile as error:
        count = len(error.faults)
        print(f"{error}\n{count} fault{'s' if count > 1 else ''} in the bench file", file=sys.stderr)
    except HarnessError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
    return ExitCode.CANNOT_START


@contextmanager
def _opened(given: str) -> Iterator[Bench]:
    """Read the bench's file; or start the virtual one, and end it."""
    if not is_virtual(given):
        yield load(Path(given))
        return
    with VirtualRig(given) as rig:
        yield rig.bench


def _scan(bench: Bench | None, arguments: argparse.Namespace) -> int:
    from harness.bench import scan  # noqa: PLC0415 - needs pyserial, which may not be there

    known = [board.console.url for board in bench.boards if board.console.url] if bench else []
    found = scan.scan(bench, list(dict.fromkeys([*known, *arguments.port])))
    print(scan.report(found, bench), end="")
    return ExitCode.OK


def _check(bench: Bench, _: argparse.Namespace) -> int:
    from harness.bench import check  # noqa: PLC0415 - as above

    checked = check.check(bench)
    print(check.report(checked), end="")
    return ExitCode.FAILED if any(one.wrong for one in checked) else ExitCode.OK


def _list(bench: Bench, _: argparse.Namespace) -> int:
    print(overview(bench), end="")
    return ExitCode.OK


def _clear(bench: Bench, arguments: argparse.Namespace) -> int:
    board = bench.board(arguments.board)
    if Health(bench.state_dir).clear(board.id, arguments.because):
        print(f"{board.id} is in use again")
    else:
        print(f"{board.id} was not in quarantine; its faults are forgiven")
    return ExitCode.OK
