"""The ladder: its order, what is skipped and why, where it ends, and what is told of it."""

from __future__ import annotations

import itertools

import pytest

from harness.bench.bench_file import PowerConfig
from harness.bench.health import Health
from harness.bench.recovery import LADDER, Remedies, recover
from harness.board.power import NoSupply, PowerFailed, Supply
from harness.errors import Misuse


class Sick:
    """A board that answers after one of the remedies, or never."""

    def __init__(self, directory, cured_by=""):
        self.cured_by = cured_by
        self.done = []
        self.health = Health(directory, lambda: 1.0)

    def does(self, name):
        """Make a remedy that is noted."""
        return lambda: self.done.append(name)

    def supply(self, probed="2026-11-20"):
        """Make a supply whose cycle is noted."""
        supply = Supply("b1", PowerConfig(kind="uhubctl", probed=probed))
        supply.cycle = self.does("power")
        return supply

    def remedies(self, **others):
        """Make all remedies, but for those that are given."""
        every = {name: self.does(name) for name in ("reboot", "reset", "watchdog_reset", "reflash")}
        return Remedies(**every | {"power": self.supply()} | others)

    def answers(self):
        """Tell whether it is well."""
        return bool(self.done) and self.done[-1] == self.cured_by

    def recover(self, remedies=None, **options):
        """Climb the ladder, on a clock that goes on by a second at each look."""
        ticks = itertools.count()
        given = {"why": "no boot log", "clock": lambda: float(next(ticks))} | options
        return recover("b1", remedies or self.remedies(), given.pop("answers", self.answers), self.health, **given)


@pytest.mark.parametrize(
    ("cured_by", "step", "done"),
    [
        ("reboot", "gateway reboot", 1),
        ("reset", "EN reset", 2),
        ("watchdog_reset", "watchdog reset", 3),
        ("power", "power cycle", 4),
        ("reflash", "erase and reflash", 5),
    ],
)
def test_first_that_helps(tmp_path, cured_by, step, done):
    """Each remedy is tried in its order, and the one that helps is the last."""
    sick = Sick(tmp_path, cured_by)

    recovery = sick.recover()

    assert sick.done == ["reboot", "reset", "watchdog_reset", "power", "reflash"][:done]
    assert recovery.helped == step == recovery.attempts[-1].step
    assert [attempt.outcome for attempt in recovery.attempts] == ["did not help"] * (done - 1) + ["helped"]
    assert sick.health.of("b1").quarantine is None


def test_nothing_helps(tmp_path, caplog):
    """What nothing helps goes into quarantine, with all that was tried."""
    sick = Sick(tmp_path)

    recovery = sick.recover()

    assert recovery.helped == ""
    assert caplog.messages[-1] == "b1 is quarantined: no boot log"
    assert str(recovery).endswith("b1 was put into quarantine")
    assert sick.health.of("b1").quarantine.text == (
        "no boot log; gateway reboot did not help; EN reset did not help; watchdog reset did not help; "
        "power cycle did not help; erase and reflash did not help"
    )


def test_what_cannot_be_done(tmp_path):
    """A remedy that is not there is skipped, with the reason, and leaves no mark in the history."""
    sick = Sick(tmp_path)

    recovery = sick.recover(Remedies(power=NoSupply("b1")))

    assert [str(attempt) for attempt in recovery.attempts] == [
        "gateway reboot not possible: no gateway can tell it (0.0 s)",
        "EN reset not possible: its port has no lines (0.0 s)",
        "watchdog reset not possible: esptool cannot reach it (0.0 s)",
        "power cycle not possible: it has no supply that can be switched (0.0 s)",
        "erase and reflash not possible: nothing is known that belongs on it (0.0 s)",
    ]
    assert [event.kind for event in sick.health.of("b1").events] == ["quarantined"]


def test_supply_that_was_never_probed(tmp_path):
    """A hub that may only say that it is off is not counted on."""
    sick = Sick(tmp_path, "power")

    recovery = sick.recover(sick.remedies(power=sick.supply(probed="")))

    assert "power" not in sick.done
    assert recovery.attempts[3].why == "its supply (uhubctl) was never probed"


def test_not_connected(tmp_path):
    """A gateway that has no such device cannot tell it."""
    sick = Sick(tmp_path, "reset")

    recovery = sick.recover(sick.remedies(reboot=lambda: False))

    assert str(recovery.attempts[0]) == "gateway reboot not possible: the device is not connected (1.0 s)"
    assert recovery.helped == "EN reset"


def test_remedy_that_fails(tmp_path):
    """A remedy that cannot be applied is said to have failed, and the next is tried, without a look at the board."""
    sick = Sick(tmp_path, "reset")

    def fails():
        raise PowerFailed("b1", "switch it off", "no hub\n")

    recovery = sick.recover(sick.remedies(reboot=fails))

    assert str(recovery.attempts[0]) == "gateway reboot failed: power of b1: cannot switch it off: no hub\\n (1.0 s)"
    assert recovery.helped == "EN reset"


def test_look_that_fails(tmp_path):
    """A board at which one cannot even look is not well."""
    sick = Sick(tmp_path)

    def looks():
        raise OSError(5, "Input/output error")

    recovery = sick.recover(answers=looks)

    assert {attempt.outcome for attempt in recovery.attempts} == {"did not help"}
    assert "Input/output error" in recovery.attempts[0].why


def test_bugs_are_not_remedies(tmp_path):
    """An error that is none of the rig's is not swallowed."""
    with pytest.raises(ZeroDivisionError):
        Sick(tmp_path).recover(Remedies(reset=lambda: 1 // 0))


def test_told(tmp_path, caplog):
    """Each step is timed, logged, kept in the history and shown to who watches."""
    caplog.set_level("INFO")
    sick, seen = Sick(tmp_path, "reset"), []

    recovery = sick.recover(watch=seen.append)

    lines = ["gateway reboot did not help (1.0 s)", "EN reset helped (1.0 s)"]
    assert tuple(seen) == recovery.attempts
    assert [str(attempt) for attempt in seen] == lines
    assert caplog.messages == [f"b1: {line}" for line in lines]
    assert [(event.kind, event.text) for event in sick.health.of("b1").events] == [("recovery", line) for line in lines]
    assert str(recovery) == "; ".join([*lines, "b1 is back after: EN reset"])


def test_misuse_is_a_failure(tmp_path):
    """A remedy that this board cannot have does not end the ladder."""
    sick = Sick(tmp_path, "reflash")

    def misused():
        raise Misuse("no such thing")

    assert sick.recover(sick.remedies(watchdog_reset=misused)).helped == "erase and reflash"


def test_ladder_is_whole():
    """Every remedy has its step, and what is not there a reason."""
    reasons = [find(Remedies()) for _, find in LADDER]

    assert len(LADDER) == len(Remedies.__struct_fields__)
    assert all(isinstance(reason, str) for reason in reasons)
