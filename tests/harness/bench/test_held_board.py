"""A held board without a board: how it is made as new as a test asks for, and what is told of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from harness.bench import held_board as module
from harness.bench.bench_file import NetworkConfig
from harness.bench.errors import NotOnline
from harness.bench.held_board import HeldBoard
from harness.bench.leases import Leases
from harness.board.bring_up import BringUp, Stage
from harness.board.crash_report import CrashReport
from harness.board.errors import BoardCrashed, BringUpFailed, LineMissing, NoLines, PortMissing
from harness.board.judging import Judgement
from harness.board.line_record import LineRecord
from harness.errors import Misuse
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from tests.harness.bench.benches import a_board

CAPS = ("wifi", "test_console")
ANNOUNCEMENT = "I (412) wsdevice: test console 1: connect send"


class FakeFront:
    """A front without connections.

    Attributes:
        answered: when the board's hello was; None: it was not.
        silenced: the ids of those that were silenced.
    """

    ota_url = "http://127.0.0.1:1/xiaozhi/ota/"

    def __init__(self) -> None:
        self.answered: float | None = None
        self.silenced: list[str] = []

    def online(self, _: str, *, since: float = 0.0) -> bool:
        """Whether it is."""
        return self.answered is not None and self.answered >= since

    def silence(self, device: str) -> None:
        """Note it."""
        self.silenced.append(device)


class FakeBoard:
    """The parts of a board, without one.

    Attributes:
        did: what was done to it.
        says: when it boots.
        connects: when it boots, after which the gateway answers it.
        crashes_allowed: now.
    """

    def __init__(self, config: Any, front: FakeFront, *, await_online: Callable[[float], None], **how: Any) -> None:
        self.config = config
        self.how = how
        self.did: list[str] = []
        self.says = ["rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)", ANNOUNCEMENT]
        self.connects = self.can_reset = True
        self.missing = False
        self.reset_at = 0
        self.console = LineRecord(config.id, None)
        self.console.state = "open"
        self.power = SimpleNamespace(kind="virtual", trusted=True)
        self.flasher = SimpleNamespace(erase=lambda: self.did.append("erased"))
        self.lines = SimpleNamespace(click_boot=self._click, can_click=True)
        self.crashes = SimpleNamespace(await_end=self._await_end, crashes=[], allowed=self._allowed)
        self.crashes_allowed = False
        self._front = front
        self._off = False
        stages = {
            "flashed": Stage(lambda _: self._do("flashed"), 1),
            "provisioned": Stage(lambda _: self._do("provisioned"), 1),
            "booted": Stage(lambda _: self._boot(), 1),
            "online": Stage(lambda seconds: await_online(seconds) or "online", 0.2),
        }
        self.bring_up = BringUp(config.id, stages, judge=lambda _, error: Judgement("firmware", str(error)), tail=list)
        self.up = self.bring_up.to

    def __enter__(self) -> Self:
        if self.missing:
            raise PortMissing("rfc2217://rig:4001", "no such port")
        return self

    def __exit__(self, *_: object) -> None:
        self.did.append("closed")
        with self.console._news:
            self.console.state = "closed"
            self.console._news.notify_all()

    def change(self, *, build: Any) -> None:
        """Have another build."""
        self.did.append("changed")
        self.bring_up.fell_back("off")

    def provision_anew(self) -> None:
        """Have its settings anew."""
        self.bring_up.fell_back("flashed")

    def power_off(self) -> None:
        """Take its power."""
        self.did.append("off")
        self._off = True
        self.bring_up.fell_back("provisioned")

    def _boot(self) -> str:
        self.did.append("on" if self._off else "reset" if self.can_reset else "left")
        self._off = False
        if self.can_reset:
            self.reset_at = self.console.position
            self.console.note("is reset")
            self.console._take("".join(f"{line}\n" for line in self.says).encode())
            if self.connects:
                self._front.answered = time.monotonic()
        return "booted"

    def _do(self, what: str) -> str:
        self.did.append(what)
        return what

    def _click(self) -> None:
        self.did.append("clicked")
        self._front.answered = None if self._front.answered else time.monotonic()

    @contextlib.contextmanager
    def _allowed(self) -> Iterator[None]:
        self.crashes_allowed = True
        try:
            yield
        finally:
            self.crashes_allowed = False

    def _await_end(self, begins: float, _: float) -> None:
        self.did.append(f"awaited {begins}")


class Held:
    """Makes held boards of a rig."""

    def __init__(self, directory: Path, front: FakeFront, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._front = front
        self.leases = Leases(directory / "locks")
        monkeypatch.setattr(module, "Board", lambda config, **how: FakeBoard(config, front, **how))

    def __call__(self, build: Any = None, **config: Any) -> tuple[HeldBoard, Any]:
        """Make one; return it, and what it is made of."""
        lease = self.leases.take(a_board(1, **{"caps": CAPS, "virtual": True, **config}))
        assert lease is not None
        held = HeldBoard(
            lease,
            self._front,
            NetworkConfig(),
            build,
            self._directory,
            self._directory,  # type: ignore[arg-type]
        )
        return held, held.board


@pytest.fixture
def front() -> FakeFront:
    """A front."""
    return FakeFront()


@pytest.fixture
def make(tmp_path: Path, front: FakeFront, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Makes held boards."""
    return Held(tmp_path, front, monkeypatch)


UP = ["flashed", "provisioned", "reset"]


def test_online(make: Held):
    """It is brought up once; the orders of its firmware are known then."""
    held, board = make()
    held.up()
    held.up()
    held.have(None)

    assert board.did == UP
    assert held.verbs == {"connect", "send"}


def test_firmware_without_a_test_console(make: Held):
    """It takes no orders, and nobody waits for it to say so."""
    held, board = make(caps=("wifi",))
    board.says = []
    held.up()

    assert held.verbs == frozenset()


def test_firmware_that_does_not_announce_its_test_console(make: Held, monkeypatch: pytest.MonkeyPatch):
    """The bench says that it has one: the board is not online, and that is told to all who ask."""
    monkeypatch.setattr(module, "TAKES_ORDERS", 0.01)
    held, board = make()
    board.says = []
    for _ in range(2):
        with pytest.raises(BringUpFailed, match=r"could not be online .* announcement of orders"):
            held.up()

    assert board.did == UP


@pytest.mark.parametrize(
    ("fresh", "did"),
    [
        ("", []),
        ("reset", ["reset"]),
        ("power", ["off", "on"]),
        ("nvs", ["provisioned", "reset"]),
        ("flash", ["erased", *UP]),
    ],
)
def test_as_new_as_a_test_asks_for(make: Held, front: FakeFront, tmp_path: Path, fresh: Any, did: list[str]):
    """No more is done than that; where it loses its power or is reset, its connection falls silent before."""
    held, board = make(make_build(tmp_path / "build", CHIPS["esp32s3"]))
    held.up()
    held.have(None, fresh=fresh)

    assert board.did == [*UP, *did]
    assert front.silenced == ([held.mac] if fresh in {"reset", "power"} else [])


def test_nothing_is_erased_that_nobody_can_put_back(make: Held):
    """A board whose build is not known keeps it."""
    held, board = make()
    with pytest.raises(Misuse, match=r"expected a build to put back on b1 .* --ws-build names it"):
        held.have(None, fresh="flash")

    assert "erased" not in board.did


def test_what_a_test_left_behind(make: Held):
    """It is reset once, after a test that left it unsettled, and before one that looks at it when it had orders."""
    held, board = make()
    held.up()
    held.unsettled = True
    held.have(None)
    held.have(None)
    assert board.did[3:] == ["reset"]

    held.ordered = True
    held.have(None, ordered=True)
    assert board.did[4:] == []
    held.have(None)
    held.have(None)
    assert board.did[4:] == ["reset"]


def test_a_board_that_cannot_be_reset(make: Held, front: FakeFront):
    """It is left as it is after other tests; whoever asks for a reset is told."""
    held, board = make(caps=("wifi",), virtual=False)
    board.can_reset = False
    board.console.note("it was online before its console was opened")
    front.answered = 1.0
    held.up()
    held.unsettled = True
    held.have(None)
    assert board.did == ["flashed", "provisioned", "left", "left"]

    for ask in (held.reset, lambda: held.have(None, fresh="reset")):
        with pytest.raises(NoLines, match="expected b1 to have reset lines or a supply"):
            ask()
    assert board.did[4:] == []


def test_builds(make: Held, tmp_path: Path):
    """A test may have one of its own; the next one has the first again."""
    first, other = (make_build(tmp_path / name, CHIPS["esp32s3"]) for name in ("a", "b"))
    held, board = make(first)
    held.up()
    held.have(other)
    assert held.build is other
    held.have(other)
    held.have(None)

    assert held.build is first
    assert board.did == [*UP, "changed", *UP, "changed", *UP]


def test_reset(make: Held, front: FakeFront):
    """It is reset once, and waited for."""
    held, board = make()
    held.up()
    held.reset()

    assert board.did == [*UP, "reset"]
    assert front.silenced == [held.mac]


def test_sockets_of_real_boards_are_their_own(make: Held, front: FakeFront):
    """Nothing ends them when the board is reset, and nothing is to be silenced."""
    held, _ = make(virtual=False)
    held.up()
    held.reset()

    assert front.silenced == []


def test_power(make: Held):
    """Off and on, each once; by itself or by its supply, as plain tests have it."""
    held, board = make()
    held.up()
    held.power_off()
    held.power_on()
    held.power_on()
    assert board.did[3:] == ["off", "on"]

    held.power.cycle()
    assert board.did[5:] == ["off", "on"]
    assert (held.power.kind, held.power.trusted) == ("virtual", True)


def test_a_connection_of_an_earlier_life_does_not_count(make: Held, front: FakeFront):
    """A board that is reset ends nothing: its old connection looks open, until the gateway misses it."""
    held, board = make()
    held.up()
    board.connects = False
    with pytest.raises(BringUpFailed, match=r"expected that b1 \(24:6f:28:aa:bb:01\) had been seen by the gateway"):
        held.reset()


@pytest.mark.parametrize("state", ["lost", "closed"])
def test_nobody_waits_for_a_board_that_cannot_be_heard(make: Held, state: Any):
    """Nor for one that starts again and again."""
    held, board = make()
    board.connects = False
    board.console.state = state
    began = time.monotonic()
    with pytest.raises(NotOnline):
        held._await_online(60.0)

    board.console.state = "open"
    board.says *= 4
    board._boot()
    with pytest.raises(NotOnline):
        held._await_online(60.0)
    assert time.monotonic() - began < 5


def test_wake(make: Held, front: FakeFront, monkeypatch: pytest.MonkeyPatch):
    """A click begins a conversation; one that goes on is ended by another click before."""
    held, board = make()
    held.wake()
    assert board.did == ["clicked"]
    held.wake()
    assert board.did == ["clicked"] * 3
    assert front.online(held.mac)

    monkeypatch.setattr(module, "FALLS_ASLEEP", 0.01)
    board.lines.click_boot = lambda: None
    with pytest.raises(NotOnline, match="had lost its connection by a click of BOOT"):
        held.wake()


def test_what_it_is(make: Held):
    """Its body, what the rig can do to it, and whom it fits."""
    held, board = make()
    assert (held.id, held.mac, held.body) == ("b1", "24:6f:28:aa:bb:01", "virtual")
    assert held.capabilities == {"power", "reset"}
    assert held.fits(None, ["wifi"])
    assert held.fits("ESP32-S3", [])
    assert not held.fits("esp32c3", [])
    assert not held.fits(None, ["sd_card"])

    board.power.kind, board.can_reset = "none", False
    assert held.capabilities == frozenset()


def test_its_lease(make: Held):
    """It is released at the end, and when the console cannot be opened."""
    held, board = make()
    with held:
        held.working_on("test_one")
        holder = make.leases.holder_of("b1")
        assert holder is not None
        assert holder.test == "test_one"
    held.__exit__(None, None, None)
    assert make.leases.holder_of("b1") is None

    held, board = make()
    board.missing = True
    with pytest.raises(PortMissing), held:
        pass
    assert make.leases.holder_of("b1") is None


# --- crashes --------------------------------------------------------------------------------------------------------


def a_crash(*, allowed: bool = False) -> tuple[CrashReport, BoardCrashed | None]:
    """Make one, as a board tells it."""
    error = BoardCrashed("b1", "abort", "abort()", [])
    return CrashReport("abort", "abort()", True, 1.0), None if allowed else error


def test_crashes_are_told(make: Held):
    """To all who want to know, until they do not; the next test finds the board reset."""
    held, board = make()
    held.up()
    told: list[BoardCrashed] = []
    forget = held.on_crash(told.append)
    report, error = a_crash()
    board.how["on_crash"](report, error)
    forget()
    forget()
    board.how["on_crash"](report, error)

    assert told == [error]
    assert held.unsettled
    held.have(None)
    assert board.did[3:] == ["reset"]


def test_crashes_that_are_wanted(make: Held):
    """They are not told, nor those after which the firmware goes on; the next test finds the board reset."""
    held, board = make()
    told: list[BoardCrashed] = []
    held.on_crash(told.append)
    with held.may_crash():
        assert board.crashes_allowed
        board.how["on_crash"](*a_crash(allowed=True))
        held.unsettled = False
    assert told == []
    assert held.unsettled
    assert not board.crashes_allowed
    assert board.did == ["awaited 0.0"]


def test_a_test_that_fails_where_a_crash_is_wanted(make: Held):
    """Its own failure is what is told, at once, and crashes count again."""
    held, board = make()
    with pytest.raises(ZeroDivisionError), held.may_crash():
        _ = 1 / 0

    assert held.unsettled
    assert not board.crashes_allowed
    assert board.did == []


def test_threads_for_its_calls(make: Held):
    """They end with the board, whatever they wait for: nothing of it may go on once others have it."""
    held, board = make()
    with held:
        waiting = held.threads.submit(board.console.expect, "never", 60.0)
        held.threads.submit(int).result(10.0)
    with pytest.raises(LineMissing, match="the console was closed"):
        waiting.result(10.0)

    with pytest.raises(RuntimeError, match="closed"):
        held.threads.submit(int)
