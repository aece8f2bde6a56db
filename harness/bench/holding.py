"""The boards that one process holds: taken from the bench when they are asked for, brought up, kept to the end.

A fault of the rig is tried again, visibly: the board is brought back if it can be, else another one takes its place,
as long as there is one. What firmware, network or gateway did wrong is told as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeAlias

from harness.bench.bench_file import Bench
from harness.bench.errors import BenchIncomplete, NoBoardFree, NoBoardWell, NothingMatches
from harness.bench.front import Front
from harness.bench.front_ports import remember, remembered
from harness.bench.health import Health
from harness.bench.held_board import HeldBoard
from harness.bench.leases import Lease, Leases
from harness.bench.recovery import recover
from harness.bench.selection import WAIT, choose
from harness.board.board import ONLINE
from harness.board.errors import BringUpFailed, FlashFailed, PortFailed
from harness.board.power import PowerFailed
from harness.errors import HarnessError, Misuse
from harness.firmware.build import Build, find_build
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.made_builds import make_build

Ready: TypeAlias = Callable[[HeldBoard], None]
"""Has a board as a test wants it."""

_MEMORY = "last-written"  # below the bench's state: what is on each board, for all who use it
_MAY_BLAME_THE_RIG = (BringUpFailed, PortFailed, FlashFailed, PowerFailed)  # their ``verdict`` says whether they do


class _RigFault(Exception):
    """A board could not be had because of the rig; another one may be."""

    def __init__(self, board: str, error: HarnessError) -> None:
        super().__init__(board, error)
        self.board = board
        self.error = error


def _online(held: HeldBoard) -> None:
    held.up("online")


class _Wish(NamedTuple):
    """What is asked for; see `Holding.board`."""

    chip: str | None
    caps: Sequence[str]
    test: str
    besides: Sequence[HeldBoard]
    ready: Ready


class Holding:
    """The boards of a bench that this process holds; ``with`` gives them back at the end. Calls block.

    Args:
        bench: the rig.
        directory: for logs, and the state of the front's gateway.
        builds: what is to be on the boards, by chip; of other chips: what is on them stays.
        wait: seconds to wait for a board that others hold.
        online: seconds from the start of a board to the gateway, at most.
        tell: is told what was tried again, in words.

    Attributes:
        held: the boards, in the order in which they were taken.
    """

    def __init__(
        self,
        bench: Bench,
        directory: Path,
        builds: Mapping[ChipName, Build] | None = None,
        *,
        wait: float = WAIT,
        online: float = ONLINE,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.bench = bench
        self.held: list[HeldBoard] = []
        self._directory = directory
        self._builds = builds or {}
        self._wait = wait
        self._online_seconds = online
        self._tell = tell
        self._leases = Leases(bench.lock_dir)
        self._health = Health(bench.state_dir)
        self._memory = Path(bench.state_dir) / _MEMORY
        self._ends = ExitStack()
        self._front: Front | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give all boards back, and close the front; idempotent."""
        self.held.clear()
        self._front = None
        self._ends.close()

    @property
    def front(self) -> Front:
        """Where the boards find gateways.

        Raises:
            Misuse: there is no board yet.
        """
        if self._front is None:
            raise Misuse("expected a board to be held: the front is opened with the ports that the first one knows")
        return self._front

    def board(
        self,
        chip: str | None = None,
        caps: Sequence[str] = (),
        *,
        test: str = "",
        besides: Sequence[HeldBoard] = (),
        ready: Ready = _online,
    ) -> HeldBoard:
        """Return a board that is as the test wants it: one that is held already, or one more.

        One with a fault of the rig that no remedy heals is given back, and every other board that matches is tried:
        those that are free, one after the other; for those that others hold is waited as long as all in all may be.

        Args:
            chip: of which kind; None: any.
            caps: what it must have.
            test: for whom.
            besides: none of these: the test has them already.
            ready: has it as the test wants it; is called again after a remedy, and for each board. By default it is
                brought online.

        Raises:
            NothingMatches, NoBoardFree: there is none.
            NoBoardWell: the rig has failed each of several.
            BenchIncomplete: an address or a password of the bench is not there.
            PortFailed, FlashFailed, PowerFailed: of the only board that could be it.
            BringUpFailed: likewise; or firmware, network or gateway is at fault. Then a board that the test has
                ``besides`` others is given back, and its first one kept: it tells all who ask for it the same.
        """
        wish = _Wish(chip, caps, test, besides, ready)
        deadline = time.monotonic() + self._wait
        faults: dict[str, HarnessError] = {}
        while True:
            try:
                held = self._one(wish, faults, deadline)
            except _RigFault as fault:
                faults[fault.board] = fault.error
            except (NothingMatches, NoBoardFree) as none:
                raise _no_other(faults, none) from None
            else:
                if faults:
                    self._tell(f"{held.id} takes the place of {', '.join(faults)}")
                return held

    def give_back(self, held: HeldBoard) -> None:
        """Give one board back before the end."""
        if held not in self.held:
            raise Misuse(f"expected a board that is held, {held.id} is not")
        self.held.remove(held)
        held.__exit__(None, None, None)

    # --- taking one -----------------------------------------------------------------------------------------------

    def _one(self, wish: _Wish, faults: Mapping[str, HarnessError], deadline: float) -> HeldBoard:
        """Return a board that is none of those with faults; one that the rig fails is given back."""
        held = next((one for one in self.held if one not in wish.besides and one.fits(wish.chip, wish.caps)), None)
        if held is None:
            held = self._taken(wish, faults, deadline)
        else:
            held.working_on(wish.test)
        try:
            self._ready(held, wish)
        except BaseException as error:
            if wish.besides or isinstance(error, _RigFault):
                self.give_back(held)  # nobody else will: whoever asked has not got it
            raise
        return held

    def _taken(self, wish: _Wish, faults: Mapping[str, HarnessError], deadline: float) -> HeldBoard:
        """Take one more board, and open its console."""
        lease = choose(
            self.bench,
            self._leases,
            self._health,
            wish.chip,
            wish.caps,
            ids=[board.id for board in self.bench.boards if board.id not in faults] if faults else None,
            test=wish.test,
            wait=max(deadline - time.monotonic(), 0.0),
        )
        try:
            held = self._made(lease)
        except BaseException:
            lease.release()  # or this process would be told that it holds the board itself
            raise
        try:
            self._ends.enter_context(held)
        except PortFailed as failed:
            self._note_fault(held.id, str(failed), wish.test)
            raise _RigFault(held.id, failed) from None
        self.held.append(held)
        return held

    def _ready(self, held: HeldBoard, wish: _Wish) -> None:
        """Have a board as the test wants it; where the rig is at fault, after it was brought back."""
        try:
            wish.ready(held)
        except _MAY_BLAME_THE_RIG as failed:
            if failed.verdict != "rig":
                raise
            self._bring_back(held, failed, failed.why, wish.test)
        else:
            return
        try:
            wish.ready(held)  # it has booted afresh, and goes on from there
        except _MAY_BLAME_THE_RIG as failed:
            if failed.verdict != "rig":
                raise
            raise _RigFault(held.id, failed) from None

    def _bring_back(self, held: HeldBoard, failed: HarnessError, why: str, test: str) -> None:
        """Climb the ladder of remedies; raises `_RigFault` if none helps."""
        self._note_fault(held.id, why, test)
        remedies = held.board.remedies()
        recovery = recover(held.id, remedies, lambda: _answers(held), self._health, why=why, test=test)
        self._tell(str(recovery))
        if not recovery.helped:
            raise _RigFault(held.id, failed) from None

    def _note_fault(self, board: str, why: str, test: str) -> None:
        self._health.rig_fault(board, why, test)
        self._tell(f"{board}: {why}")

    def _made(self, lease: Lease) -> HeldBoard:
        if self._front is None:
            self._front = self._opened_front(lease.board.id)
        remember(self._memory, lease.board.id, self._front.ports)
        build = self._builds.get(lease.board.chip)
        return HeldBoard(
            lease,
            self._front,
            self.bench.network,
            build,
            self._directory,
            self._memory,
            online=self._online_seconds,
        )

    def _opened_front(self, board: str) -> Front:
        host = self.bench.network.gateway_host
        front = Front(host, self._directory / "front", ports=remembered(self._memory, board))
        try:
            return self._ends.enter_context(front)
        except OSError as error:
            raise BenchIncomplete(
                f"expected network.gateway_host of the bench {self.bench.name} to be an address of this machine, got "
                f"{host}: {error.strerror or error}"
            ) from error


def builds_for(bench: Bench, paths: Sequence[Path], directory: Path) -> dict[ChipName, Build]:
    """Return what is to be on the boards of a bench, by chip.

    Args:
        bench: the rig; its virtual boards get the firmware for tests where no other build is given for their chip.
        paths: of builds, one for each chip at most.
        directory: for what is made.

    Raises:
        FirmwareError: what a path has is no build.
        Misuse: two builds for one chip, or one for a chip that no board has.
    """
    builds: dict[ChipName, Build] = {}
    for path in paths:
        build = find_build(path)
        if build.chip.name in builds:
            raise Misuse(f"expected one build for each chip, got two for {build.chip.title}: {path} is the second")
        builds[build.chip.name] = build
    has = {board.chip for board in bench.boards}
    for name, build in builds.items():
        if name not in has:
            raise Misuse(f"no board of the bench {bench.name} is an {CHIPS[name].title}, which {build.path} is for")
    for board in bench.boards:
        if board.virtual and board.chip not in builds:
            builds[board.chip] = make_build(directory / f"firmware-{board.chip}", CHIPS[board.chip])
    return builds


def _no_other(faults: Mapping[str, HarnessError], none: NothingMatches | NoBoardFree) -> HarnessError:
    """Return what to raise when no board is left: what is wrong with those that were tried, and why no other is it."""
    if not faults:
        return none
    others = {board: why for board, why in none.because.items() if board not in faults}
    if not others and len(faults) == 1:
        return next(iter(faults.values()))
    return NoBoardWell(faults, others)


def _answers(held: HeldBoard) -> bool:
    try:
        held.board.up("booted", fresh=True)
    except HarnessError:
        return False
    return True
