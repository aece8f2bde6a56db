"""``virtual:3``: a bench of virtual boards without any file, in a process of its own that ends with ours.

One process serves the boards, and any number may use them: the workers of pytest-xdist are told the bench as JSON, in
which the boards are ports like any others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import harness
from gateway.identity import printable
from harness.bench.bench_file import Bench, from_json
from harness.bench.errors import RigFailed
from harness.bench.rig_control import RigControl
from harness.errors import Misuse
from harness.firmware.chips import ChipName, chip_named

PREFIX = "virtual:"
MOST_BOARDS = 16
"""Of one rig: one Python process serves them, and its lock is theirs."""
IN_TURN: tuple[ChipName, ...] = ("esp32s3", "esp32c3", "esp32")
"""Chips of ``virtual:N``."""
START_SECONDS = 20.0
"""For the process to be up: it takes half a second on an idle machine."""
END_SECONDS = 10.0
"""For it to end: each board may take 2 to stop what runs on it."""
_LOOK = 0.02  # seconds between two looks whether it is up
_LOG_CHARACTERS, _LINE_CHARACTERS = 2000, 200  # of its log's end, in an error; and of a line there


def is_virtual(given: str) -> bool:
    """Tell whether what was given for a bench is a virtual one, and no file."""
    return given.startswith(PREFIX)


def chips_of(given: str) -> tuple[ChipName, ...]:
    """Return the chips of ``virtual:3``, or of ``virtual:esp32,esp32s3``.

    Raises:
        Misuse: it is neither, or has too many.
    """
    wanted = given.removeprefix(PREFIX)
    if wanted.isascii() and wanted.isdecimal():
        count = int(wanted) if len(wanted) < 4 else MOST_BOARDS + 1
        chips = tuple(IN_TURN[number % len(IN_TURN)] for number in range(min(count, MOST_BOARDS + 1)))
    else:
        chips = tuple(chip_named(name.strip()).name for name in wanted.split(",") if wanted)
    if not (is_virtual(given) and 1 <= len(chips) <= MOST_BOARDS):
        raise Misuse(
            f"expected {PREFIX}N with N from 1 to {MOST_BOARDS}, or {PREFIX} and as many chips, got {printable(given)}"
        )
    return chips


class VirtualRig:
    """A rig of virtual boards; ``with`` starts and ends it.

    Args:
        given: ``virtual:3``, or ``virtual:esp32,esp32s3``.
        flash_dir: keeps the boards' flash from one rig to the next, a file each; None: it is empty each time.
        deadline: seconds for it to be up.

    Attributes:
        bench: what a bench file would say of it; there while it runs.
    """

    bench: Bench

    def __init__(self, given: str, *, flash_dir: Path | None = None, deadline: float = START_SECONDS) -> None:
        self._given = given
        self._chips = chips_of(given)
        self._flash_dir = flash_dir
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._directory = Path()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self.close()

    @property
    def runs(self) -> bool:
        """Whether its process does."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until its boards are powered.

        Raises:
            RigFailed: it ended, or was not up in time; with the end of its log.
        """
        if self._process is not None:
            raise Misuse("expected a rig that was not started yet")
        self._directory = Path(tempfile.mkdtemp(prefix="wsdevice-rig-"))
        ready, log = self._directory / "bench.json", self._directory / "rig.log"
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command(ready),
                stdin=subprocess.PIPE,  # its end is that of the process
                stdout=out,
                stderr=out,
                env=os.environ | {"PYTHONPATH": _with_our_packages(os.environ.get("PYTHONPATH", ""))},
                start_new_session=True,  # Ctrl-C is for us, who still need the boards for a moment
            )
        try:
            self.bench = self._when_ready(ready, log)
        except BaseException:
            self.close()
            raise

    def control(self, board_id: str) -> RigControl:
        """Return what gives orders to a board.

        Raises:
            NoSuchBoard: with those there are.
        """
        return RigControl(self.bench.board(board_id))

    def close(self) -> None:
        """End the process, and forget its boards; idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _command(self, ready: Path) -> list[str]:
        command = [sys.executable, "-m", "harness.bench.virtual_rig", ",".join(self._chips)]
        command += ["--source", self._given, "--directory", str(self._directory), "--ready-file", str(ready)]
        return command + (["--flash-dir", str(self._flash_dir)] if self._flash_dir else [])

    def _when_ready(self, ready: Path, log: Path) -> Bench:
        assert self._process is not None
        until = time.monotonic() + self._deadline
        while not ready.exists():
            if (code := self._process.poll()) is not None:
                raise RigFailed(f"the process of the virtual boards ended with {code}: {_end_of(log)}")
            if time.monotonic() > until:
                raise RigFailed(f"the virtual boards were not up within {self._deadline:g} s: {_end_of(log)}")
            time.sleep(_LOOK)
        return from_json(ready.read_bytes())


def _with_our_packages(path: str) -> str:
    ours = str(Path(harness.__file__).parents[1])  # installed or not
    return f"{ours}{os.pathsep}{path}" if path else ours


def _end_of(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return (
        "\n".join(printable(line, _LINE_CHARACTERS) for line in text[-_LOG_CHARACTERS:].splitlines())
        or "it said nothing"
    )
