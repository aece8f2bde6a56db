"""The model as a machine for Hypothesis: it picks the steps, a few seeds pick the timing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from harness.exploration.habits import Habits
from harness.exploration.world import World
from harness.faults.vocabulary import Fault, HalfOpen, Heal, KillGateway, Partition, PowerCut, PowerOn, StartGateway
from harness.faulty.twins import twin
from harness.simulation.loop import SimulatedLoop, loop_factory

NUMBERS = st.sampled_from([0, 1, 2])
"""Of devices: two that acknowledge, one that does not. More find nothing more, and shrink worse."""
MOMENTS = st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.5, 2.0, 12.0])
"""Seconds: as long as a turn, a commit, a way, a way there and back; and past the patience of a device."""
QUIET = Habits(messages=0)
_A_WHILE = 3.0
"""For a handover, or a receipt, that is under way."""


class Machine(RuleBasedStateMachine):
    """Devices that talk, links and power that fail, a gateway that dies, in any order.

    Attributes:
        faulty: name of a defect that is planted; empty: none.
        recovers: at the end everything is made good, and comes to rest, which takes longer than the rest.
    """

    faulty = ""
    recovers = True
    is_broken = False

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed: int) -> None:
        """A gateway and three devices."""
        self.planted = contextlib.ExitStack()
        if self.faulty:
            self.planted.enter_context(twin(self.faulty).planted())
        self.runner = asyncio.Runner(loop_factory=loop_factory(seed))
        self.world = self.run(self._begin())

    async def _begin(self) -> World:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        world = World(loop, (QUIET, QUIET, Habits(messages=0, acks=False)))
        await world.begin()
        await asyncio.sleep(0.2)
        return world

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let something happen in virtual time, and look at what came of it."""
        result = self.runner.run(work)
        if hasattr(self, "world") and self.world.chronicle.violations:
            violation, self.is_broken = self.world.chronicle.violations[0], True
            raise AssertionError(str(violation))
        return result

    # --- steps --------------------------------------------------------------------------------------------------

    @rule(sender=NUMBERS, to=NUMBERS)
    def writes(self, sender: int, to: int) -> None:
        """A device sends a message to another one; where it has no connection, once it has one."""
        one, other = self.world.residents[sender], self.world.residents[to]
        if one is not other:
            self.run(self._write(one, other))

    async def _write(self, one: Any, other: Any) -> None:
        one.write_soon(other.id)
        await asyncio.sleep(0.0)

    @rule(seconds=MOMENTS)
    def waits(self, seconds: float) -> None:
        """Time goes by."""
        self.run(asyncio.sleep(seconds))

    @rule(number=NUMBERS)
    def connects_again(self, number: int) -> None:
        """A device opens another connection beside the one it has."""
        self.run(self._again(number))

    async def _again(self, number: int) -> None:
        self.world.residents[number].grow_restless()
        await asyncio.sleep(0.1)

    @rule(number=NUMBERS)
    def loses_its_link(self, number: int) -> None:
        """Nothing gets through."""
        self._do(Partition(on=f"d{number}"))

    @rule(number=NUMBERS)
    def has_its_link_back(self, number: int) -> None:
        """Everything does."""
        self._do(Heal(on=f"d{number}"))

    @rule(number=NUMBERS)
    def is_forgotten(self, number: int) -> None:
        """Its connections are half-open."""
        self._do(HalfOpen(on=f"d{number}"))

    @rule(number=NUMBERS)
    def loses_its_power(self, number: int) -> None:
        """It is gone, and the gateway does not know."""
        self._do(PowerCut(on=f"d{number}"))

    @rule(number=NUMBERS)
    def has_its_power_back(self, number: int) -> None:
        """It boots, and comes online."""
        self._do(PowerOn(on=f"d{number}"))

    @precondition(lambda self: self.world.house.is_running)
    @rule()
    def gateway_dies(self) -> None:
        """As by SIGKILL; it starts again at once, and takes as long as it takes."""
        self._do(KillGateway())
        self._do(StartGateway())

    def _do(self, fault: Fault) -> None:
        self.run(self.world.ground.do(fault))

    # --- the end ------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Everything is made good, and comes to rest."""
        if not hasattr(self, "world"):
            return
        try:
            if not self.is_broken:
                self.run(self._recover() if self.recovers else asyncio.sleep(_A_WHILE))
        finally:
            self.runner.close()
            self.planted.close()

    async def _recover(self) -> None:
        await self.world.ground.do(Heal())
        await self.world.ground.do(PowerOn())
        await self.world.recover()
        await self.world.empty()
