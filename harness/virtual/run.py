"""One life of a chip in run mode, in one thread: ROM, boot loader, and the device program that is the application."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import Misuse
from harness.firmware import nvs
from harness.firmware.chips import Chip
from harness.firmware.errors import SHOWN_FAULTS
from harness.firmware.image import Image
from harness.firmware.partition_table import Partition
from harness.virtual import access_point, programs
from harness.virtual.access_point import NO_AP_FOUND, AccessPoint, Joined
from harness.virtual.boot_loader import VIRTUAL_LINE, BootLoader, CannotStart, Started, start_rom
from harness.virtual.boot_log import BootLog
from harness.virtual.child import Child
from harness.virtual.machine import Machine, ResetCause
from harness.virtual.misbehaviour import misbehave
from harness.virtual.nvs_store import NvsStore
from harness.virtual.ota_update import OtaUpdate
from harness.virtual.panics import SHOWN_SHA
from harness.virtual.program_environment import program_environment, write_nvs
from harness.virtual.program_services import Services

LOOP_SECONDS = 0.5
"""From the last words of what cannot start to its reset: the flash boot watchdog, and the boot loader's own work."""
RESTART_STATUS = 70
"""Exit status of a device program that calls ``esp_restart``."""
_STOP_SECONDS = 2.0  # `Running.stop` has so long

_CAUSES: dict[ResetCause, str] = {
    "boot_watchdog": "rtc_watchdog",  # to ESP-IDF (esp_reset_reason) each is a watchdog of no task
    "boot_loader": "software",
}


class RunSettings(msgspec.Struct, frozen=True, weakref=True):
    """What is the same for each life of a board; see `Booting`."""

    access_points: tuple[AccessPoint, ...]
    program: programs.Program | None
    silence_seconds: float
    rollback: bool
    boot_loader_log: bool
    folder: Path

    @property
    def state_folder(self) -> Path:
        """What a program keeps over resets, but not over the loss of power."""
        return self.folder / "state"


class Run:
    """Runs from the end of a reset until the next; implements `Running`, and `misbehaviour.Application`.

    Args:
        machine: what it runs on.
        cause: of the reset.
        settings: of the board.
    """

    def __init__(self, machine: Machine, cause: ResetCause, settings: RunSettings) -> None:
        self._thread = threading.Thread(target=self._live, name=f"what runs on {machine.mac.hex(':')}", daemon=True)
        self.chip: Chip = machine.chip
        self.log = BootLog(machine.uart_send)
        self._machine = machine
        self._cause = cause
        self._settings = settings
        self._started: Started | None = None
        self._child: Child | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._no_wifi_until = 0.0

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    # --- Running ------------------------------------------------------------------------------------------------

    def uart_received(self, data: bytes) -> None:
        """Give bytes to the program; before it runs, nobody reads them. Host's CR LF, and CR, are LF to it."""
        child = self._child
        if child is not None:
            child.type(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))

    def boot_button(self, pressed: bool) -> None:
        """Tell the program of the BOOT button."""
        self.tell({"event": "boot_button", "pressed": pressed})

    def stop(self) -> None:
        """End it; see `Running.stop`."""
        with self._lock:
            self._ended.set()
            if self._child is not None:
                self._child.kill()
        if threading.current_thread() is not self._thread:
            self._thread.join(_STOP_SECONDS)

    # --- misbehaviour.Application -------------------------------------------------------------------------------

    @property
    def image(self) -> Image:
        """The application.

        Raises:
            Misuse: none has been started.
        """
        if self._started is None:
            raise Misuse("expected an application that runs; the board is still booting, or has nothing to boot")
        return self._started.image

    def end(self, cause: ResetCause, say: Callable[[], None]) -> None:
        """Stop the program, say its last words, reset the chip."""
        with self._lock:
            if self._ended.is_set():
                return
            self._ended.set()
            if self._child is not None:
                self._child.freeze()
        say()
        self._machine.restart(cause)

    def hang(self) -> None:
        """Let the program do nothing any more."""
        with self._lock:
            if self._child is not None:
                self._child.freeze()

    def lose_wifi(self, seconds: float) -> None:
        """Hear no access point for so long, and then as many as before."""
        self._no_wifi_until = time.monotonic() + seconds
        self.tell({"event": "wifi", "ssid": None, "reachable": False})

    def tell(self, event: dict[str, Any]) -> None:
        """Tell the program, if it runs."""
        with self._lock:
            if self._child is not None and not self._ended.is_set():
                self._child.tell(event)

    # --- the thread ---------------------------------------------------------------------------------------------

    def _live(self) -> None:
        if self._ended.wait(self._settings.silence_seconds):
            return
        outcome = self._boot()
        if isinstance(outcome, CannotStart):
            if not self._ended.wait(LOOP_SECONDS):
                self.end(outcome.cause, lambda: None)
            return
        self._started = outcome
        self._introduce(outcome)
        try:
            folder = Path(tempfile.mkdtemp(prefix="run-", dir=self._settings.folder))
            try:
                self._run_program(outcome, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:  # no process, or no room for its files: this machine's fault, not the program's
            self.log("E", "virtual", f"the device program cannot be run: {error}")

    def _boot(self) -> Started | CannotStart:
        itself = start_rom(self._machine.flash, self.chip, self._cause, self.log.lines)
        if isinstance(itself, CannotStart):
            return itself
        self.log.began = time.monotonic()  # ESP-IDF's clock starts with its boot loader
        self.log("I", "virtual", VIRTUAL_LINE)
        log = self.log if self._settings.boot_loader_log else BootLog(lambda _: None)
        return BootLoader(self._machine.flash, self.chip, log, rollback=self._settings.rollback).run(itself)

    def _introduce(self, started: Started) -> None:
        descriptor = started.image.descriptor
        if descriptor is not None:
            compiled = f"{descriptor.date} {descriptor.time}".strip()
            self.log("I", "app_init", "Application information:")
            self.log("I", "app_init", f"Project name:     {descriptor.project}")
            self.log("I", "app_init", f"App version:      {descriptor.version}")
            if compiled:
                self.log("I", "app_init", f"Compile time:     {compiled}")
            self.log("I", "app_init", f"ELF file SHA256:  {descriptor.elf_sha256[:SHOWN_SHA]}...")
            self.log("I", "app_init", f"ESP-IDF:          {descriptor.idf}")
        self.log("I", "main_task", "Started on CPU0")
        self.log("I", "main_task", "Calling app_main()")

    # --- the program --------------------------------------------------------------------------------------------

    def _run_program(self, started: Started, folder: Path) -> None:
        choice = programs.choose(self._machine.flash, started.table, started.image)
        for remark in choice.remarks:
            self.log("W", "virtual", remark)
        where = started.table.find("data/nvs")
        store = NvsStore(self._machine.flash, where.offset, where.size) if where else None
        values = self._read_nvs(where, store)
        program = self._settings.program or choice.program
        code = folder / "program"
        code.mkdir()
        try:
            arguments = programs.command(program, code)
        except Misuse as error:
            self.log("E", "virtual", str(error))
            self._end_with(1)
            return
        with Child(
            arguments,
            self._environment(started, folder, values),
            code,
            said=self._machine.uart_send,
            asked=self._services(started, store),
        ) as child:
            detach = [point.watch(self._wifi_switched) for point in self._settings.access_points]
            try:
                self._run_child(child)
            finally:
                for end in detach:
                    end()

    def _run_child(self, child: Child) -> None:
        with self._lock:
            self._child = child
            if self._ended.is_set():
                child.kill()
        status = child.run()
        with self._lock:
            self._child = None
        if not self._ended.is_set():
            self._end_with(status)

    def _end_with(self, status: int) -> None:
        """Do what a chip does when its program has ended so."""
        if status == 0:
            self.log("I", "main_task", "Returned from app_main()")
        elif status == RESTART_STATUS:
            misbehave(self, "restart", {})
        else:
            misbehave(self, "panic", {"kind": "abort"})

    def _read_nvs(self, where: Partition | None, store: NvsStore | None) -> nvs.NvsContents | None:
        """Read the partition; one that firmware could not open is erased, as firmware does it."""
        if where is None or store is None:
            return None
        contents = nvs.examine(self._machine.flash.read(where.offset, where.size))
        for fault in contents.faults[:SHOWN_FAULTS]:  # which ESP-IDF strikes out without a word
            self.log("W", "virtual", f"NVS: {fault}")
        if not contents.empty_pages:  # ESP_ERR_NVS_NO_FREE_PAGES
            self.log("W", "main", "Erasing NVS flash to fix corruption")
            store.erase_all()
            contents = nvs.examine(b"\xff" * where.size)
        return contents

    def _services(self, started: Started, store: NvsStore | None) -> Services:
        update = OtaUpdate(self._machine.flash, self.chip, started, self.log, rollback=self._settings.rollback)
        return Services(
            nvs=store,
            update=update,
            partition=started.partition.label,
            scan=self._scan,
            join=self._join,
            misbehave=self._misbehave,
        )

    def _environment(self, started: Started, folder: Path, contents: nvs.NvsContents | None) -> dict[str, str]:
        return program_environment(
            self._machine,
            started,
            reset_reason=_CAUSES.get(self._cause, self._cause),
            reset_at=self.log.began,
            nvs_file=write_nvs(folder / "nvs.json", contents),
            heard=self._scan(),
            state_folder=self._settings.state_folder,
        )

    def _misbehave(self, what: str, how: Mapping[str, Any]) -> None:
        if self._child is not None:
            self._child.drain()
        misbehave(self, what, how)  # type: ignore[arg-type]

    # --- Wi-Fi --------------------------------------------------------------------------------------------------

    def _scan(self) -> list[dict[str, Any]]:
        return [] if self._is_deaf else access_point.scan(self._settings.access_points)

    def _join(self, ssid: str, password: str) -> Joined | int:
        return NO_AP_FOUND if self._is_deaf else access_point.join(self._settings.access_points, ssid, password)

    @property
    def _is_deaf(self) -> bool:
        return time.monotonic() < self._no_wifi_until

    def _wifi_switched(self, point: AccessPoint) -> None:
        self.tell({"event": "wifi", "ssid": point.ssid, "reachable": point.reachable})
