"""Which connections a fault may have touched."""

from __future__ import annotations

import math

from harness.invariants.facts import GATEWAY, Healed, Hit


class FaultLog:
    """Who was hit last, and who still suffers."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._suffering: dict[str, set[str]] = {}

    def hit(self, fact: Hit) -> None:
        """Note a fault."""
        for one in fact.whom:
            self._last[one] = fact.at
            if fact.lasts:
                self._suffering.setdefault(one, set()).add(fact.what)

    def healed(self, fact: Healed) -> None:
        """Note the end of what lasts; its consequences last a moment longer, so that it counts as a fault itself.

        Where it was not in force nothing has happened.
        """
        for one in fact.whom:
            suffering = self._suffering.get(one, set())
            over = suffering & {fact.what} if fact.what else set(suffering)
            if over:
                self._last[one] = fact.at
                suffering -= over

    def touched(self, device: str, since: float) -> bool:
        """Whether something has happened to a device, or to the gateway, since a moment."""
        return any(self._suffering.get(one) or self._last.get(one, -math.inf) >= since for one in (device, GATEWAY))
