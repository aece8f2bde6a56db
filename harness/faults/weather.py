"""Which lasting faults are in force, for whom and which way. Pure."""

from __future__ import annotations

from typing import TypeVar

from harness.faults.passing import Direction
from harness.faults.vocabulary import Fault, name_of

F = TypeVar("F", bound=Fault)

_Key = tuple[str, Direction]


class Sky:
    """What is in force for one device."""

    def __init__(self, faults: dict[_Key, Fault] | None = None) -> None:
        self._faults = dict(faults or {})

    def get(self, kind: type[F], direction: Direction) -> F | None:
        """Return the fault of a kind that is in force this way."""
        fault = self._faults.get((name_of(kind), direction))
        return fault if isinstance(fault, kind) else None

    def any(self, kind: type[Fault]) -> bool:
        """Whether one of a kind is in force, whichever way."""
        return any(name == name_of(kind) for name, _ in self._faults)

    def copy(self) -> Sky:
        """Return one that goes its own way from here."""
        return Sky(self._faults)

    def add(self, fault: Fault) -> None:
        """Have a fault in force, in the place of the same one before."""
        for direction in fault.ways:
            self._faults[fault.name, direction] = fault

    def remove(self, name: str) -> None:
        """Have a fault in force no more; empty: none of those that last until a heal."""
        for key, fault in list(self._faults.items()):
            if name == key[0] or (fault.lasts and not name):
                del self._faults[key]


class Weather:
    """What is in force for all devices, those that nobody has named yet included.

    What was said last counts: a fault on all devices takes the place of the same one on each of them.
    """

    def __init__(self) -> None:
        self._everywhere = Sky()
        self._over: dict[str, Sky] = {}

    def over(self, device: str) -> Sky:
        """Return what is in force for a device."""
        return self._over.get(device, self._everywhere)

    def add(self, fault: Fault) -> None:
        """Have a fault in force for whom it is on."""
        for sky in self._skies(fault.on):
            sky.add(fault)

    def end(self, name: str, on: str) -> None:
        """End a fault for whom it was on; an empty name: all that last until a heal."""
        for sky in self._skies(on):
            sky.remove(name)

    def forget(self, device: str) -> None:
        """Have in force for a device what is in force for all."""
        self._over.pop(device, None)

    def _skies(self, on: str) -> list[Sky]:
        if not on:
            return [self._everywhere, *self._over.values()]
        if on not in self._over:
            self._over[on] = self._everywhere.copy()
        return [self._over[on]]
