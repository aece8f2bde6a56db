"""Finds the programs of compilers' tool chains that understand an ELF file, wherever they were installed; runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from harness.board.sessions import end_session
from harness.firmware.chips import Architecture, Chip

TEXT_CHARACTERS: Final = 200_000
"""Of what one of them prints."""

_PREFIXES: dict[Architecture, tuple[str, ...]] = {
    "xtensa": ("xtensa-esp32-elf-", "xtensa-esp32s3-elf-", "xtensa-esp-elf-"),
    "riscv": ("riscv32-esp-elf-", "riscv64-unknown-elf-"),
}
_FOLDERS = (
    # where ESP-IDF's and PlatformIO's installers put them, when their environment is not set up
    "{idf}/tools/*/*/*/bin",
    "~/.platformio/packages/toolchain-*/bin",
)


class TookTooLong(Exception):
    """A program did not end in time, and was killed."""


def candidates(tool: str, architecture: Architecture, chip: Chip | None = None) -> tuple[str, ...]:
    """Return the names a tool has in the tool chains for an architecture, the chip's own first, LLVM's last."""
    own = f"xtensa-{chip.name}-elf-" if chip else ""
    prefixes = sorted(_PREFIXES[architecture], key=lambda prefix: prefix != own)
    return (*(prefix + tool for prefix in prefixes), f"llvm-{tool}")


def first_present(names: Iterable[str]) -> str | None:
    """Return the path of the first of these programs that is installed; None: none is."""
    folders = os.pathsep.join([os.environ.get("PATH", ""), *map(str, _installed())])
    return next((path for name in names if (path := shutil.which(name, path=folders))), None)


def run(command: Sequence[str], deadline: float, folder: Path) -> tuple[int, str]:
    """Run a program in a folder until ``time.monotonic()`` has come to the deadline; return exit code and output.

    Raises:
        TookTooLong: it had not ended by then; it and its children are gone.
        OSError: it cannot be started.
    """
    process = subprocess.Popen(  # noqa: S603 - a program of the tool chain, without a shell
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        encoding="utf-8",
        errors="replace",
    )
    try:
        output, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TookTooLong(command[0]) from None
    finally:
        end_session(process)
        assert process.stdout is not None
        process.stdout.close()
    return process.returncode, output[:TEXT_CHARACTERS]


def _installed() -> list[Path]:
    idf = os.environ.get("IDF_TOOLS_PATH", "~/.espressif")
    patterns = (Path(folder.format(idf=idf)).expanduser() for folder in _FOLDERS)
    return [
        folder
        for pattern in patterns
        for folder in sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))), reverse=True)
    ]
