"""Writes builds to one board: looks first whether it is this board, writes what is not there yet, and checks it."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from harness.bench.bench_file import BoardConfig
from harness.bench.identifying import Identity, call_for
from harness.bench.identifying import identify as ask
from harness.board import esptool
from harness.board.errors import PortFailed, WrongBoard, WrongChip
from harness.board.esptool import After, Call, OnProgress, write_seconds
from harness.board.esptool_output import Transcript
from harness.board.flash_plan import Flashed, Planned, outcome, planned, to_compare
from harness.board.last_written import LastWritten
from harness.board.reset_lines import ResetLines
from harness.firmware.build import Build
from harness.firmware.fitness import fits
from harness.redaction import Redactor

READ_SECONDS_PER_BYTE = 3 * 10 / 115200
"""For `Flasher.read`: a third of the slowest wire, which pyserial's own client reaches, too."""

Paused = Callable[[str], AbstractContextManager[None]]


class Flasher:
    """Flashes one board; calls block, and come from one thread at a time.

    Args:
        config: the board: where it is, and who it has to be.
        paused: lets esptool have the port, such as `Console.paused`; None: nobody else has it.
        lines: resets a board that turned out to be another one; None: it is left in its boot loader.
        stays: the board is left waiting in its boot loader, for somebody who listens before it boots; else it is reset.
        memory: folder where is kept what was written last, by MAC; None: it is not kept.
        redactor: masks secrets in transcripts.
        on_progress: is told how far a write is.

    Attributes:
        transcript: of the last run of esptool.
    """

    def __init__(
        self,
        config: BoardConfig,
        *,
        paused: Paused | None = None,
        lines: ResetLines | None = None,
        stays: Callable[[], bool] = lambda: False,
        memory: Path | None = None,
        redactor: Redactor | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.transcript = Transcript()
        self._config = config
        self._paused = paused or (lambda _: contextlib.nullcontext())
        self._lines = lines
        self._stays = stays
        self._mac = config.mac.lower().replace("-", ":")
        self._memory = LastWritten(memory, self._mac)
        self._redactor = redactor
        self._on_progress = on_progress
        self._identity: Identity | None = None

    def identify(self) -> Identity:
        """Ask the board what it is.

        Raises:
            WrongBoard, WrongChip: it is not the one of the bench file.
            FlashFailed, PortFailed: and their children, by what went wrong.
        """
        with self._this_board("who it is"):
            self._identity = ask(self._call())
        return self._identity

    def flash(
        self, build: Build, settings: Planned | None = None, *, all_of_it: bool = False, within: float = math.inf
    ) -> Flashed:
        """Have a build on the board, and settings, in one run of esptool; what is there already is not written again.

        Args:
            build: is refused before the board is touched, if it does not fit.
            settings: go where an NVS partition is; the build's own part there is left out.
            all_of_it: write everything, whether it is there or not.
            within: seconds; less than that where there is little to write.

        Raises:
            Unfit: the build is not for this board.
            WrongBoard, WrongChip: it is not the board of the bench file; nothing was written.
            FlashFailed, PortFailed: and their children; what is on the flash now is not known.
        """
        began = time.monotonic()
        size = self._memory.flash_size or (self._identity or self.identify()).flash << 20
        fits(build, self._config.chip_facts, size)
        plan = planned(build, settings)
        held = {} if all_of_it else self._memory.images()
        said = self._write(plan, held, all_of_it=all_of_it, within=within)
        self._memory.remember(size, {part.offset: part.data for part in plan if part.purpose == "build"})
        return outcome(plan, said, time.monotonic() - began, size)

    def write_settings(self, settings: Planned, within: float = math.inf) -> Flashed:
        """Have settings on the board; raises as `flash`."""
        began = time.monotonic()
        said = self._write([settings], {}, forgetting=False, within=within)
        return outcome([settings], said, time.monotonic() - began, self._memory.flash_size)

    @property
    def remembers(self) -> bool:
        """Whether this machine has written to this board, to the end, and knows what."""
        return bool(self._memory.images())

    def read(self, offset: int, size: int) -> bytes:
        """Return so many bytes of flash; raises as `identify`."""
        with tempfile.TemporaryDirectory(prefix="wsdevice-flash-") as folder:
            file = Path(folder, "read.bin")
            command = ["read-flash", "--no-progress", f"{offset:#x}", f"{size:#x}", str(file)]
            self._run(command, f"{size:#x} bytes at {offset:#x}", esptool.START + size * READ_SECONDS_PER_BYTE)
            return file.read_bytes()

    def watchdog_reset(self) -> None:
        """Have the chip's watchdog reset it, which wakes its own USB port where that is stuck; raises as `identify`."""
        self._run(["read-mac"], "a reset by its watchdog", esptool.IDENTIFY, "watchdog-reset")

    def erase(self) -> None:
        """Erase all of the flash; raises as `identify`."""
        self._memory.forget()
        size = self._memory.flash_size or 16 << 20
        self._run(["erase-flash"], "its flash, to erase it", esptool.START + size * esptool.ERASE_SECONDS)

    def _write(
        self,
        plan: Sequence[Planned],
        held: dict[int, bytes],
        *,
        all_of_it: bool = False,
        forgetting: bool = True,
        within: float = math.inf,
    ) -> Transcript:
        with tempfile.TemporaryDirectory(prefix="wsdevice-flash-") as folder:
            command = ["write-flash"]
            for part in plan:
                command += [f"{part.offset:#x}", _private(Path(folder, f"{part.offset:#x}.bin"), part.data)]
            compared = to_compare(plan, held)
            if compared:
                command.append("--diff-with")
                for part, data in zip(plan, compared, strict=True):
                    file = Path(folder, f"{part.offset:#x}.held.bin")
                    command.append("skip" if data is None else _private(file, data))
            elif not all_of_it:
                command.append("--skip-flashed")
            if forgetting:
                self._memory.forget()
            size = sum(len(part.data) for part in plan)
            seconds = min(write_seconds(size, self._config.flash.baud), within)
            return self._run(command, f"{size} bytes to write", seconds)

    def _run(self, command: list[str], what: str, seconds: float, after: After | None = None) -> Transcript:
        with self._this_board(f"esptool {command[0]}"):
            self.transcript = esptool.run(
                self._call(after),
                command,
                doing=f"{self._config.id}: esptool {command[0]} ({what})",
                seconds=seconds,
                redactor=self._redactor,
                on_progress=self._on_progress,
            )
        return self.transcript

    @contextlib.contextmanager
    def _this_board(self, why: str) -> Iterator[None]:
        try:
            with self._paused(why):
                yield
        except (WrongBoard, WrongChip):
            if self._lines is not None and self._lines.can_reset:
                with contextlib.suppress(PortFailed):  # that it is another board is the news
                    self._lines.reset()  # it is none of ours: let it go on with what it did
            raise

    def _call(self, after: After | None = None) -> Call:
        call = call_for(self._config)
        stays: After = "no-reset" if self._stays() else call.after
        return msgspec.structs.replace(call, chip=self._config.chip, mac=self._mac, after=after or stays)


def _private(path: Path, data: bytes) -> str:
    """Write a file that nobody else can read: settings have passwords."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return str(path)
