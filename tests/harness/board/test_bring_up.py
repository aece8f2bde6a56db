"""The way from off to online: in order, once, and with its first failure told to all who ask later."""

from __future__ import annotations

import itertools
import threading

import pytest

from harness.board.bring_up import STAGES, BringUp, Stage, StageName, StageRecord
from harness.board.errors import BringUpFailed, PortMissing
from harness.board.judging import Judgement
from harness.errors import HarnessError, Misuse, WorldError


class Way:
    """Stages that note that they were reached, and fail where they are told to."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.slow = threading.Event()
        self.slow.set()
        self.fails: dict[str, HarnessError] = {}
        self.shown: list[StageRecord] = []
        self.bring_up = BringUp(
            "bench-1",
            {name: Stage(self._reach(name), 7.0) for name in STAGES[1:]},
            judge=lambda _, error: None if isinstance(error, Misuse) else Judgement("network", f"judged: {error}"),
            tail=lambda: ["last line"],
            watch=self.shown.append,
        )

    def _reach(self, name: StageName):
        def reach(seconds: float) -> str:
            assert seconds == 7.0
            self.slow.wait(0.01)
            self.reached.append(name)
            if name in self.fails:
                raise self.fails[name]
            return f"done {name}"

        return reach


@pytest.fixture
def way() -> Way:
    """A way up."""
    return Way()


def test_in_order(way: Way):
    """All stages on the way are reached in order, each once; a stage that was passed needs nothing."""
    records = way.bring_up.to("booted")
    assert way.reached == ["flashed", "provisioned", "booted"]
    assert [(record.stage, record.outcome, record.what) for record in records] == [
        ("flashed", "reached", "done flashed"),
        ("provisioned", "reached", "done provisioned"),
        ("booted", "reached", "done booted"),
    ]
    assert all(before.ended <= after.began for before, after in itertools.pairwise(records))
    assert str(records[0]).startswith("flashed: reached after 0.0 s: done flashed")
    assert way.bring_up.to("flashed") == ()
    assert [record.stage for record in way.bring_up.to("online")] == ["online"]
    assert way.bring_up.to("off") == ()
    assert way.shown == way.bring_up.records
    assert way.bring_up.stage == "online"


def test_failure_is_told_again(way: Way):
    """The first failure is told to all who ask, and nothing is tried again; earlier stages are still to be had."""
    way.fails["provisioned"] = WorldError("no network")
    with pytest.raises(
        BringUpFailed, match=r"bench-1 could not be provisioned \(network\): judged: no network"
    ) as first:
        way.bring_up.to("online")
    assert isinstance(first.value.__cause__, WorldError)
    assert "\n    last line" in str(first.value)
    for _ in range(2):
        with pytest.raises(BringUpFailed, match="it is not tried again") as later:
            way.bring_up.to("provisioned")
        assert later.value is not first.value
        assert (later.value.verdict, later.value.lines) == ("network", ("last line",))
    assert way.bring_up.failure is first.value
    assert first.value.told_before == 2
    assert way.reached == ["flashed", "provisioned"]
    assert way.bring_up.to("flashed") == ()
    assert way.shown[-1].outcome == "failed"


def test_fresh(way: Way):
    """A fresh start begins from off, whatever failed; forgiving goes on from where the board is."""
    way.fails["booted"] = WorldError("no")
    for _ in range(2):
        with pytest.raises(BringUpFailed, match="judged: no"):
            way.bring_up.to("online", fresh=True)
    assert way.reached == ["flashed", "provisioned", "booted"] * 2
    way.fails.clear()
    way.bring_up.forgive()
    way.bring_up.to("online")
    assert way.reached[6:] == ["booted", "online"]
    way.bring_up.to("flashed", fresh=True)
    assert (way.bring_up.stage, way.reached[-1]) == ("flashed", "flashed")


def test_fell_back(way: Way):
    """A board that was reset has to boot again; falling back to a later stage is nothing."""
    way.bring_up.to("online")
    way.bring_up.fell_back("provisioned")
    way.bring_up.fell_back("booted")
    way.bring_up.to("online")
    assert way.reached[4:] == ["booted", "online"]


def test_mistakes_of_the_caller(way: Way):
    """What the caller did wrong is raised as it is, and is no failure of the board."""
    way.fails["flashed"] = Misuse("no such file")
    with pytest.raises(Misuse, match="no such file"):
        way.bring_up.to("online")
    assert (way.bring_up.failure, way.bring_up.records) == (None, [])
    del way.fails["flashed"]
    way.bring_up.to("online")
    with pytest.raises(Misuse, match="expected one of off, flashed, provisioned, booted, online, got 'nowhere'"):
        way.bring_up.to("nowhere")  # type: ignore[arg-type]


def test_one_at_a_time(way: Way):
    """Those that ask at once bring it up once."""
    way.slow.clear()
    threads = [threading.Thread(target=way.bring_up.to) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert way.reached == ["flashed", "provisioned", "booted", "online"]


def test_cause_of_the_rig(way: Way):
    """The error of a stage is the cause of what is raised, for whoever wants the facts."""
    way.fails["flashed"] = PortMissing("/dev/x", "there is no such device")
    with pytest.raises(BringUpFailed) as caught:
        way.bring_up.to()
    assert isinstance(caught.value.__cause__, PortMissing)
