"""Schedules: drawn from a seed, written, read again, and what each kind of them has in it."""

from __future__ import annotations

from collections import Counter

import pytest

import gateway.observe.events
from harness.errors import Misuse
from harness.faults.drawing import Draw
from harness.faults.schedule import CALM, QUIET, Schedule, Step
from harness.faults.schedules import COMMIT, SCHEDULES, WRITES, draw_schedule
from harness.faults.tcp_ground import TcpGround
from harness.faults.vocabulary import GATEWAY, KINDS, Cut, Heal, KillGateway, Latency, Loss, Partition
from harness.simulation.loop import EXECUTOR_TIME

DEVICES = ("a", "b", "c", "d")
SEEDS = range(1, 21)


def drawn(name: str) -> list[Schedule]:
    """Some of a kind."""
    return [draw_schedule(name, seed, DEVICES) for seed in SEEDS]


@pytest.mark.parametrize("name", SCHEDULES)
def test_same_seed(name: str):
    """The same seed gives the same schedule, another one another."""
    assert drawn(name) == drawn(name)
    assert len({schedule.steps for schedule in drawn(name)}) == len(SEEDS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_json(name: str):
    """What is written can be read again."""
    for schedule in drawn(name):
        assert Schedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize("text", ["", "[]", '{"name":"x"}', '{"name":"x","seed":1,"steps":[{"at":1}],"seconds":1}'])
def test_reading_something_else(text: str):
    """What is no schedule is refused, with what is wrong with it."""
    with pytest.raises(Misuse, match="expected a schedule as JSON"):
        Schedule.from_json(text)


@pytest.mark.parametrize("name", SCHEDULES)
def test_steps(name: str):
    """Steps are in order and within the time, on devices that are there; what begins a fault for a while ends it."""
    for schedule in drawn(name):
        timed = [step.at for step in schedule.steps if not step.after]
        assert timed == sorted(timed)
        assert all(0 <= at <= schedule.seconds + 15 for at in timed)
        assert {step.fault.on for step in schedule.steps} <= {*DEVICES, "", GATEWAY}
        assert schedule.quiet == QUIET
        assert 20 <= schedule.seconds <= 90


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_device(name: str):
    """One device is enough."""
    assert draw_schedule(name, 1, ["a"]).steps


@pytest.mark.parametrize("name", SCHEDULES)
def test_what_the_ground_cannot_do(name: str):
    """Faults that are not possible are left out."""
    possible = TcpGround.possible - {"kill_gateway", "start_gateway"}
    for seed in SEEDS:
        steps = draw_schedule(name, seed, DEVICES, possible).steps
        assert {step.fault.name for step in steps} <= possible
        assert not any(step.fault.on == GATEWAY for step in steps)


def test_unknown():
    """A kind that is not there, and nobody to do it to, are refused."""
    with pytest.raises(Misuse, match="expected one of the schedules swizzle_clog, "):
        draw_schedule("chaos", 1, DEVICES)
    with pytest.raises(Misuse, match="at least one device"):
        draw_schedule("swizzle_clog", 1, [])
    with pytest.raises(Misuse, match="at least one fault"):
        draw_schedule("everything_at_once", 1, DEVICES, frozenset())


def test_in_words():
    """A schedule can be read."""
    steps = (
        Step(1.5, Cut(on="a")),
        Step(0.0005, KillGateway(), "mailbox:store", 3),
        Step(0.0, Cut(), "event:X", since=2.5),
    )
    assert str(Schedule("mine", 7, steps, 20.0)).splitlines() == [
        "mine, seed 7: 20 s of faults, then 30 s without",
        "   1.5000 s  cut on a",
        "  +0.0005 s  kill_gateway  (after mailbox:store, number 3)",
        "  +0.0000 s  cut on all devices  (after event:X, number 1 since 2.5000 s)",
    ]


def test_calm():
    """What makes everything good is no fault that does harm."""
    assert [fault.name for fault in CALM] == ["heal", "wifi_on", "power_on", "power_on", "start_gateway"]


def test_draw():
    """Some devices are drawn, one at least; a fault that is not possible is not added."""
    draw = Draw(1, DEVICES, frozenset({"cut"}))
    assert {len(draw.some()) for _ in range(100)} == {1, 2, 3, 4}
    assert {len(draw.some(0.5)) for _ in range(100)} == {1, 2}
    draw.add(1.0, Loss(0.1))
    draw.add(2.0, Cut())
    draw.add(1.0, Cut(), "event:X")
    draw.add(0.5, Cut())
    assert draw.schedule("x", 1, 10.0).steps == (
        Step(0.5, Cut()),
        Step(2.0, Cut()),
        Step(1.0, Cut(), "event:X"),
    )


# --- kinds --------------------------------------------------------------------------------------------------------


def test_swizzle_clog():
    """Each that loses its link gets it back, in an order that is not always the same."""
    orders = set()
    for schedule in drawn("swizzle_clog"):
        down: list[str] = []
        for step in schedule.steps:
            if isinstance(step.fault, Partition):
                down.append(step.fault.on)
            else:
                assert step.fault == Heal(on=step.fault.on)
                orders.add(down.index(step.fault.on))
                down.remove(step.fault.on)
        assert down == []
    assert orders == {0, 1, 2, 3}


def test_kill_after_write():
    """There is a kill for each kind of write: within a millisecond, or during a commit and a millisecond after it."""
    for schedule in drawn("kill_after_write"):
        kills = [step for step in schedule.steps if isinstance(step.fault, KillGateway)]
        assert sorted(step.after for step in kills) == sorted(WRITES)
        assert all(step.at <= (COMMIT + 0.001 if step.after.startswith("mailbox:") else 0.001) for step in kills)
        starts = [step.nth for step in schedule.steps if step.after == "fault:kill_gateway"]
        assert sorted(starts) == list(range(1, len(WRITES) + 1))


def test_kinds_of_writes():
    """Their names are those of records and calls that there are; a commit takes as long as in the simulation."""
    for write in WRITES:
        kind, _, name = write.partition(":")
        assert kind == "mailbox" or hasattr(gateway.observe.events, name)
    assert EXECUTOR_TIME[1] == COMMIT


def test_partition_during_handover():
    """Every device may lose its link within a handover, and gets it back."""
    for schedule in drawn("partition_during_handover"):
        cuts = [step for step in schedule.steps if isinstance(step.fault, Partition)]
        heals = [step for step in schedule.steps if isinstance(step.fault, Heal)]
        assert {step.after for step in cuts} == {f"event:HandoverBegan {device}" for device in DEVICES}
        assert all(step.at <= 2.0 for step in cuts)
        for cut, heal in zip(cuts, sorted(heals, key=lambda step: (step.after, step.nth)), strict=False):
            assert cut.after in {heal.after for heal in heals}
            assert heal.after


def test_crash_during_redelivery():
    """The gateway dies while mail is delivered to devices that come back, three times at most."""
    moments = Counter[str]()
    for schedule in drawn("crash_during_redelivery"):
        kills = [step for step in schedule.steps if isinstance(step.fault, KillGateway)]
        assert len(kills) == 3
        assert all(step.at <= 0.02 for step in kills)
        moments.update(step.after for step in kills)
    assert {moment.partition(" ")[0] for moment in moments} == {
        "event:DeviceOnline",
        "event:PeerDelivered",
        "event:PeerRedelivered",
    }


def test_everything_at_once():
    """Over some seeds every fault is in it; it takes a minute, with about two a second."""
    schedules = drawn("everything_at_once")
    names = {step.fault.name for schedule in schedules for step in schedule.steps}
    assert names == set(KINDS)
    begins = [sum(not isinstance(step.fault, Heal) for step in schedule.steps) for schedule in schedules]
    assert all(80 < count < 260 for count in begins)
    assert {schedule.seconds for schedule in schedules} == {60.0}
    latencies = [step.fault for schedule in schedules for step in schedule.steps if isinstance(step.fault, Latency)]
    assert {fault.direction for fault in latencies} == {"both", "to_gateway", "to_device"}
