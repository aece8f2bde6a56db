"""A board that this process holds: leased, brought up, and given to one test after the other."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from gateway.workers import DaemonExecutor
from harness.bench import capabilities
from harness.bench.bench_file import NetworkConfig, plain_mac
from harness.bench.board_power import BoardPower
from harness.bench.errors import NotOnline
from harness.bench.front import Front
from harness.bench.leases import Lease
from harness.board.board import ONLINE, Board
from harness.board.bring_up import StageName
from harness.board.console_lines import Line
from harness.board.console_view import ConsoleView
from harness.board.crash_report import CrashReport
from harness.board.crash_watch import QUIET
from harness.board.errors import BoardCrashed, NoLines
from harness.board.judging import LOOP, starts
from harness.board.orders import announced
from harness.board.provisioning import device_settings
from harness.device import Body, Capability
from harness.errors import Misuse
from harness.fakes.device import client_id_of
from harness.firmware.build import Build
from harness.firmware.chips import chip_named
from harness.redaction import Redactor

Fresh: TypeAlias = Literal["", "reset", "power", "nvs", "flash"]
"""How new a board is to a test: as it is; reset; it was without power; provisioned anew; all of its flash written anew.
"""
IDLE = "StateMachine: State: activating -> idle"
"""What xiaozhi firmware says when it has come up, and connects at a wake word, or a click of BOOT."""
TAKES_ORDERS = 10.0
"""Seconds from coming online to the line that announces the test console: it is printed right behind."""
FALLS_ASLEEP = 5.0
"""Seconds from the click of BOOT that ends a conversation to the end of its connection."""
BEGINS = 1.0
"""Seconds from what a crash breaks to its first line: a line of the UART, and a busy machine."""
CALLS = 32
"""Of tests in event loops, at once: each takes a thread until it ends. Further ones wait."""
_TOLD = 1.0  # seconds beyond the end of a crash, for telling it on
_LOOK = 0.05  # seconds between two looks whether the gateway has the board
_TEST_CONSOLE = "test_console"


class HeldBoard:
    """One board of a bench, from its lease to its release; ``with`` opens its console, and releases it at the end.

    Its calls block; in event loops there is `harness.bench.async_board`.

    Args:
        lease: of the board; released at the end.
        front: where it finds gateways.
        network: of its bench.
        build: that is to be on it; None: what is on it stays.
        directory: for its console's log.
        memory: folder for what was last written to each board.
        online: seconds from its start to the gateway, at most.

    Attributes:
        board: its parts.
        console: what it has said since it was given to a test.
        redactor: knows its secrets.
        build: that is on it; None: it is not known.
        ordered: it was given orders since it last came up, and does nothing by itself any more.
        threads: where tests in event loops have their calls made, at most `CALLS` at once; they end with the board.
        unsettled: a test has left it in a state that another one should not find; `have` resets it.
        verbs: the orders its firmware takes since it last came up; empty: it has no test console.
    """

    def __init__(
        self,
        lease: Lease,
        front: Front,
        network: NetworkConfig,
        build: Build | None,
        directory: Path,
        memory: Path,
        *,
        online: float = ONLINE,
    ) -> None:
        self.config = lease.board
        self.mac = plain_mac(self.config.mac)
        self.build = self._first_build = build
        self.unsettled = self.ordered = False
        self.redactor = Redactor()
        self.verbs: frozenset[str] = frozenset()
        self._lease = lease
        self._front = front
        self.threads = DaemonExecutor(CALLS, f"board {self.config.id}")
        self._told: list[Callable[[BoardCrashed], None]] = []
        self.board = Board(
            self.config,
            build=build,
            settings=device_settings(
                network.ssid,
                network.psk(),
                ota_url=front.ota_url,
                more={"board": {"uuid": client_id_of(self.mac)}},  # as its device's, or it would make up one
            ),
            await_online=self._await_online,
            online_seconds=online,
            memory=memory,
            log=directory / f"{self.config.id}.log",
            redactor=self.redactor,
            on_crash=self._crashed,
        )
        self.console = ConsoleView(self.board.console)

    def __enter__(self) -> Self:
        """Open the console."""
        try:
            self.board.__enter__()
        except BaseException:
            self._lease.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the console, which ends what waits for a line of it, and give the board back."""
        try:
            self.board.__exit__(kind, error, traceback)
        finally:
            self.threads.shutdown(wait=False, cancel_futures=True)
            self._lease.release()

    # --- what it is ---------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """As in the bench file."""
        return self.config.id

    @property
    def power(self) -> BoardPower:
        """Its supply, with all that a board is to go through when it is switched."""
        return BoardPower(self.board.power, self.power_off, self.power_on)

    @property
    def body(self) -> Body:
        """What it is made of."""
        return "virtual" if self.config.virtual else "real"

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the rig can do to it."""
        can: set[Capability] = set()
        if self.board.power.kind != "none":
            can.add("power")
        if self.board.can_reset:
            can.add("reset")
        return frozenset(can)

    def fits(self, chip: str | None, caps: Sequence[str]) -> bool:
        """Whether it is of this kind, and has these capabilities of boards."""
        right = chip is None or chip_named(chip).name == self.config.chip
        return right and all(capabilities.has(self.config, cap) for cap in caps)

    def working_on(self, test: str) -> None:
        """Say what it is for now, for those who wait for it."""
        self._lease.working_on(test)

    # --- its life -----------------------------------------------------------------------------------------------

    def up(self, stage: StageName = "online", *, fresh: bool = False) -> None:
        """Have it in a stage; see `Board.up`.

        Raises:
            BringUpFailed: it cannot be brought there; a failure of before is told again, unless ``fresh``.
        """
        self.board.up(stage, fresh=fresh)

    def reset(self) -> None:
        """Reset it, and wait until it is online again; the connection it had is left to the gateway.

        Raises:
            NoLines: it cannot be, neither by its lines nor by its supply.
            BringUpFailed: it did not come online again.
        """
        self._fall_back()
        self.up("online")

    def power_off(self) -> None:
        """Take its power, so that nobody is told. Idempotent."""
        self.lose_connection()
        self.board.power_off()

    def power_on(self) -> None:
        """Give it power, and wait until it is online again. Idempotent."""
        self.up("online")  # which gives it power where it has none

    def wake(self) -> None:
        """Have firmware connect that takes no orders, by clicks of its BOOT button.

        For xiaozhi firmware that is a wake word; in a conversation it ends that, and the next one begins another.

        Raises:
            NoLines: its port cannot.
            NotOnline: it was online, and a click did not end that.
        """
        click = self.board.lines.click_boot
        if self._front.online(self.mac):
            click()
            self._await(
                lambda: not self._front.online(self.mac), FALLS_ASLEEP, "lost its connection by a click of BOOT"
            )
        click()

    def have(self, build: Build | None, *, fresh: Fresh = "", ordered: bool = False) -> None:
        """Have it online with this build, and as new as this; see `Fresh`. None: the build it had at first.

        Args:
            build: that is to be on it.
            fresh: how new it is to be.
            ordered: firmware that awaits orders, and does nothing by itself any more, will do.

        Raises:
            BringUpFailed: it cannot be.
            NoLines: it is to be reset, and cannot be.
            Misuse: all of its flash is to be written anew, and nobody knows what belongs there.
        """
        self.console = ConsoleView(self.board.console)
        wanted = build or self._first_build
        if wanted is not None and wanted is not self.build:
            self.build = wanted
            self.board.change(build=wanted)
        if fresh == "flash":
            if self.build is None:
                raise Misuse(f"expected a build to put back on {self.id} once its flash is erased; --ws-build names it")
            self.board.flasher.erase()
            self.board.bring_up.fell_back("off")
        elif fresh == "nvs":
            self.board.provision_anew()
        elif fresh == "power":
            self.power_off()
        elif fresh == "reset":
            self._fall_back()
        elif self.unsettled or (self.ordered and not ordered):
            self._fall_back(may_stay=True)
        self.unsettled = False
        self.up("online")

    def lose_connection(self) -> None:
        """Have its connections fall silent, as those of a board do that loses its power a moment later."""
        if self.config.virtual:  # its sockets are those of a process, which the kernel would end with FIN
            self._front.silence(self.mac)

    def _fall_back(self, *, may_stay: bool = False) -> None:
        """Have the next bring-up reset it; ``may_stay``: or leave it as it is, where it cannot be reset."""
        if not may_stay and not self.board.can_reset:
            raise NoLines(f"expected {self.id} to have reset lines or a supply that can be switched, it has none")
        self.lose_connection()
        self.board.bring_up.fell_back("provisioned")

    def _await_online(self, seconds: float) -> None:
        """Wait for the answer to its hello, and learn which orders it takes; raises a `HarnessError`."""
        began = self._began()
        woken = False

        def online() -> bool:
            nonlocal woken
            if not woken and self._waits_for_a_wake_word():
                woken = True
                self.board.lines.click_boot()
            return self._front.online(self.mac, since=began)

        self._await(online, seconds, "been seen by the gateway")
        self.ordered = False
        self.verbs = frozenset()
        if _TEST_CONSOLE in self.config.caps:
            line = self.board.console.expect(announcement_of_orders, TAKES_ORDERS, since=self.board.reset_at)
            self.verbs = announced(line.text) or frozenset()

    def _waits_for_a_wake_word(self) -> bool:
        """Whether it is xiaozhi firmware that has come up; before that a click would have it set up its Wi-Fi."""
        if _TEST_CONSOLE in self.config.caps or not self.board.lines.can_click:
            return False
        return any(IDLE in line.text for line in self.board.console.lines(self.board.reset_at))

    def _began(self) -> float:
        """Return when its present life began, by loop time; a connection of before may still look open."""
        if not self.board.can_reset:
            return 0.0  # there is no other life that one could know of
        first = self.board.console.lines(self.board.reset_at)[:1]
        return first[0].at if first else 0.0

    def _await(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        began = time.monotonic()
        while not holds():
            waited = time.monotonic() - began
            hopeless = self.board.console.state in {"lost", "closed"} or self._starts_again_and_again()
            if hopeless or waited > seconds:
                raise NotOnline(f"expected that {self.id} ({self.mac}) had {what}, it has not in {waited:.1f} s")
            time.sleep(_LOOK)

    def _starts_again_and_again(self) -> bool:
        return len(starts(self.board.console.lines(self.board.reset_at))) >= LOOP

    # --- crashes ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def may_crash(self) -> Iterator[None]:
        """A crash that begins in here is what the test wants; elsewhere it ends the test. Waits for its end."""
        with self.crashes_allowed():
            yield
            self.await_crash(0.0)

    @contextlib.contextmanager
    def crashes_allowed(self) -> Iterator[None]:
        """The same, without waiting."""
        try:
            with self.board.crashes.allowed():
                yield
        finally:
            self.unsettled = True

    def on_crash(self, tell: Callable[[BoardCrashed], None]) -> Callable[[], None]:
        """Call back, from a thread, when it crashes unasked; the result ends that."""
        self._told.append(tell)
        return lambda: self._told.remove(tell) if tell in self._told else None

    @property
    def crashes(self) -> tuple[CrashReport, ...]:
        """Those that were seen, the last ones, oldest first; those that were allowed, too."""
        return tuple(self.board.crashes.crashes)

    def await_crash(self, begins: float = BEGINS) -> None:
        """Wait until a crash that is being printed has been told on.

        Args:
            begins: seconds for it to begin: what it broke is noticed before its first line.
        """
        self.board.crashes.await_end(begins, QUIET + _TOLD)

    def _crashed(self, _: CrashReport, error: BoardCrashed | None) -> None:
        self.unsettled = True
        if error is not None:
            for tell in tuple(self._told):
                tell(error)


def announcement_of_orders(line: Line) -> bool:
    """Whether a line announces a test console."""
    return announced(line.text) is not None
