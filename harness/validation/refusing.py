"""Finds a build, and refuses it with its reason before any board is touched."""

from __future__ import annotations

from pathlib import Path

from harness.bench.bench_file import BoardConfig
from harness.firmware.build import Build, find_build
from harness.firmware.errors import FirmwareError
from harness.firmware.fitness import fits
from harness.report.record import BuildUsed

_MIB = 1 << 20


def found(path: Path, board: BoardConfig | None) -> Build:
    """Return the build at a path, which is good for a board as far as the bench file describes it.

    Raises:
        FirmwareError: there is none, or it cannot run there, with the reason.
    """
    build = find_build(path)
    if board is None:
        fits(build, build.chip, build.flash_size or _largest(build))
    else:
        fits(build, board.chip_facts, _flash_of(board) or build.flash_size or _largest(build))
    return build


def used(build: Build | None, name: str, chip: str = "") -> BuildUsed:
    """Say what is reported of a build; of one that could not be read, its name."""
    if build is None:
        return BuildUsed(name, chip)
    about = build.descriptor
    if about is None:
        return BuildUsed(name, build.chip.name, layout=build.layout)
    return BuildUsed(name, build.chip.name, about.project, about.version, about.idf, build.layout, about.elf_sha256)


def in_one_line(error: FirmwareError) -> str:
    """Say why a build is refused: its own words, without the path it was found at."""
    return str(error).partition("\n")[0]


def _flash_of(board: BoardConfig) -> int:
    """Return the bytes of flash that a board is said to have; 0: it is not said."""
    sizes = [cap.removeprefix("flash:").removesuffix("M") for cap in board.caps if cap.startswith("flash:")]
    return next((int(size) * _MIB for size in sizes if size.isdecimal()), 0)


def _largest(build: Build) -> int:
    """Return the flash that would do for its table: esptool tells the size of the board's own, later."""
    last = max(partition.end for partition in build.table)
    size = _MIB
    while size < last:
        size *= 2
    return size
