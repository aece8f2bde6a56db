"""``wsdevice flash`` and ``wsdevice monitor``: one board on one port, without a bench file."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO

from gateway.exit_codes import ExitCode
from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig
from harness.board.console import Console
from harness.board.console_lines import Colour, Line, LineKind
from harness.board.crash_report import CrashReport
from harness.board.crash_watch import CrashWatch
from harness.board.decoding import decode, in_words
from harness.board.errors import WrongChip
from harness.board.esptool_output import Progress
from harness.board.flasher import Flasher
from harness.board.reset_lines import ResetLines
from harness.errors import HarnessError
from harness.firmware.build import Build, find_build

WAITING = 10_000
"""Lines that wait to be printed, on a terminal that was stopped; further ones are counted, and not shown."""
_LOOK = 0.2  # seconds between two looks whether the port is still there
_MARKS: dict[LineKind, str] = {"said": " ", "written": ">", "gap": "-", "note": "-"}
_CODES: dict[Colour, int] = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}


def flash(arguments: argparse.Namespace) -> int:
    """Flash a build; return 0, or 1: it could not be, and stderr says why."""
    try:
        build = find_build(arguments.build)
        print(_flash(build, arguments))
    except HarnessError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.OK


def _flash(build: Build, arguments: argparse.Namespace) -> str:
    chip = arguments.chip or build.chip.name
    flashing = FlashConfig("console", baud=arguments.baud)
    config = BoardConfig("the board", chip, "", _console(arguments.port), flashing)
    try:
        with _progress(sys.stdout) as tell:
            done = Flasher(config, on_progress=tell).flash(build, all_of_it=arguments.all)
    except WrongChip:
        _let_go(arguments.port)
        raise
    version = f" {build.descriptor.project} {build.descriptor.version}" if build.descriptor else ""
    return f"{done}:{version}, {chip} {done.mac}"


def monitor(arguments: argparse.Namespace) -> int:
    """Print what a board says until Ctrl-C; return 0, or 1: the port cannot be used, or went away for good."""
    waiting: SimpleQueue[Line | str] = SimpleQueue()
    left_out = 0

    def put(what: Line | str) -> None:
        nonlocal left_out
        if waiting.qsize() < WAITING:
            waiting.put(what)
        else:
            left_out += 1

    console = Console("the board", arguments.port, baud=arguments.baud, log=arguments.log)
    crashes = CrashWatch("the board", console, tell=lambda report, _: put(_described(report, arguments.elf)))
    console.watch(put)
    end = time.monotonic() + arguments.seconds if arguments.seconds else float("inf")
    try:
        with console:
            if arguments.reset:
                ResetLines("the board", console).reset()
            _print(waiting, lambda: console.state == "lost" or time.monotonic() >= end)
            lost = console.state == "lost"
    except HarnessError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        lost = False
    finally:
        crashes.close()
        _print(waiting, lambda: True)
        if left_out:
            print(f"({left_out} lines came while the terminal stood still, and were left out)")
    return ExitCode.FAILED if lost else ExitCode.OK


def _let_go(port: str) -> None:
    """Have a board that esptool left in its boot loader go on with what it did."""
    with contextlib.suppress(HarnessError), Console("the board", port) as console:
        ResetLines("the board", console).reset()


def _console(port: str) -> ConsoleConfig:
    return ConsoleConfig(url=port) if "://" in port else ConsoleConfig(device=port)


@contextlib.contextmanager
def _progress(out: TextIO) -> Iterator[Callable[[Progress], None] | None]:
    """Show on a terminal how far a write is, over and over in one line."""
    if not out.isatty():
        yield None
        return

    def tell(progress: Progress) -> None:
        out.write(f"\r  {progress.offset:#010x}  {progress.percent:5.1f} %")
        out.flush()

    try:
        yield tell
    finally:
        out.write("\r\x1b[K")
        out.flush()


def _print(waiting: SimpleQueue[Line | str], ends: Callable[[], bool]) -> None:
    """Print what waits, and what comes, until it ends and nothing waits any more."""
    coloured = sys.stdout.isatty()
    while True:
        try:
            what = waiting.get(timeout=_LOOK)
        except Empty:
            if ends():
                return
            continue
        print(what if isinstance(what, str) else _shown(what, coloured=coloured), flush=True)


def _shown(line: Line, *, coloured: bool) -> str:
    text = f"{line.at % 100_000:12.4f} {_MARKS[line.kind]} {line.text}"
    return f"\x1b[{_CODES[line.colour]}m{text}\x1b[0m" if coloured and line.colour else text


def _described(report: CrashReport, elf: Path | None) -> str:
    return "\n".join(f"--- {line}" for line in in_words(report, decode(report, elf)).splitlines())
