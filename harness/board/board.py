"""One board, joined of its parts: console, reset lines, supply, flasher, settings, bring-up.

::

    settings = device_settings("lab", password, ota_url=url)
    with Board(config, build=find_build("build"), settings=settings) as board:
        board.up("online")
        board.console.expect("State: idle")

Its calls block, and come from any thread: a board outlives the event loops of the tests that use it, one after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.bench.bench_file import BoardConfig
from harness.bench.errors import HistoryFailed
from harness.bench.identifying import console_port
from harness.bench.recovery import Remedies
from harness.board.bring_up import BringUp, Stage, StageName, StageRecord
from harness.board.console import Console
from harness.board.console_lines import Line
from harness.board.crash_report import CrashReport
from harness.board.crash_watch import CrashWatch
from harness.board.decoding import decode
from harness.board.decoding import in_words as described
from harness.board.errors import BoardCrashed, FlashFailed, LineMissing, NoLines, PortFailed
from harness.board.flash_plan import Flashed
from harness.board.flasher import Flasher
from harness.board.judging import LOOP, Judgement, application_runs, judge, starts
from harness.board.line_record import Wanted, holds, in_words
from harness.board.power import Power, PowerFailed
from harness.board.provisioning import Provisioner, Values
from harness.board.reset_lines import ResetLines
from harness.board.supplies import supply_of
from harness.errors import HarnessError, Misuse
from harness.firmware.build import Build
from harness.firmware.errors import FirmwareError
from harness.records import Happened, Watch, unwatched
from harness.redaction import Redactor

SESSION = "WS: Session ID:"
"""What xiaozhi firmware says when the gateway has answered its hello; it says nothing when it is merely connected."""
FLASH = 900.0
"""Seconds: 16 MiB at 460800 baud take 6 minutes on the wire, and up to 4 to erase; less for less."""
PROVISION = 120.0
"""Seconds: a run of esptool to read the table, and one to write 16 KiB, each with 7 attempts to connect."""
BOOT = 15.0
"""Seconds from the reset to the first log line of the application: some 0.3 by its own clock, and what the ROM, the
boot loader and a test of the PSRAM take before that."""
ONLINE = 75.0
"""Seconds from there to the gateway: firmware gives up on a Wi-Fi after 60, and says so."""
SILENCE = 1.0
"""Seconds without a word that show a board to be off."""


class Board:
    """One board; ``with`` opens its console and closes it.

    Args:
        config: from the bench file.
        build: that is to be on it; None: what is on it stays.
        settings: that are to be in its NVS; None: what is there stays.
        online: the line of the console that shows it to be online.
        await_online: waits for that instead, for at most so many seconds, and raises a `HarnessError` where it was in
            vain; for firmware that does not say it, or a gateway that knows better.
        boot_seconds, online_seconds: deadlines of these stages.
        memory: folder for what was last written to each board; None: it is not kept.
        log: file for the console.
        redactor: masks secrets, and is told those of the settings.
        on_crash: is told each crash, in a thread of its own; see ``tell`` of `CrashWatch`.
        watch: is shown what is done to the board, and its crashes.

    Attributes:
        config: as above.
        console, lines, power, flasher: its parts.
        crashes: what was seen of its crashes; they are raised where a line of the console is waited for.
        bring_up: its way from off to online.
        flashed: what the last flash did; None: there was none.
        reset_at: number of the first line of the console after the last reset.
    """

    def __init__(
        self,
        config: BoardConfig,
        *,
        build: Build | None = None,
        settings: Values | None = None,
        online: Wanted = SESSION,
        await_online: Callable[[float], None] | None = None,
        boot_seconds: float = BOOT,
        online_seconds: float = ONLINE,
        memory: Path | None = None,
        log: Path | None = None,
        redactor: Redactor | None = None,
        on_crash: Callable[[CrashReport, BoardCrashed | None], None] = lambda *_: None,
        watch: Watch = unwatched,
    ) -> None:
        self.config = config
        self.flashed: Flashed | None = None
        self.reset_at = 0
        self._redactor = redactor or Redactor()
        self._build, self._settings = build, settings
        self._online, self._await_online = online, await_online
        self._on_crash = on_crash
        self._watch = watch
        self._off = False
        self._anew = False  # settings are to be written, be they there or not
        self._with_build = False  # the settings were written together with the build
        self.console = Console(
            config.id, lambda: console_port(config.console), baud=config.console.baud, log=log, redactor=self._redactor
        )
        self.crashes = CrashWatch(config.id, self.console, describe=self._described, tell=self._crashed)
        self.lines = ResetLines(config.id, self.console, config.flash.reset)
        self.power: Power = supply_of(config, hold_en=self.lines.hold_en, is_silent=self.is_silent)
        self.flasher = Flasher(
            config,
            paused=self.console.paused if config.flash.via == "console" else None,
            lines=self.lines,
            stays=lambda: self.lines.can_reset,
            memory=memory,
            redactor=self._redactor,
        )
        self._provisioner = Provisioner(self.flasher, self._redactor)
        stages: dict[StageName, Stage] = {
            "flashed": Stage(self._reach_flashed, FLASH),
            "provisioned": Stage(self._reach_provisioned, PROVISION),
            "booted": Stage(self._reach_booted, boot_seconds),
            "online": Stage(self._reach_online, online_seconds),
        }
        self.bring_up = BringUp(config.id, stages, judge=self._judge, tail=self.console.tail, watch=self._reached)

    def __enter__(self) -> Self:
        """Open the console."""
        self.console.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the console."""
        self.console.close()
        self.crashes.close()

    # --- the way up ---------------------------------------------------------------------------------------------

    def up(self, stage: StageName = "online", *, fresh: bool = False) -> tuple[StageRecord, ...]:
        """Have the board in a stage; see `BringUp.to`.

        Raises:
            BringUpFailed: it cannot be brought there; a failure of before is told again.
        """
        return self.bring_up.to(stage, fresh=fresh)

    def change(self, *, build: Build | None = None, settings: Values | None = None) -> None:
        """Have another build on it, or other settings, or both, from the next `up` on; None: as before."""
        if build is not None:
            self._build = build
            self.bring_up.fell_back("off")
        if settings is not None:
            self._settings = settings
            self.bring_up.fell_back("flashed")
        self.bring_up.forgive()

    def provision_anew(self) -> None:
        """Have its settings written from the next `up` on, so that what firmware has written to its NVS is gone."""
        self._anew = True
        self.bring_up.fell_back("flashed")

    @property
    def can_reset(self) -> bool:
        """Whether it can be reset, by its lines or by its supply."""
        return self.lines.can_reset or self.power.kind != "none"

    def reset(self) -> int:
        """Reset it; return the number of the first line of the console that is of its new life.

        Raises:
            NoLines: it cannot be, neither by its lines nor by its supply.
            PortFailed, PowerFailed: and their children.
        """
        if not self.can_reset:
            raise NoLines(
                f"expected {self.config.id} to have reset lines or a supply that can be switched, it has none"
            )
        self._begin_anew("is reset")
        if self.lines.can_reset:
            self.lines.reset()
        else:
            self.power.cycle()
        return self.reset_at

    def power_off(self) -> None:
        """Take its power; raises as `Power.off`. Idempotent."""
        self._begin_anew("loses its power")
        self._off = True
        self.power.off()

    def power_on(self) -> int:
        """Give it power; return the number of the first line of its new life. Raises as `Power.on`. Idempotent."""
        self._begin_anew("is given power")
        self.power.on()
        self._off = False
        return self.reset_at

    def boots(self, seconds: float = BOOT) -> Line:
        """Wait for its application to start after the last reset, and return the first line of it.

        Raises:
            LineMissing: it did not, or the chip starts again and again.
            BoardCrashed, PortFailed: what happened instead.
        """
        return self._listen(application_runs, seconds)

    def _begin_anew(self, what: str) -> None:
        self.bring_up.fell_back("provisioned")
        self.console.calm()  # what has crashed before has had its say
        self.reset_at = self.console.position
        self._note(what)

    def remedies(self, reboot: Callable[[], bool] | None = None) -> Remedies:
        """Return what can be done to bring it back, for `harness.bench.recovery`.

        Args:
            reboot: has the gateway tell the device to reboot; None: nobody can.
        """
        return Remedies(
            reboot=reboot,
            reset=self._reset if self.lines.can_reset else None,
            watchdog_reset=self.flasher.watchdog_reset,
            power=None if self.power.kind == "none" else self.power,
            reflash=self._reflash if self._build else None,
        )

    def _reset(self) -> None:
        self.reset()

    def _reflash(self) -> None:
        self.flasher.erase()
        self.up("booted", fresh=True)

    def is_silent(self) -> bool:
        """Listen for `SILENCE`, and tell whether it said nothing; a console whose port is gone says nothing."""
        try:
            self.console.expect(lambda _: True, SILENCE, since=self.console.position)
        except (LineMissing, PortFailed):
            return True
        return False

    # --- stages -------------------------------------------------------------------------------------------------

    def _reach_flashed(self, seconds: float) -> str:
        self._with_build = False
        self._have_power()
        if self._build is None:
            return "what is on it stays"
        settings = None
        if self._settings is not None:
            settings = self._provisioner.image(self._settings, self._build.table, anew=self._anew)
        self.reset_at = self.console.position
        self.flashed = self.flasher.flash(self._build, settings, within=seconds)
        self._with_build = settings is not None
        self._anew = self._anew and settings is None
        return str(self.flashed)

    def _reach_provisioned(self, seconds: float) -> str:
        if self._settings is None:
            return "what is in its NVS stays"
        if self._with_build:
            self._with_build = False
            return "together with the build"
        self._have_power()
        self.reset_at = self.console.position
        table = self._build.table if self._build else None
        done = self._provisioner.provision(self._settings, table, seconds, anew=self._anew)
        self._anew = False
        return str(done)

    def _reach_booted(self, seconds: float) -> str:
        if self._off:
            self.power_on()
        elif self.can_reset:
            self.reset()
        # else esptool has reset it, if it had something to do; and `reset_at` is from before that
        return f"its application runs: {self.boots(seconds).text}"

    def _reach_online(self, seconds: float) -> str:
        if self._await_online is not None:
            self._await_online(seconds)
            return "it is online"
        return self._listen(self._online, seconds).text

    def _have_power(self) -> None:
        if self._off:
            self.power_on()

    def _listen(self, wanted: Wanted, seconds: float) -> Line:
        """Wait for a line after the last reset; give up when the chip starts again and again."""
        begun = 0

        def wanted_or_again(line: Line) -> bool:
            nonlocal begun
            begun += len(starts([line]))
            return begun >= LOOP or holds(wanted, line)

        began = time.monotonic()
        try:
            line = self.console.expect(wanted_or_again, seconds, since=self.reset_at)
        except LineMissing as missing:
            raise LineMissing(
                missing.console, in_words(wanted), missing.seconds, missing.ending, missing.lines, missing.gaps
            ) from None
        if holds(wanted, line):
            return line
        ending = f"it had started {begun} times"
        waited = time.monotonic() - began
        raise LineMissing(f"{self.config.id}'s console", in_words(wanted), waited, ending, self.console.tail())

    def _judge(self, stage: StageName, error: HarnessError) -> Judgement | None:
        if isinstance(error, Misuse | HistoryFailed):  # neither is the board's, and no other board would do better
            return None
        if isinstance(error, FirmwareError):
            return Judgement("firmware", str(error))
        if isinstance(error, BoardCrashed | FlashFailed | PortFailed | PowerFailed):
            return Judgement(error.verdict, str(error))
        judgement = judge(self.console.lines(self.reset_at), online=stage == "online")
        return judgement._replace(why=f"{judgement.why}; {str(error).partition(chr(10))[0]}")

    def _reached(self, record: StageRecord) -> None:
        self._note(str(record))

    def _described(self, report: CrashReport) -> str:
        return described(report, decode(report, self._build.elf if self._build else None, self.config.chip_facts))

    def _crashed(self, report: CrashReport, error: BoardCrashed | None) -> None:
        self._watch(Happened(report.at, self.config.id, f"crashed: {report.kind}: {report.cause}"))
        self._on_crash(report, error)

    def _note(self, what: str) -> None:
        self.console.note(what)
        self._watch(Happened(time.monotonic(), self.config.id, what))
