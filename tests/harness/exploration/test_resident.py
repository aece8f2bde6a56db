"""A device of the model."""

from __future__ import annotations

import asyncio

import pytest

from harness.exploration.habits import Habits
from harness.exploration.world import World
from harness.faults.vocabulary import (
    GATEWAY,
    Heal,
    KillGateway,
    Partition,
    PowerCut,
    PowerOn,
    StartGateway,
    WifiOff,
    WifiOn,
)
from harness.invariants.facts import Closed, Framed, Healed, Hit, Opened, Silenced
from tests.harness.exploration.test_house import QUIET, Facts, in_world

__all__ = ["facts"]  # the fixture
from tests.harness.exploration.test_house import facts


def sent(facts: Facts, kind: str) -> list[Framed]:
    """The messages of a kind that devices have sent."""
    return [one for one in facts.of(Framed) if one.sent and one.message is not None and one.message["type"] == kind]


def test_gives_up_without_pongs(facts: Facts):
    """A half-open connection is given up after its patience, and another one is opened."""

    @in_world(QUIET)
    async def scenario(world: World) -> None:
        await world.begin()
        await asyncio.sleep(1)
        await world.ground.do(Partition(on="d0"))
        await asyncio.sleep(20)
        assert not world.residents[0].is_online
        await world.ground.do(Heal())
        await asyncio.sleep(15)
        assert world.residents[0].is_online

    scenario()
    (closed,) = facts.of(Closed)
    assert (closed.connection, closed.own, closed.code) == (1, True, 1006)
    assert 10 <= closed.at <= 17


def test_repeats_without_a_receipt(facts: Facts):
    """A message is sent with the same id until there is a receipt, over the deaths of both sides."""

    @in_world(QUIET, QUIET)
    async def scenario(world: World) -> None:
        await world.begin()
        await asyncio.sleep(1)
        one, other = world.residents
        await world.ground.do(Partition(on="d1"))
        one.write_soon(other.id)
        await asyncio.sleep(0.05)
        await world.ground.do(KillGateway())
        await world.ground.do(PowerCut(on="d0"))
        await world.ground.do(StartGateway())
        assert len(one.pending) == 1
        await world.ground.do(PowerOn())
        await asyncio.sleep(5)
        assert one.pending == {}

    scenario()
    assert [message.message["id"] for message in sent(facts, "peer") if "to" in message.message] == ["d0-1"] * 2
    assert [fact.device for fact in facts.of(Silenced)] == ["02:00:00:00:00:00"]


def test_second_connection(facts: Facts):
    """A restless device opens a second connection, and reads on the first for a while."""

    @in_world(QUIET)
    async def scenario(world: World) -> None:
        await world.begin()
        await asyncio.sleep(1)
        world.residents[0].grow_restless()
        await asyncio.sleep(4)
        assert world.residents[0].is_online

    scenario()
    assert [fact.connection for fact in facts.of(Opened)] == [1, 2]
    (closed,) = facts.of(Closed)
    assert (closed.connection, closed.code, closed.own) == (1, 4001, False)


@pytest.mark.parametrize(
    ("habits", "kind", "least"),
    [
        (Habits(messages=5, writes_every=(0.1, 0.2)), "peer", 5),
        (Habits(messages=0, writes_lists=True), "workflow", 3),
        (Habits(messages=0, asks=True), "workflow", 2),
        (Habits(messages=0, meets=True), "meeting", 5),
        (Habits(messages=0, storms=50.0), "ping", 400),
    ],
)
def test_habits(facts: Facts, habits: Habits, kind: str, least: int):
    """What it does; and that it ends when everything is to come to rest."""

    @in_world(habits, QUIET)
    async def scenario(world: World) -> None:
        await world.begin()
        await asyncio.sleep(10)
        for resident in world.residents:
            resident.settle()
        await asyncio.sleep(7)

    scenario()
    found = [message for message in sent(facts, kind) if message.device.endswith(":00")]
    assert len(found) >= least
    assert [message for message in found if message.at > 17 and kind not in {"ping", "peer"}] == []


def test_what_faults_are_noted(facts: Facts):
    """Whom a fault hits, whether it lasts, and when that is over; clocks and disks are no excuse for anything."""

    @in_world(QUIET, QUIET)
    async def scenario(world: World) -> None:
        await world.begin()
        for fault in (WifiOff(on="d1"), WifiOn(on="d1"), Partition(), Heal("partition"), PowerCut(on=GATEWAY)):
            await world.ground.do(fault)

    scenario()
    ids = ("02:00:00:00:00:00", "02:00:00:00:00:01")
    assert [(fact.what, fact.whom, fact.lasts) for fact in facts.of(Hit)] == [
        ("wifi_off", ids[1:], True),
        ("partition", ids, True),
        ("power_cut", (GATEWAY,), False),
    ]
    assert [(fact.what, fact.whom) for fact in facts.of(Healed)] == [("wifi_off", ids[1:]), ("partition", ids)]
