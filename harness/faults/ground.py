"""Where faults happen: what all grounds have in common."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Protocol

from harness.errors import Misuse
from harness.faults.errors import BadFault, Died, Lacks
from harness.faults.vocabulary import GATEWAY, KINDS, Fault, Heal, Lasting, SlowDisk
from harness.faults.weather import Weather


class Body(Protocol):
    """A device, as far as its power is concerned; every `harness.device.Device` that has the capability ``power``."""

    async def power_off(self) -> None:
        """Take its power."""

    async def power_on(self) -> None:
        """Give it power again."""


class Machine(Protocol):
    """A gateway that can die."""

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        ...

    async def kill(self) -> None:
        """End its process as SIGKILL does."""

    async def start(self) -> None:
        """Start it on its ports, with the state that the last one left.

        Raises:
            Died: it was killed while it started.
        """


NEEDS: dict[str, str] = {
    "loss": "a network whose segments can be dropped one by one",
    "clock_step": "a machine whose clock is simulated",
    "slow_disk": "a gateway whose threads are simulated",
    "kill_gateway": "a gateway that runs as a process of its own",
    "start_gateway": "a gateway that runs as a process of its own",
    "wifi_off": "an access point, or devices whose connecting it can refuse",
    "wifi_on": "an access point, or devices whose connecting it can refuse",
}
"""What a ground without such a fault would need; said to whom asks for it."""


class Ground(ABC):
    """Does faults; all calls come from one loop.

    Devices are known by name. A fault on a device that a ground does not know is a mistake.

    Attributes:
        where: which ground it is, in words.
        possible: the names of the faults that a ground of this kind can do, where nothing is in the way.
        capabilities: the names of the faults it can do; any other raises `Lacks`.
    """

    where: str
    possible: ClassVar[frozenset[str]]

    def __init__(self, capabilities: Iterable[str]) -> None:
        self.capabilities = frozenset(capabilities)
        self._devices: dict[str, Body | None] = {}

    @property
    def devices(self) -> list[str]:
        """The names of the devices it knows, in the order in which they came."""
        return list(self._devices)

    def add_device(self, name: str, body: Body | None = None) -> None:
        """Get to know a device; what is in force for all is in force for it.

        Args:
            name: what faults call it.
            body: loses its power and gets it back; None: nobody has to be told.

        Raises:
            Misuse: there is one of this name, or it is the gateway's.
        """
        if name in self._devices or name in ("", GATEWAY):
            raise Misuse(f"expected a device with a name of its own, got {name!r}")
        self._devices[name] = body

    def check(self, fault: Fault) -> None:
        """Raise what `do` would raise before it does anything."""
        if fault.name not in self.capabilities:
            raise Lacks(self.where, fault.name, NEEDS.get(fault.name, "what it does not have"))
        if isinstance(fault, Heal) and fault.what not in {"", *lasting()}:
            raise BadFault(f"expected heal of a fault that lasts ({', '.join(lasting())}), got {fault.what!r}")
        on_gateway = fault.on == GATEWAY and fault.of_machines
        if fault.on and not on_gateway and fault.on not in self.devices:
            known = ", ".join(self.devices) or "none yet"
            raise BadFault(f"expected {fault.name} on a device of this test ({known}), got {fault.on!r}")

    def can(self, fault: Fault) -> bool:
        """Whether this ground can do a fault."""
        try:
            self.check(fault)
        except Lacks:
            return False
        return True

    @abstractmethod
    async def do(self, fault: Fault) -> None:
        """Do a fault; returns when it is done, or, where it takes its time, has begun.

        Raises:
            Lacks: this ground cannot do it.
            BadFault: it is on somebody who is not there.
        """


class LocalGround(Ground):
    """A ground that is in the running loop itself.

    Attributes:
        weather: which lasting faults are in force.
    """

    def __init__(self, capabilities: Iterable[str]) -> None:
        super().__init__(capabilities)
        self.weather = Weather()
        self._starting = asyncio.Lock()

    def remove_device(self, name: str) -> None:
        """Forget a device, and what is in force for it; what has been done to its connections stays."""
        self._devices.pop(name, None)
        self.weather.forget(name)

    async def do(self, fault: Fault) -> None:
        """Do a fault; see `Ground.do`."""
        self.check(fault)
        if isinstance(fault, SlowDisk):
            self._slow_disk(fault.seconds)
        elif isinstance(fault, Lasting):
            self.weather.add(fault)
            await self._begin(fault, self.whom(fault))
        elif isinstance(fault, Heal):
            self.weather.end(fault.what, fault.on)
            if "slow_disk" in self.capabilities and fault.what in ("", "slow_disk"):
                self._slow_disk(None)
            await self._heal(self.whom(fault))
        else:
            await self._strike(fault, self.whom(fault))

    def whom(self, fault: Fault) -> list[str]:
        """Return the names of the devices that a fault is on, of those that are known; none for the gateway."""
        if fault.on == GATEWAY:
            return []
        return [fault.on] if fault.on else self.devices

    @abstractmethod
    async def _begin(self, fault: Lasting, devices: list[str]) -> None:
        """Have a lasting fault in force for these devices."""

    @abstractmethod
    async def _heal(self, devices: list[str]) -> None:
        """Have no more in force for these devices than the weather says."""

    @abstractmethod
    async def _strike(self, fault: Fault, devices: list[str]) -> None:
        """Do something that happens once."""

    async def _start(self, gateway: Machine) -> None:
        """Start a gateway, unless it runs, or somebody is just starting it; one that dies on the way is no failure."""
        async with self._starting:
            if not gateway.is_running:
                with contextlib.suppress(Died):  # another fault was quicker
                    await gateway.start()

    def _slow_disk(self, seconds: float | None) -> None:
        """Have work in the gateway's threads take so long; None: as long as it always does."""
        raise NotImplementedError(f"{self.where} said that it can do slow_disk ({seconds})")


def lasting() -> list[str]:
    """Return the names of the faults that last."""
    return [name for name, kind in KINDS.items() if kind.lasts]
