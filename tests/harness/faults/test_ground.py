"""What all grounds have in common: whom a fault is on, and what is refused."""

from __future__ import annotations

from typing import ClassVar

import pytest

from harness.errors import Misuse
from harness.faults.errors import BadFault, Lacks
from harness.faults.ground import NEEDS, LocalGround, lasting
from harness.faults.vocabulary import (
    GATEWAY,
    KINDS,
    Cut,
    Fault,
    Heal,
    Lasting,
    Latency,
    Loss,
    PowerCut,
    SlowDisk,
)


class Paper(LocalGround):
    """A ground that writes down what it is told."""

    where = "paper"
    possible: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, *lacks: str) -> None:
        super().__init__(self.possible - set(lacks))
        self.told: list[tuple[object, ...]] = []

    async def _begin(self, fault: Lasting, devices: list[str]) -> None:
        self.told.append(("begin", fault.name, devices))

    async def _heal(self, devices: list[str]) -> None:
        self.told.append(("heal", devices))

    async def _strike(self, fault: Fault, devices: list[str]) -> None:
        self.told.append(("strike", fault.name, devices))

    def _slow_disk(self, seconds: float | None) -> None:
        self.told.append(("disk", seconds))


def paper(*lacks: str) -> Paper:
    """One with two devices."""
    ground = Paper(*lacks)
    ground.add_device("a")
    ground.add_device("b")
    return ground


async def test_whom():
    """A fault is on one device, on all, or on the gateway."""
    ground = paper()
    await ground.do(Cut(on="b"))
    await ground.do(Latency(0.1))
    await ground.do(PowerCut(on=GATEWAY))
    await ground.do(Heal())
    await ground.do(SlowDisk(0.5))
    await ground.do(Heal("slow_disk"))

    assert ground.told == [
        ("strike", "cut", ["b"]),
        ("begin", "latency", ["a", "b"]),
        ("strike", "power_cut", []),
        ("disk", None),
        ("heal", ["a", "b"]),
        ("disk", 0.5),
        ("disk", None),
        ("heal", ["a", "b"]),
    ]
    assert not ground.weather.over("a").any(Latency)


async def test_lacks():
    """What a ground cannot do is refused, with its name, the fault's, and what it would take."""
    ground = paper("loss")
    with pytest.raises(Lacks) as found:
        await ground.do(Loss(0.1))
    assert str(found.value) == "paper cannot do loss: a network whose segments can be dropped one by one"
    assert (found.value.ground, found.value.fault) == ("paper", "loss")
    assert isinstance(found.value, Misuse)
    assert not ground.can(Loss(0.1))
    assert ground.can(Latency(0.1))
    assert ground.told == []


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Cut(on="c"), "expected cut on a device of this test (a, b), got 'c'"),
        (Cut(on=GATEWAY), "expected cut on a device of this test (a, b), got 'gateway'"),
        (Heal("cut"), "expected heal of a fault that lasts (latency, "),
    ],
)
async def test_refused(fault: Fault, text: str):
    """A fault on somebody who is not there, or that makes no sense, is refused before anything is done."""
    ground = paper()
    with pytest.raises(BadFault) as found:
        await ground.do(fault)
    assert text in str(found.value)
    assert ground.told == []


def test_without_devices():
    """Where there is no device yet, that is said."""
    with pytest.raises(BadFault, match="none yet"):
        Paper().check(Cut(on="a"))


@pytest.mark.parametrize("name", ["a", "", GATEWAY])
def test_names_of_devices(name: str):
    """A device has a name of its own."""
    with pytest.raises(Misuse, match="a name of its own"):
        paper().add_device(name)


def test_needs_of_what_can_be_lacking():
    """Whatever a ground may lack says what it would take."""
    assert set(NEEDS) <= set(KINDS)
    assert "heal" not in lasting()
    assert "latency" in lasting()
