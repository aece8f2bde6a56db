"""What the kinds of schedules are drawn with: chance from a seed, devices, and the faults that are possible."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.errors import Misuse
from harness.faults.schedule import Schedule, Step
from harness.faults.vocabulary import Fault, name_of


class Draw:
    """What a kind of schedule is drawn with.

    Args:
        seed: of the chance.
        devices: names; at least one.
        possible: names of the faults that may be in it; None: all.

    Attributes:
        chance: to draw from.
        devices: as given.
        steps: those drawn so far.
    """

    def __init__(self, seed: int, devices: Sequence[str], possible: frozenset[str] | None = None) -> None:
        if not devices:
            raise Misuse("expected at least one device to draw faults for")
        self.chance = random.Random(f"schedule:{seed}")  # noqa: S311 - it is to be foreseen
        self.devices = list(devices)
        self.steps: list[Step] = []
        self._possible = possible

    def can(self, *kinds: type[Fault]) -> bool:
        """Whether all of these faults may be in it."""
        return self._possible is None or self._possible.issuperset(name_of(kind) for kind in kinds)

    def add(self, at: float, fault: Fault, after: str = "", nth: int = 1, since: float = 0.0) -> None:
        """Add a step, if its fault is possible."""
        if self.can(type(fault)):
            self.steps.append(Step(round(at, 6), fault, after, nth, round(since, 6)))  # type: ignore[arg-type]

    def some(self, most: float = 1.0) -> list[str]:
        """Draw some of the devices, one at least, in a drawn order."""
        count = self.chance.randint(1, max(1, round(len(self.devices) * most)))
        return self.chance.sample(self.devices, count)

    def schedule(self, name: str, seed: int, seconds: float) -> Schedule:
        """Return what was drawn, in order."""
        return Schedule(name, seed, tuple(sorted(self.steps, key=lambda step: (step.after, step.at))), seconds)
