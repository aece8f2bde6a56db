"""Scenarios: who lives in the model, and what goes wrong there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from harness.errors import Misuse
from harness.exploration.habits import Habits
from harness.exploration.world import WIFI, World
from harness.faults.schedules import SCHEDULES
from harness.simulation.links import Link

Happening: TypeAlias = Callable[[World], Awaitable[None]]


class Scenario(msgspec.Struct, frozen=True):
    """One of them.

    Attributes:
        name: what it is called.
        says: what happens, in a sentence.
        habits: of each device.
        link: each way between a device and the gateway.
        schedule: the kind of schedule of faults (`harness.faults.schedules`); empty: none.
        happens: what happens, where it is no schedule of faults.
    """

    name: str
    says: str
    habits: tuple[Habits, ...]
    link: Link = WIFI
    schedule: str = ""
    happens: Happening | None = None


_SETTLED = (Habits(writes_lists=True), Habits(asks=True), Habits(meets=True), Habits(acks=False))
_RESTLESS = (
    Habits(restless=3.0, writes_lists=True),
    Habits(restless=5.0, asks=True),
    Habits(meets=True),
    Habits(acks=False),
    Habits(restless=5.0, acks=False),
)
_FLAPPING = tuple(
    Habits(restless=0.7, overlap=(0.0, 0.02), pause=(0.0, 0.001), messages=30, acks=number != 2) for number in range(4)
)
_GENEROUS = (Habits(letters=6000, messages=60),) * 2 + (Habits(letters=2000, messages=60, acks=False),)
_NEAR = Link(latency=0.0002, jitter=0.004)

_scenarios: dict[str, Scenario] = {}


def _scenario(habits: Sequence[Habits], link: Link = WIFI) -> Callable[[Happening], Happening]:
    def register(happens: Happening) -> Happening:
        name, says = happens.__name__, (happens.__doc__ or "").strip()
        _scenarios[name] = Scenario(name, says, tuple(habits), link, happens=happens)
        return happens

    return register


@_scenario(_SETTLED)
async def calm(world: World) -> None:  # noqa: ARG001 - nothing happens
    """Nothing goes wrong."""
    await asyncio.sleep(20.0)


@_scenario(_RESTLESS)
async def handovers(world: World) -> None:  # noqa: ARG001 - it is in the habits
    """Devices open second connections, and third ones, and nothing goes wrong."""
    await asyncio.sleep(20.0)


@_scenario(_FLAPPING, _NEAR)
async def flapping(world: World) -> None:  # noqa: ARG001 - it is in the habits
    """Devices leave a connection for another one, again and again, over links as fast as a commit."""
    await asyncio.sleep(15.0)


@_scenario((Habits(storms=100.0), Habits(storms=500.0, messages=0), *_SETTLED))
async def storms(world: World) -> None:  # noqa: ARG001 - it is in the habits
    """Two devices send as many pings as they can, and are closed for it."""
    await asyncio.sleep(15.0)


@_scenario((Habits(reads=300.0), Habits(reads=50.0, acks=False), *_GENEROUS))
async def slow_readers(world: World) -> None:  # noqa: ARG001 - it is in the habits
    """Two devices read next to nothing, and get long messages from all others."""
    await asyncio.sleep(30.0)


@_scenario(_SETTLED)
async def restarts(world: World) -> None:
    """The gateway is stopped in an orderly way, and started again, a few times."""
    for _ in range(world.chance.randint(1, 3)):
        await asyncio.sleep(world.chance.uniform(0.5, 6.0))
        await world.house.stop()
        await asyncio.sleep(world.chance.uniform(0.0, 3.0))
        await world.house.start()
    await asyncio.sleep(2.0)


_SAYS = {
    "swizzle_clog": "Devices lose their link one after the other, and get it back in another order.",
    "kill_after_write": "The gateway is killed during each kind of write, or within a millisecond after it.",
    "partition_during_handover": "Devices lose their link in the middle of a handover.",
    "crash_during_redelivery": "The gateway dies while mail that has gathered is delivered.",
    "everything_at_once": "For a minute something goes wrong about twice a second, of every kind.",
}
_HABITS = {"partition_during_handover": _RESTLESS, "everything_at_once": _RESTLESS}

for _name in SCHEDULES:
    _scenarios[_name] = Scenario(_name, _SAYS.get(_name, _name), _HABITS.get(_name, _SETTLED), schedule=_name)

SCENARIOS: dict[str, Scenario] = dict(_scenarios)
"""All, by name."""


def scenario(name: str) -> Scenario:
    """Return a scenario.

    Raises:
        Misuse: there is none of this name.
    """
    if name not in SCENARIOS:
        raise Misuse(f"expected one of the scenarios {', '.join(SCENARIOS)}, got {name!r}")
    return SCENARIOS[name]
