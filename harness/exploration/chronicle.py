"""The facts of one run as they happen, and the invariants that look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from harness.invariants.all import INVARIANTS
from harness.invariants.budgets import DEFAULT, Budgets
from harness.invariants.facts import Fact, Reported
from harness.invariants.invariant import Invariants, Violation
from harness.simulation.loop import SimulatedLoop


class Chronicle:
    """Takes facts, in order; the first that violates an invariant ends the run.

    Args:
        loop: of the run.
        budgets: of the invariants.

    Attributes:
        loop, budgets: as given.
        violations: all that were seen.
        broken: done with the first violation.
        reported: is called when the gateway has emitted a record; set by who looks into it.
    """

    def __init__(self, loop: SimulatedLoop, budgets: Budgets = DEFAULT) -> None:
        self.loop = loop
        self.budgets = budgets
        self.broken: asyncio.Future[None] = loop.create_future()
        self.reported: Callable[[], None] | None = None
        self._invariants = Invariants(INVARIANTS, budgets)

    @property
    def violations(self) -> list[Violation]:
        """All that were seen, in order."""
        return self._invariants.violations

    def add(self, fact: Fact) -> None:
        """Take a fact. Never raises: it may come from the middle of the gateway, which must not be disturbed."""
        for violation in self._invariants.see(fact):
            self.loop.trace.note(fact.at, "violation", str(violation))
            if not self.broken.done():
                self.broken.set_result(None)
        if self.reported is not None and isinstance(fact, Reported):
            self.reported()
