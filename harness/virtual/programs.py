"""Which device program runs, decided by what was flashed, and how it is started.

The first of these that is there: ``main.py`` in a littlefs partition; a program stored in the application's image; the
built-in firmware, which is a complete device (`harness.virtual.firmware`).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from harness.errors import Misuse
from harness.firmware.errors import BadFileSystem, BadImage, NotInstalled
from harness.firmware.image import Image
from harness.firmware.littlefs import read_files
from harness.firmware.partition_table import Partition, PartitionTable
from harness.virtual.machine import FlashMemory

MAIN = "main.py"
_LABELS = frozenset({"storage", "vfs"})
_KINDS = frozenset({"data/littlefs", "data/spiffs", "data/fat"})
_SUPERBLOCK = b"littlefs"
"""Bytes 8 to 15 of either of the first two blocks of a littlefs (its SPEC.md, "Superblock")."""
_BUILT_IN = "#!builtin "
_MODULES = Path(__file__).parent / "micropython"
_LAUNCHER = Path(__file__).parent / "launcher.py"


class BuiltIn(msgspec.Struct, frozen=True):
    """A program of this package.

    Attributes:
        name: which one; there is ``firmware``.
        options: ``name=value`` each, as they stand behind the name.
    """

    name: str = "firmware"
    options: tuple[str, ...] = ()


class Script(msgspec.Struct, frozen=True):
    """Python in MicroPython's subset: ``main.py``, and files that it imports or reads.

    Attributes:
        files: by path.
    """

    files: Mapping[str, bytes]


class Command(msgspec.Struct, frozen=True):
    """Any program of this machine.

    Attributes:
        arguments: the program, and what it is given.
    """

    arguments: tuple[str, ...]


Program: TypeAlias = BuiltIn | Script | Command


class Choice(msgspec.Struct, frozen=True):
    """What runs.

    Attributes:
        program: itself.
        remarks: what was passed over on the way to it, and why.
    """

    program: Program
    remarks: tuple[str, ...] = ()


def choose(flash: FlashMemory, table: PartitionTable, image: Image) -> Choice:
    """Choose by what was flashed."""
    remarks: list[str] = []
    for partition in table:
        if partition.label in _LABELS or partition.kind in _KINDS:
            files = _files(flash, partition, remarks)
            if MAIN in files:
                return Choice(Script(files), tuple(remarks))
    try:
        text = image.program
    except BadImage as bad:
        remarks.append(str(bad))
        text = None
    return Choice(parsed(text) if text is not None else BuiltIn(), tuple(remarks))


def parsed(text: str) -> Program:
    """Return the program that a text is: ``#!builtin NAME option=value ...``, or Python source."""
    if not text.startswith(_BUILT_IN):
        return Script({MAIN: text.encode()})
    name, *options = text.removeprefix(_BUILT_IN).split()
    return BuiltIn(name, tuple(options))


def command(program: Program, folder: Path) -> list[str]:
    """Return the command that starts a program; its files are written into ``folder``.

    Raises:
        Misuse: there is no such built-in program.
    """
    if isinstance(program, Command):
        return list(program.arguments)
    if isinstance(program, BuiltIn):
        if program.name != "firmware":
            raise Misuse(f"expected the built-in program firmware, the image names {program.name!r}")
        return [sys.executable, "-m", "harness.virtual.firmware", *program.options]
    for name, content in program.files.items():
        path = _inside(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    launch = [sys.executable, "-I", "-u", str(_LAUNCHER), str(os.getpid()), str(_MODULES), MAIN]
    micropython = shutil.which("micropython")
    return [*launch, micropython] if micropython else launch


def _files(flash: FlashMemory, partition: Partition, remarks: list[str]) -> Mapping[str, bytes]:
    raw = flash.read(partition.offset, max(min(partition.size, flash.size - partition.offset), 0))
    if _SUPERBLOCK not in {raw[8:16], raw[4096 + 8 : 4096 + 16]}:
        return {}  # erased, or another file system
    try:
        return read_files(raw)
    except (BadFileSystem, NotInstalled) as error:
        remarks.append(f"partition {partition.label} is passed over: {error}")
        return {}


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise Misuse(f"expected files inside the file system, it has {name!r}")
    return path
