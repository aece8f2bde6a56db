"""The gateway's machine in the model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.observe.events import GatewayStopped, TaskFailed
from harness.exploration.chronicle import Chronicle
from harness.exploration.habits import Habits
from harness.exploration.world import World
from harness.faults.errors import Died
from harness.invariants.facts import Crashed, Fact, Kept, LifeBegan, LifeEnded, Reported, Seen, Settled
from harness.simulation.loop import SimulatedLoop, run

QUIET = Habits(messages=0)


class Facts(list[Fact]):
    """The facts of a run."""

    def of(self, kind: type[Fact]) -> list[Any]:
        """Those of one kind."""
        return [fact for fact in self if type(fact) is kind]


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """All that a chronicle is told."""
    kept, add = Facts(), Chronicle.add

    def keep(self: Chronicle, fact: Fact) -> None:
        kept.append(fact)
        add(self, fact)

    monkeypatch.setattr(Chronicle, "add", keep)
    return kept


def in_world(*habits: Habits):
    """Run a coroutine test with a world of its own."""

    def wrap(test):
        def sync(*args: Any, **kwargs: Any) -> None:
            async def main(loop: SimulatedLoop) -> None:
                await test(World(loop, habits or (QUIET, QUIET)), *args, **kwargs)

            run(main, 3)

        sync.__doc__ = test.__doc__
        sync.__name__ = test.__name__
        return sync

    return wrap


def test_lives(facts: Facts):
    """Lives are counted; a stop is orderly, a kill and a loss of power are not; each state is left to the next."""

    @in_world()
    async def scenario(world: World) -> None:
        house = world.house
        await house.start()
        await house.start()  # it runs already
        assert await house.stop() < 5
        await house.start()
        await house.kill()
        await house.kill()  # nothing to kill
        await house.start()
        await house.power_cut()
        await house.power_cut()
        assert not house.is_running
        await house.start()
        assert (house.lives, house.is_running) == (4, True)

    scenario()
    assert [fact.life for fact in facts.of(LifeBegan)] == [1, 2, 3, 4]
    assert [(fact.life, fact.orderly) for fact in facts.of(LifeEnded)] == [(1, True), (2, False), (3, False)]
    assert sum(isinstance(fact.event, GatewayStopped) for fact in facts.of(Reported)) == 1


@in_world()
async def test_killed_while_it_starts(world: World):
    """Who waits for the start is told, and it can be started again."""
    starting = asyncio.create_task(world.house.start())
    await asyncio.sleep(0.0005)
    await world.house.kill()

    with pytest.raises(Died):
        await starting
    await world.house.start()
    assert world.house.is_running


def test_does_not_start(facts: Facts):
    """A gateway that does not start is a violation, and who starts it is told why."""

    @in_world()
    async def scenario(world: World) -> None:
        (world.house.host.disk.path / "mailbox.db").write_bytes(b"SQLite format 3\0" + b"x" * 4080)
        with pytest.raises(GatewayError):
            await world.house.start()
        assert world.chronicle.violations

    scenario()
    (crashed,) = facts.of(Crashed)
    assert crashed.why.startswith("does not start: ")


def test_mailbox_and_looks(facts: Facts):
    """What the mailbox says is noted, what waits in it is known, and the gateway is looked at after each record."""

    @in_world(QUIET, QUIET)
    async def scenario(world: World) -> None:
        await world.house.start()
        one, other = world.residents
        await one.power_on()
        one.write_soon(other.id)
        await asyncio.sleep(2)
        (letter,) = world.house.letters()
        assert (letter.recipient, letter.sender, letter.kind, letter.set_aside) == (other.id, one.id, "peer", False)
        await other.power_on()
        await asyncio.sleep(2)
        assert world.house.letters() == ()
        seen = world.house.glances.now()
        assert [(view.device, view.state) for view in seen.channels] == [(one.id, "owner"), (other.id, "owner")]
        assert seen.owners == {one.id: 1, other.id: 2}
        assert (world.house.glances.counted, world.house.glances.unconfirmed) == (2, 0)

    scenario()
    (kept,) = facts.of(Kept)
    (settled,) = [fact for fact in facts.of(Settled) if fact.sender]
    assert (kept.recipient, kept.sender, kept.id) == (settled.recipient, settled.sender, settled.id)
    assert len(facts.of(Seen)) > 5


def test_task_that_fails(facts: Facts):
    """A background task of the gateway that fails is a violation."""

    @in_world()
    async def scenario(world: World) -> None:
        await world.house.start()
        world.house._note(1, TaskFailed(task="expiry", error="LookupError: x"))

    scenario()
    assert [fact.why for fact in facts.of(Crashed)] == ["task expiry: LookupError: x"]
