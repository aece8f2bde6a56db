"""Which boards a process holds, and what becomes of a test whose board the rig has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from harness.bench import holding as module
from harness.bench.bench_file import Bench, NetworkConfig
from harness.bench.errors import BenchIncomplete, NoBoardWell, NothingMatches
from harness.bench.front import Front
from harness.bench.front_ports import remembered
from harness.bench.health import Health
from harness.bench.held_board import HeldBoard
from harness.bench.holding import Holding, builds_for
from harness.bench.leases import Holder, Lease, Leases
from harness.bench.recovery import Remedies
from harness.bench.selection import choose
from harness.board.errors import BringUpFailed, FlashFailed, PortMissing, Verdict
from harness.board.power import PowerFailed
from harness.errors import HarnessError, Misuse
from harness.firmware.chips import CHIPS
from harness.firmware.errors import FirmwareError
from harness.firmware.made_builds import make_build
from tests.harness.bench.benches import a_bench, a_board


class FakeHeld:
    """A held board without a board.

    Attributes:
        failures: of its bring-ups, in order; None: it comes up. Past them it does.
        no_port: its port is not there.
        asked: the stages it was to be in, and whether afresh.
        resets: how often it was.
        tests: that it was for.
    """

    def __init__(self, lease: Lease, front: Front, build: Any) -> None:
        self.id = lease.board.id
        self.front = front
        self.build = build
        self.failures: list[Verdict | None] = []
        self.no_port = False
        self.asked: list[tuple[str, bool]] = []
        self.resets = 0
        self.tests: list[str] = []
        self.board = self
        self._lease = lease

    def __enter__(self) -> Self:
        if self.no_port:
            self._lease.release()
            raise PortMissing("rfc2217://rig:4001", "no such port")
        return self

    def __exit__(self, *_: object) -> None:
        self._lease.release()

    def fits(self, chip: str | None, caps: Any) -> bool:
        """Of one kind all are."""
        return chip in {None, self._lease.board.chip}

    def working_on(self, test: str) -> None:
        """Note it."""
        self.tests.append(test)

    def up(self, stage: str = "online", *, fresh: bool = False) -> None:
        """Come up, or fail."""
        self.asked.append((stage, fresh))
        if self.failures and (verdict := self.failures.pop(0)):
            raise BringUpFailed(self.id, stage, verdict, f"a fault of the {verdict}", [])

    def remedies(self) -> Remedies:
        """What helps."""

        def reset() -> None:
            self.resets += 1

        return Remedies(reset=reset)


class Rig:
    """A bench of fake boards.

    Attributes:
        bench: what its file says.
        made: the boards that were taken, in order.
        told: what was tried again.
    """

    def __init__(self, directory: Path, count: int = 2) -> None:
        self.bench = a_bench(directory, *(a_board(number) for number in range(1, count + 1)))
        self.made: list[FakeHeld] = []
        self.told: list[str] = []
        self.wrong: dict[str, Callable[[FakeHeld], None]] = {}
        self.fails: Exception | None = None

    def held(self, lease: Lease, front: Front, network: NetworkConfig, build: Any, *_: Path, online: float) -> FakeHeld:
        """Take the place of `HeldBoard`."""
        if self.fails is not None:
            raise self.fails
        held = FakeHeld(lease, front, build)
        self.wrong.get(held.id, lambda _: None)(held)
        self.made.append(held)
        return held

    def no_port(self, board: str) -> None:
        """Pull a cable."""
        self.wrong[board] = lambda held: setattr(held, "no_port", True)

    def failing(self, board: str, *failures: Verdict | None) -> None:
        """Have its bring-ups fail."""
        self.wrong[board] = lambda held: held.failures.extend(failures)

    @property
    def holders(self) -> list[str]:
        """The ids of the boards that are held."""
        leases = Leases(self.bench.lock_dir)
        return [board.id for board in self.bench.boards if leases.holder_of(board.id)]

    @property
    def quarantined(self) -> list[str]:
        """The ids of those in quarantine."""
        health = Health(self.bench.state_dir)
        return [board.id for board in self.bench.boards if health.of(board.id).quarantine]


@pytest.fixture
def count() -> int:
    """Boards of the rig."""
    return 2


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> Rig:
    """A rig."""
    rig = Rig(tmp_path, count)
    monkeypatch.setattr(module, "HeldBoard", rig.held)
    return rig


@pytest.fixture
def holding(rig: Rig, tmp_path: Path) -> Iterator[Holding]:
    """Who holds its boards."""
    with Holding(rig.bench, tmp_path, wait=0.0, tell=rig.told.append) as holding:
        yield holding


def test_a_board_is_taken_once_and_kept(rig: Rig, holding: Holding):
    """Each test gets the same one, online; who has it already gets another."""
    first = holding.board(test="one")
    again = holding.board("esp32s3", test="two")
    other = holding.board(test="two", besides=[first])

    assert first is again
    assert first.id != other.id
    assert rig.made[0].tests == ["two"]
    assert rig.made[0].asked == [("online", False)] * 2
    assert holding.held == [first, other]
    assert rig.holders == ["b1", "b2"]


def test_no_more_boards(rig: Rig, holding: Holding):
    """What is held by the test itself cannot be waited for."""
    both = [holding.board(), holding.board(besides=holding.held)]
    with pytest.raises(NothingMatches, match="held by this process itself"):
        holding.board(besides=both)


def test_given_back(rig: Rig, holding: Holding):
    """Before the end, or at the end; a board is given back once, and can be taken again."""
    first = holding.board()
    holding.give_back(first)
    assert rig.holders == []
    with pytest.raises(Misuse, match="expected a board that is held, b1 is not"):
        holding.give_back(first)

    again = holding.board()
    assert again is not first
    holding.__exit__(None, None, None)
    holding.__exit__(None, None, None)
    assert rig.holders == []
    assert holding.held == []


def test_one_front_for_all(rig: Rig, holding: Holding, tmp_path: Path):
    """It is opened with the first board, and remembered for each; at the end it is gone."""
    with pytest.raises(Misuse, match="a board to be held"):
        _ = holding.front
    holding.board()
    holding.board(besides=holding.held)

    ports = holding.front.ports
    assert {held.front for held in rig.made} == {holding.front}
    assert [remembered(tmp_path / "state" / "last-written", board) for board in ("b1", "b2")] == [ports, ports]
    holding.__exit__(None, None, None)
    with pytest.raises(Misuse):
        _ = holding.front


def test_what_is_to_be_on_a_board(rig: Rig, tmp_path: Path):
    """The build for its chip."""
    build = make_build(tmp_path / "build", CHIPS["esp32s3"])
    with Holding(rig.bench, tmp_path, {"esp32s3": build}) as holding:
        holding.board()

    assert rig.made[0].build is build


def test_a_fault_of_the_rig_that_a_remedy_heals(rig: Rig, holding: Holding):
    """The board is brought back, brought up afresh, and that is told."""
    rig.failing("b1", "rig")
    held = holding.board()

    assert held.id == "b1"
    assert rig.made[0].resets == 1
    assert rig.made[0].asked == [("online", False), ("booted", True), ("online", False)]
    assert rig.told[0] == "b1: a fault of the rig"
    assert "b1 is back after: EN reset" in rig.told[1]
    assert rig.quarantined == []


def test_a_fault_of_the_rig_that_nothing_heals(rig: Rig, holding: Holding):
    """The board goes into quarantine, and another one takes its place."""
    rig.failing("b1", "rig", "rig")
    held = holding.board()

    assert held.id == "b2"
    assert holding.held == [held]
    assert rig.holders == ["b2"]
    assert rig.quarantined == ["b1"]
    assert rig.told[-1] == "b2 takes the place of b1"


def test_a_fault_of_the_rig_that_comes_again(rig: Rig, holding: Holding):
    """A board that came back, and fails again, is not tried a third time."""
    rig.failing("b1", "rig", None, "rig")

    assert holding.board().id == "b2"
    assert rig.quarantined == []
    assert rig.holders == ["b2"]


def test_a_port_that_is_not_there(rig: Rig, holding: Holding):
    """Another board takes the place; the fault is in the history."""
    rig.no_port("b1")

    assert holding.board().id == "b2"
    assert rig.holders == ["b2"]
    assert Health(rig.bench.state_dir).of("b1").recent_faults == 1


def test_no_other_board(rig: Rig, holding: Holding):
    """Where none can take its place, it is told what was wrong with the first, and why there is no other."""
    holding.board()
    rig.no_port("b2")
    with pytest.raises(NoBoardWell) as caught:
        holding.board(besides=holding.held)

    assert caught.value.verdict == "rig"
    lines = str(caught.value).splitlines()
    assert lines[0] == "the rig failed b2; no other board can take the place:"
    assert lines[1] == "  b2 was tried: rfc2217://rig:4001: no such port"
    assert lines[2].startswith("  b1: held by this process itself")
    assert rig.holders == ["b1"]


@pytest.mark.parametrize("count", [1])
def test_the_only_board(rig: Rig, holding: Holding):
    """Where there is no other, its own fault is told."""
    rig.no_port("b1")
    with pytest.raises(PortMissing, match="no such port"):
        holding.board()

    assert rig.holders == []


@pytest.mark.parametrize("count", [4])
def test_every_other_board_is_tried(rig: Rig, holding: Holding):
    """One after the other, until one is well; that is told with the names of those before it."""
    rig.no_port("b1")
    rig.failing("b2", "rig", "rig")
    rig.no_port("b3")

    assert holding.board(test="the test").id == "b4"
    assert rig.holders == ["b4"]
    assert rig.told[-1] == "b4 takes the place of b1, b2, b3"
    health = Health(rig.bench.state_dir)
    assert [health.of(board).events[0].test for board in ("b1", "b2", "b3")] == ["the test"] * 3
    assert health.of("b2").quarantine is not None
    assert health.of("b2").quarantine.test == "the test"


@pytest.mark.parametrize("count", [3])
def test_no_board_is_well(rig: Rig, holding: Holding):
    """Each is named with its own fault, and all are given back."""
    for board in ("b1", "b3"):
        rig.no_port(board)
    rig.failing("b2", "rig", "rig")
    with pytest.raises(NoBoardWell) as caught:
        holding.board()

    assert list(caught.value.faults) == ["b1", "b2", "b3"]
    text = str(caught.value)
    assert text.startswith("the rig failed b1, b2, b3; no other board can take the place:\n")
    assert "  b2 was tried: b2 could not be online (rig): a fault of the rig\n    " in text
    assert rig.holders == []
    assert holding.held == []


@pytest.mark.parametrize("count", [3])
def test_boards_that_others_hold_are_waited_for_once(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What one board has taken of the time is not there for the next."""
    leases = Leases(rig.bench.lock_dir, Holder(1, "somebody", "else"))
    others = [leases.take(board) for board in rig.bench.boards[1:]]
    waits: list[float] = []
    monkeypatch.setattr(
        module, "choose", lambda *given, wait, **how: waits.append(wait) or choose(*given, wait=0, **how)
    )
    rig.no_port("b1")
    with Holding(rig.bench, tmp_path, wait=60.0) as holding, pytest.raises(NoBoardWell, match="b3: held by pid"):
        holding.board()
    for lease in others:
        assert lease is not None
        lease.release()

    assert waits[1] < waits[0] <= 60.0


def test_a_board_that_the_rig_fails_later(rig: Rig, holding: Holding):
    """Of a board that is held, too, a fault of the rig is healed, or another one takes its place."""
    first = holding.board(test="one")
    rig.made[0].failures = ["rig", "rig"]

    assert holding.board(test="two").id == "b2"
    assert rig.holders == ["b2"]
    assert first not in holding.held
    assert Health(rig.bench.state_dir).of("b1").events[0].test == "two"


def test_a_board_is_as_the_test_wants_it(rig: Rig, holding: Holding):
    """What has it so is called for each board that is tried, and again after a remedy."""
    asked: list[str] = []

    def ready(held: HeldBoard) -> None:
        asked.append(held.id)
        held.up("online")

    rig.failing("b1", "rig", None, "rig")

    assert holding.board(ready=ready).id == "b2"
    assert asked == ["b1", "b1", "b2"]


@pytest.mark.parametrize(
    "error",
    [PowerFailed("b1", "switch it off", "it did not obey"), FlashFailed("erase", "no answer"), PortMissing("p", "?")],
)
def test_faults_of_the_rig_of_other_kinds(rig: Rig, holding: Holding, error: HarnessError):
    """What a supply, esptool or a port does wrong on the way counts as well."""

    def ready(held: HeldBoard) -> None:
        if held.id == "b1":
            raise error

    assert holding.board(ready=ready).id == "b2"


def test_a_further_board_that_is_not_to_be_had(rig: Rig, holding: Holding):
    """Whatever is wrong with it, it is given back at once: the test has not got it, and nobody else would."""
    first = holding.board()
    rig.failing("b2", "firmware")
    with pytest.raises(BringUpFailed, match="a fault of the firmware"):
        holding.board(besides=[first])
    assert rig.holders == ["b1"]

    rig.wrong.clear()

    def fails(_: HeldBoard) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        holding.board(besides=[first], ready=fails)
    assert rig.holders == ["b1"]
    assert holding.held == [first]


@pytest.mark.parametrize("verdict", ["firmware", "network", "gateway"])
def test_what_is_not_the_rigs_fault_is_told_as_it_is(rig: Rig, holding: Holding, verdict: Verdict):
    """No other board is tried, nothing is healed, and the board is kept: it is asked again by the next test."""
    rig.failing("b1", verdict, verdict)
    for _ in range(2):
        with pytest.raises(BringUpFailed, match=f"a fault of the {verdict}"):
            holding.board()

    assert [held.id for held in rig.made] == ["b1"]
    assert rig.made[0].resets == 0
    assert rig.told == []
    assert rig.holders == ["b1"]


def test_a_board_that_cannot_be_made_is_not_kept_from_others(rig: Rig, holding: Holding):
    """What is missing in the bench is told to each test, and not that this process holds the board."""
    rig.fails = BenchIncomplete("no password")
    for _ in range(2):
        with pytest.raises(BenchIncomplete, match="no password"):
            holding.board()

    assert rig.holders == []


def test_an_address_that_is_not_of_this_machine(rig: Rig, tmp_path: Path):
    """It is said which, and where it stands."""
    network = NetworkConfig(gateway_host="192.0.2.1")  # of RFC 5737: nobody has it
    bench = Bench("lab", rig.bench.lock_dir, rig.bench.state_dir, network, rig.bench.boards)
    with Holding(bench, tmp_path) as holding, pytest.raises(BenchIncomplete, match=r"gateway_host .* got 192\.0\.2\.1"):
        holding.board()

    assert rig.holders == []


# --- what is to be on them ------------------------------------------------------------------------------------------


def test_builds_for_a_bench(tmp_path: Path):
    """Those that are given, and firmware for tests for the virtual boards that none is given for."""
    bench = a_bench(tmp_path, a_board(1), a_board(2, "esp32c3", virtual=True), a_board(3, "esp32", virtual=True))
    make_build(tmp_path / "c3", CHIPS["esp32c3"], version="9.9.9")
    builds = builds_for(bench, [tmp_path / "c3"], tmp_path)

    assert set(builds) == {"esp32c3", "esp32"}
    assert builds["esp32c3"].path == tmp_path / "c3"
    assert builds["esp32"].chip.name == "esp32"


def test_builds_that_cannot_be(tmp_path: Path):
    """Two for one chip; one for a chip that no board has; one that is none."""
    bench = a_bench(tmp_path, a_board(1))
    for name, chip in (("a", "esp32s3"), ("b", "esp32s3"), ("other", "esp32c3")):
        make_build(tmp_path / name, CHIPS[chip])

    with pytest.raises(Misuse, match=r"got two for ESP32-S3: .*b is the second"):
        builds_for(bench, [tmp_path / "a", tmp_path / "b"], tmp_path)
    with pytest.raises(Misuse, match="no board of the bench lab is an ESP32-C3"):
        builds_for(bench, [tmp_path / "other"], tmp_path)
    with pytest.raises(FirmwareError):
        builds_for(bench, [tmp_path / "nothing"], tmp_path)
