"""Turns the addresses of a crash into functions and lines of source, with whatever decoders are installed.

Each is a program of its own: ``addr2line`` of a tool chain; Espressif's ``esp-idf-panic-decoder``, which unwinds the
stack that RISC-V prints, and ``esp-coredump``, for core dumps: both need the tool chain's gdb as well. None is needed:
without them a report has its addresses. All need the very ELF file that runs, and its hash is compared with the log's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.identity import printable
from harness.board.crash_report import CrashReport
from harness.board.toolchains import TookTooLong, candidates, first_present, run
from harness.firmware.chips import Chip

SECONDS: Final = 20.0
"""For all decoders together: gdb takes seconds to read the ELF file of a large application."""
SHOWN_PLACES: Final = 24
"""Of a backtrace, in words."""
SHOWN_CHARACTERS: Final = 300
"""Of one line of what a decoder prints."""
SHOWN_LINES: Final = 60

_ADDRESS = re.compile(r"0x([0-9a-fA-F]{1,16})")
_SOURCE = re.compile(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?")
_GDB_FRAME = re.compile(r"#\d+ +(?:0x([0-9a-f]{8}) in )?(\S+) \(.*\) at (.+):(\d+)")


class Place(NamedTuple):
    """A place in the source: of a function, or of one that was inlined into it.

    Attributes:
        function: its name, ``??`` if unknown.
        file: path as the compiler had it; empty if unknown.
        line: in the file; None if unknown.
    """

    function: str
    file: str
    line: int | None

    def __str__(self) -> str:
        where = f" at {self.file}" if self.file else ""
        return printable(f"{self.function}{where}{f':{self.line}' if self.line else ''}", SHOWN_CHARACTERS)


class DecodedFrame(NamedTuple):
    """An address of the crash.

    Attributes:
        address: as in the report; 0 where a decoder found a frame without saying it.
        places: innermost first; more than one where functions were inlined.
    """

    address: int
    places: tuple[Place, ...]


class Decoded(msgspec.Struct, frozen=True):
    """What decoders made of a crash.

    Attributes:
        frames: innermost first.
        decoders: the programs that had something to say.
        texts: what they printed, for those that print more than frames.
        missing: why others did not: one sentence each, with what to install where that helps.
    """

    frames: tuple[DecodedFrame, ...] = ()
    decoders: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def decode(report: CrashReport, elf: Path | None, chip: Chip | None = None, seconds: float = SECONDS) -> Decoded:
    """Decode a crash as far as it goes; never raises for what is missing or does not work.

    Args:
        report: the crash.
        elf: ELF file of the application that ran; None: there is none.
        chip: of the board; None: it is not known.
        seconds: for all of it.
    """
    why_not = _unusable(report, elf)
    if elf is None or why_not:
        return Decoded(missing=(why_not,))
    deadline = time.monotonic() + seconds
    # in a folder of their own: gdb reads commands from the one it is started in
    with tempfile.TemporaryDirectory(prefix="wsdevice-crash-") as name:
        work = _Work(report, elf.resolve(), chip, Path(name), deadline)
        steps: list[Callable[[_Work], Decoded]] = [_with_addr2line]
        if report.crashed.stack and not report.backtrace:
            steps.insert(0, _with_panic_decoder)
        if report.core_dump:
            steps.append(_with_core_dump)
        done = [_tried(step, work) for step in steps]
    return Decoded(
        frames=next((part.frames for part in done if part.frames), ()),
        decoders=tuple(name for part in done for name in part.decoders),
        texts=tuple(text for part in done for text in part.texts),
        missing=tuple(reason for part in done for reason in part.missing),
    )


def in_words(report: CrashReport, decoded: Decoded) -> str:
    """Return the crash in lines for people: the report, its places in the source, and what could not be decoded."""
    lines = [str(report)]
    for number, frame in enumerate(decoded.frames[:SHOWN_PLACES]):
        first, *outer = frame.places
        address = f"{frame.address:#010x} " if frame.address else ""
        lines.append(f"  #{number:<2} {address}{first}")
        lines += [f"      inlined into {place}" for place in outer]
    for text in decoded.texts:
        lines += [f"  | {printable(line, SHOWN_CHARACTERS)}" for line in text.splitlines()[:SHOWN_LINES]]
    if decoded.decoders:
        lines.append(f"  decoded by {', '.join(decoded.decoders)}")
    return "\n".join([*lines, *(f"  not decoded: {reason}" for reason in decoded.missing)])


class _Work(NamedTuple):
    report: CrashReport
    elf: Path
    chip: Chip | None
    folder: Path
    deadline: float


def _unusable(report: CrashReport, elf: Path | None) -> str:
    """Say why an ELF file is of no use; empty: it is."""
    if elf is None:
        return "there is no ELF file of what runs on the board"
    try:
        with elf.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as refused:
        return f"{printable(elf)} cannot be read: {refused.strerror}"
    # a build may leave the hash out, and then prints zeros
    if report.elf_sha256.strip("0") and not found.startswith(report.elf_sha256):
        return (
            f"{printable(elf)} is of another build: its SHA-256 begins with {found[: len(report.elf_sha256)]}, "
            f"the board runs {report.elf_sha256}"
        )
    return ""


def _tried(step: Callable[[_Work], Decoded], work: _Work) -> Decoded:
    try:
        return step(work)
    except TookTooLong as late:
        return Decoded(missing=(f"{Path(str(late)).name} took too long, and was ended",))
    except OSError as refused:
        return Decoded(missing=(f"a decoder cannot be started: {refused}",))


# --- addr2line ------------------------------------------------------------------------------------------------------


def _with_addr2line(work: _Work) -> Decoded:
    addresses = work.report.addresses
    if not addresses:
        return Decoded(missing=("the report has no address of code",))
    architecture = work.report.architecture or (work.chip.architecture if work.chip else "xtensa")
    names = candidates("addr2line", architecture, work.chip)
    program = first_present(names)
    if program is None:
        return Decoded(missing=(f"none of {', '.join(names)} is installed",))
    command = [program, "-fiaC", "-e", str(work.elf), *(f"{address:#010x}" for address in addresses)]
    code, output = run(command, work.deadline, work.folder)
    frames = read_addr2line(output)
    if code or not frames:
        said = printable(output.strip() or f"nothing, exit code {code}", SHOWN_CHARACTERS)
        return Decoded(missing=(f"{Path(program).name} found no places, and said: {said}",))
    return Decoded(frames=frames, decoders=(Path(program).name,))


def read_addr2line(output: str) -> tuple[DecodedFrame, ...]:
    """Read what ``addr2line -fia`` prints: an address, then pairs of lines; those without any place are left out."""
    frames: list[DecodedFrame] = []
    lines = output.splitlines()
    starts = [number for number, line in enumerate(lines) if _ADDRESS.fullmatch(line.strip())]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=False):
        pairs = zip(lines[start + 1 : end : 2], lines[start + 2 : end : 2], strict=False)
        places = tuple(_place(function.strip(), source.strip()) for function, source in pairs)
        if any(place.function != "??" or place.file for place in places):
            frames.append(DecodedFrame(int(lines[start].strip(), 16), places))
    return tuple(frames)


def _place(function: str, source: str) -> Place:
    found = _SOURCE.fullmatch(source)
    file, line = (found[1], found[2]) if found else (source, "")
    return Place(function, "" if file == "??" else file, int(line) if line.isdecimal() and int(line) else None)


# --- Espressif's decoders -------------------------------------------------------------------------------------------


def _with_panic_decoder(work: _Work) -> Decoded:
    if importlib.util.find_spec("esp_idf_panic_decoder") is None:
        return Decoded(
            missing=("the stack: esp-idf-panic-decoder is not installed (pip install esp-idf-panic-decoder)",)
        )
    gdb = first_present(candidates("gdb", "riscv", work.chip)[:-1])
    if gdb is None:
        return Decoded(missing=("the stack: no gdb for RISC-V is installed (riscv32-esp-elf-gdb)",))
    panic = work.folder / "panic.txt"
    panic.write_text("\n".join(work.report.lines))
    server = f'target remote | "{sys.executable}" -m esp_idf_panic_decoder "{panic}"'
    code, output = run([gdb, "--batch", "-n", str(work.elf), "-ex", server, "-ex", "bt"], work.deadline, work.folder)
    frames = read_gdb_backtrace(output)
    if code or not frames:
        return Decoded(missing=(f"the stack: {Path(gdb).name} found no frames",))
    return Decoded(frames=frames, decoders=("esp-idf-panic-decoder",))


def read_gdb_backtrace(output: str) -> tuple[DecodedFrame, ...]:
    """Read the frames gdb's ``bt`` prints; those without a line of source are left out."""
    found = filter(None, map(_GDB_FRAME.match, output.splitlines()))
    return tuple(
        DecodedFrame(int(frame[1], 16) if frame[1] else 0, (Place(frame[2], frame[3], int(frame[4])),))
        for frame in found
    )


def _with_core_dump(work: _Work) -> Decoded:
    if importlib.util.find_spec("esp_coredump") is None:
        return Decoded(missing=("the core dump: esp-coredump is not installed (pip install esp-coredump)",))
    architecture = work.report.architecture or (work.chip.architecture if work.chip else "xtensa")
    names = candidates("gdb", architecture, work.chip)[:-1]
    gdb = first_present(names)
    if gdb is None or work.chip is None:
        need = f"none of {', '.join(names)} is installed" if work.chip else "the chip is not known"
        return Decoded(missing=(f"the core dump: {need}",))
    core = work.folder / "core.b64"
    core.write_text(work.report.core_dump + "\n")
    command = [sys.executable, "-m", "esp_coredump", "--chip", work.chip.name, "info_corefile", "--gdb", gdb]
    command += ["--core", str(core), "--core-format", "b64", str(work.elf)]
    code, output = run(command, work.deadline, work.folder)
    if code:
        said = printable(output.strip().splitlines()[-1] if output.strip() else "", SHOWN_CHARACTERS)
        return Decoded(missing=(f"the core dump: esp-coredump ended with {code}: {said}",))
    return Decoded(decoders=("esp-coredump",), texts=(output,))
