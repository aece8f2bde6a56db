"""The simulated ground, with a note of each fault for the invariants."""

from __future__ import annotations

from harness.exploration.chronicle import Chronicle
from harness.faults.simulated_ground import SimulatedGround
from harness.faults.vocabulary import (
    GATEWAY,
    ClockStep,
    Fault,
    Heal,
    KillGateway,
    PowerOn,
    SlowDisk,
    StartGateway,
    WifiOff,
    WifiOn,
    name_of,
)
from harness.invariants import facts

_NO_EXCUSE = ClockStep, SlowDisk, PowerOn, StartGateway
"""None ends a connection, nor holds up what passes on it, so they explain nothing that invariants look at: what is dead
when a machine is on again was hit when it lost its power."""


class NotedGround(SimulatedGround):
    """Notes whom a fault hits, or heals, before it does.

    Args:
        chronicle: takes the notes.
    """

    def __init__(self, chronicle: Chronicle) -> None:
        super().__init__(chronicle.loop)
        self._chronicle = chronicle
        self._ids: dict[str, str] = {}

    def name(self, host: str, device_id: str) -> None:
        """Say by which id invariants know a device."""
        self._ids[host] = device_id

    async def do(self, fault: Fault) -> None:
        """Do a fault; see `Ground.do`."""
        self.check(fault)
        if not isinstance(fault, _NO_EXCUSE):
            self._chronicle.add(self._fact(fault))
        await super().do(fault)

    def _fact(self, fault: Fault) -> facts.Fact:
        at = self.loop.time()
        of_gateway = fault.on == GATEWAY or isinstance(fault, KillGateway)
        whom = (facts.GATEWAY,) if of_gateway else tuple(self._ids[name] for name in self.whom(fault))
        if isinstance(fault, Heal):
            return facts.Healed(at=at, what=fault.what, whom=whom)
        if isinstance(fault, WifiOn):
            return facts.Healed(at=at, what=name_of(WifiOff), whom=whom)
        return facts.Hit(at=at, what=fault.name, whom=whom, lasts=fault.lasts or isinstance(fault, WifiOff))
