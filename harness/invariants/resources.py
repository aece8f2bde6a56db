"""Invariants of resources: bounded queues, nothing left behind, nobody who waits for ever."""

from __future__ import annotations

from collections.abc import Iterator

from harness.invariants.facts import Emptied, Seen
from harness.invariants.invariant import Invariant


class BoundedQueues(Invariant):
    """A peer that does not read costs so much and no more."""

    number = 11
    says = "What waits for one device, and for all, stays within its budget; connections that end leave nothing."
    when = "both"

    def seen(self, fact: Seen) -> Iterator[str]:
        """Look at what waits."""
        for channel in fact.channels:
            if channel.queued > self.budgets.queued:
                yield f"{channel.queued} bytes wait for connection {channel.number} of {channel.device}"
        if (total := sum(channel.queued for channel in fact.channels)) > self.budgets.queued_in_all:
            yield f"{total} bytes wait for all devices"

    def emptied(self, fact: Emptied) -> Iterator[str]:
        """Look at what is left when all have gone."""
        if fact.connections:
            yield f"{fact.connections} connections are left, and all devices have gone"


class NobodyWaitsForEver(Invariant):
    """Whatever waits has a deadline."""

    number = 12
    says = "When all devices are gone and the gateway was stopped, in time, no task waits and no timer is set."
    when = "at the end of the quiet phase"

    def emptied(self, fact: Emptied) -> Iterator[str]:
        """Look at what is left."""
        if fact.seconds > self.budgets.stop:
            yield f"the gateway took {fact.seconds:.1f} s to stop"
        for task in fact.tasks:
            yield f"left behind: {task}"
        for timer in fact.timers:
            yield f"left behind: {timer}"
