"""The verbs that a test does faults with."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import msgspec
import pytest

from harness.blocking import LoopThread
from harness.errors import Misuse
from harness.faults.errors import BadFault, Lacks
from harness.faults.faults import BlockingFaults, Faults, Verbs
from harness.faults.schedule import Schedule, Step
from harness.faults.schedules import draw_schedule
from harness.faults.vocabulary import GATEWAY, KINDS, Cut, Latency, Partition, PowerCut
from tests.harness.faults.test_ground import paper
from tests.harness.simulation.stage import sim, simulated


class Device:
    """Somebody with a name."""

    name = "b"


def with_notes(*lacks: str) -> tuple[Faults, Any, list[str]]:
    """The verbs on a ground that writes down what it is told, and the notes."""
    ground, notes = paper(*lacks), []
    return Faults(ground, notes.append), ground, notes


@pytest.mark.parametrize("name", KINDS)
def test_there_is_a_verb_for_each(name: str):
    """Each fault has a verb of its name, with its values, in order, and their defaults."""
    verb = inspect.signature(getattr(Verbs, name)).parameters
    fields = {field.name: field for field in msgspec.structs.fields(KINDS[name]) if field.name != "on"}
    names = [parameter for parameter in verb if parameter not in ("self", "on")]
    assert names == list(fields)
    for given, field in zip(names, fields.values(), strict=True):
        assert verb[given].default == (inspect.Parameter.empty if field.required else field.default)


async def test_whom():
    """A device can be given itself, by its name, or not at all."""
    faults, ground, notes = with_notes()
    await faults.partition(Device(), direction="to_device")
    await faults.latency(0.1, jitter=0.2, on="a")
    await faults.power_cut(GATEWAY)
    await faults.heal()

    assert notes == [
        "partition direction=to_device on b",
        "latency seconds=0.1 jitter=0.2 on a",
        "power_cut on gateway",
        "heal on all devices",
    ]
    assert [told[:2] for told in ground.told if told[0] != "disk"] == [
        ("begin", "partition"),
        ("begin", "latency"),
        ("strike", "power_cut"),
        ("heal", ["a", "b"]),
    ]
    assert faults.capabilities == ground.capabilities


async def test_refused_is_not_noted():
    """What is not done does not stand on the timeline."""
    faults, _, notes = with_notes("loss")
    with pytest.raises(Lacks):
        await faults.loss(0.1)
    with pytest.raises(BadFault):
        await faults.cut("nobody")
    assert notes == []


def test_blocking():
    """A plain test's calls return when the fault is done."""
    with LoopThread() as thread:
        faults, ground, notes = with_notes("loss")
        blocking = BlockingFaults(faults, thread)
        blocking.do(Latency(0.1))
        blocking.power_cut(Device())
        assert ground.told == [("begin", "latency", ["a", "b"]), ("strike", "power_cut", ["b"])]
        assert len(notes) == 2
        assert blocking.capabilities == ground.capabilities
        with pytest.raises(Lacks):
            blocking.loss(0.1)


@pytest.mark.parametrize("name", KINDS)
async def test_each_verb_makes_its_fault(name: str):
    """A verb does the fault of its name, with what it was given."""
    faults, _, _ = with_notes()
    done: list[Any] = []

    class Notes(Faults):
        async def do(self, fault: Any) -> None:
            done.append(fault)

    parameters = inspect.signature(getattr(Verbs, name)).parameters
    required = [one for one in parameters.values() if one.name != "self" and one.default is inspect.Parameter.empty]
    values = [0.5 if one.name == "chance" else 3 for one in required]
    on = {"on": "a"} if "on" in parameters else {}
    await getattr(Notes(faults.ground, print), name)(*values, **on)

    assert type(done[0]) is KINDS[name]
    assert done[0].on == ("a" if on else "")
    assert [getattr(done[0], field.name) for field in msgspec.structs.fields(KINDS[name]) if field.required] == values
    assert isinstance(done[0], KINDS[name])
    assert not isinstance(done[0], Partition) or done[0].direction == "both"
    assert not isinstance(done[0], PowerCut) or done[0].of_machines


@simulated
async def test_play():
    """A schedule is drawn for the devices there are, and played; its moments are those that are told."""
    faults, ground, notes = with_notes("loss")
    schedule = faults.draw("everything_at_once", 4)
    assert schedule == draw_schedule("everything_at_once", 4, ["a", "b"], ground.capabilities)
    steps = (Step(1.0, Cut(on="a")), Step(0.5, Cut(on="b"), "event:X"))
    task = sim().create_task(faults.play(Schedule("mine", 1, steps, 5.0)))
    faults.moment(["event:X"])  # it has not begun
    await asyncio.sleep(2.0)
    with pytest.raises(Misuse, match="one schedule at a time; mine is being played"):
        await faults.play(schedule)
    faults.moment(["event:X"])
    player = await task

    assert [(at, str(fault)) for at, fault in player.done[:2]] == [(1.0, "cut on a"), (2.5, "cut on b")]
    assert notes[:3] == ["mine, seed 1: 5 s of faults, then 30 s without", "cut on a", "cut on b"]
    faults.moment(["event:X"])  # it is over
    await faults.play(Schedule("again", 1, (), 1.0))


def test_play_in_a_plain_test():
    """It returns when everything has been made good."""
    with LoopThread() as thread:
        faults, ground, _ = with_notes()
        blocking = BlockingFaults(faults, thread)
        assert blocking.draw("swizzle_clog", 1).name == "swizzle_clog"
        player = blocking.play(Schedule("mine", 1, (Step(0.01, Cut()),), 0.02))
        assert player.done[0][1] == Cut()
        assert ("heal", ["a", "b"]) in ground.told
