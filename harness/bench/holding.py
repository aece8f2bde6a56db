"""The boards that one process holds: taken from the bench when they are asked for, brought up, kept to the end.

A fault of the rig is tried again, visibly: the board is brought back if it can be, else another one takes its place.
What firmware, network or gateway did wrong is told as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.bench.bench_file import Bench
from harness.bench.errors import BenchIncomplete, NoBoardFree, NothingMatches
from harness.bench.front import Front
from harness.bench.front_ports import remember, remembered
from harness.bench.health import Health
from harness.bench.held_board import HeldBoard
from harness.bench.leases import Lease, Leases
from harness.bench.recovery import recover
from harness.bench.selection import WAIT, choose
from harness.board.board import ONLINE
from harness.board.errors import BringUpFailed, PortFailed
from harness.errors import HarnessError, Misuse
from harness.firmware.build import Build, find_build
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.made_builds import make_build

_MEMORY = "last-written"  # below the bench's state: what is on each board, for all who use it


class _RigFault(Exception):
    """A board could not be had because of the rig; another one may be."""

    def __init__(self, board: str, error: HarnessError) -> None:
        super().__init__(board, error)
        self.board = board
        self.error = error


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
        self, chip: str | None = None, caps: Sequence[str] = (), *, test: str = "", besides: Sequence[HeldBoard] = ()
    ) -> HeldBoard:
        """Return a board that is online: one that is held already, or one more.

        Args:
            chip: of which kind; None: any.
            caps: what it must have.
            test: for whom.
            besides: none of these: the test has them already.

        Raises:
            NothingMatches, NoBoardFree: there is none.
            BenchIncomplete: an address or a password of the bench is not there.
            PortFailed: its port cannot be opened, and no other board can take its place.
            BringUpFailed: it cannot be brought online; told again to whoever asks for it later.
        """
        for held in self.held:
            if held not in besides and held.fits(chip, caps):
                held.working_on(test)
                held.up("online")
                return held
        return self._another(chip, caps, test)

    def give_back(self, held: HeldBoard) -> None:
        """Give one board back before the end."""
        if held not in self.held:
            raise Misuse(f"expected a board that is held, {held.id} is not")
        self.held.remove(held)
        held.__exit__(None, None, None)

    # --- taking one -----------------------------------------------------------------------------------------------

    def _another(self, chip: str | None, caps: Sequence[str], test: str) -> HeldBoard:
        try:
            return self._online(chip, caps, test)
        except _RigFault as fault:
            return self._in_place_of(fault, chip, caps, test)

    def _in_place_of(self, fault: _RigFault, chip: str | None, caps: Sequence[str], test: str) -> HeldBoard:
        others = [board.id for board in self.bench.boards if board.id != fault.board]
        try:
            another = self._online(chip, caps, test, others)
        except (NothingMatches, NoBoardFree) as none:
            self._tell(f"no other board can take the place of {fault.board}: {none}")
            raise fault.error from None
        except _RigFault as second:
            raise second.error from None
        self._tell(f"{another.id} takes the place of {fault.board}")
        return another

    def _online(self, chip: str | None, caps: Sequence[str], test: str, ids: Sequence[str] | None = None) -> HeldBoard:
        """Take a board and bring it online; one with a fault of the rig is given back."""
        lease = choose(self.bench, self._leases, self._health, chip, caps, ids=ids, test=test, wait=self._wait)
        board = lease.board.id
        try:
            held = self._made(lease)
        except BaseException:
            lease.release()  # or this process would be told that it holds the board itself
            raise
        try:
            self._ends.enter_context(held)
        except PortFailed as failed:
            self._note_fault(board, str(failed))
            raise _RigFault(board, failed) from None
        self.held.append(held)
        try:
            self._bring_up(held)
        except BringUpFailed as failed:
            if failed.verdict != "rig":
                raise
            self.give_back(held)
            raise _RigFault(board, failed) from None
        return held

    def _note_fault(self, board: str, why: str) -> None:
        self._health.rig_fault(board, why)
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

    def _bring_up(self, held: HeldBoard) -> None:
        """Bring it online; where the rig is at fault, after it was brought back.

        Raises:
            BringUpFailed: it cannot be.
        """
        try:
            held.up("online")
        except BringUpFailed as failed:
            if failed.verdict != "rig":
                raise
            self._note_fault(held.id, failed.why)
            remedies = held.board.remedies()
            recovery = recover(held.id, remedies, lambda: _answers(held), self._health, why=failed.why)
            self._tell(str(recovery))
            if not recovery.helped:
                raise
            held.up("online", fresh=True)


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


def _answers(held: HeldBoard) -> bool:
    try:
        held.board.up("booted", fresh=True)
    except HarnessError:
        return False
    return True
