"""Invariants of answers: each ping has its pong, in time, whatever others do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.invariants.facts import Closed, Framed, Healed, Hit, Quiet, Silenced
from harness.invariants.fault_log import FaultLog
from harness.invariants.invariant import Invariant

_SHARE = 0.99


class OnePong(Invariant):
    """Pings and pongs are in pairs."""

    number = 7
    says = "A ping has one pong with its id, in time, or its connection ends."
    when = "both"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._waiting: dict[tuple[int, Any], float] = {}
        self._connections: dict[str, set[int]] = {}

    def framed(self, fact: Framed) -> Iterator[str]:
        """Pair them."""
        kind, key = _heartbeat_in(fact)
        if kind == "ping":
            self._waiting[key] = fact.at
            self._connections.setdefault(fact.device, set()).add(fact.connection)
        elif kind == "pong":
            since = self._waiting.pop(key, None)
            if since is None:
                yield f"{fact.device} got a pong {key[1]!r} on connection {key[0]} that answers no ping, or one again"
            elif fact.at - since > self.budgets.any_pong:
                yield f"{fact.device} got the pong {key[1]!r} on connection {key[0]} after {fact.at - since:.3f} s"

    def closed(self, fact: Closed) -> None:
        """Nothing is owed on a connection that has ended."""
        self._forget(fact.connection)

    def silenced(self, fact: Silenced) -> None:
        """Nor to a device that is off."""
        for connection in self._connections.pop(fact.device, ()):
            self._forget(connection)

    def quiet(self, fact: Quiet) -> Iterator[str]:
        """Look for pings without."""
        for (connection, id_), since in self._waiting.items():
            if fact.at - since > self.budgets.any_pong:
                yield f"ping {id_!r} on connection {connection} has had no pong for {fact.at - since:.3f} s"

    def _forget(self, connection: int) -> None:
        for key in [key for key in self._waiting if key[0] == connection]:
            del self._waiting[key]


class CalmNeighbours(Invariant):
    """What one device does, or suffers, is no other's business.

    In virtual time code takes none, so this sees waiting in queues and behind locks, not load; that is measured in real
    time (`tests/test_neighbours.py`).
    """

    number = 17
    says = "Of the pings of devices that nothing happens to, 99 in 100 are answered within the budget."
    when = "at the end of the quiet phase"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._faults = FaultLog()
        self._sent: dict[tuple[int, Any], float] = {}
        self._seconds: list[float] = []

    def hit(self, fact: Hit) -> None:
        """Note a fault."""
        self._faults.hit(fact)

    def healed(self, fact: Healed) -> None:
        """Note its end."""
        self._faults.healed(fact)

    def framed(self, fact: Framed) -> None:
        """Measure."""
        kind, key = _heartbeat_in(fact)
        if kind == "ping":
            self._sent[key] = fact.at
        elif kind == "pong":
            sent = self._sent.pop(key, None)
            # a fault shows a little longer than it lasts: segments are sent anew with doubling pauses
            if sent is not None and not self._faults.touched(fact.device, sent - self.budgets.recovery):
                self._seconds.append(fact.at - sent)

    def quiet(self, fact: Quiet) -> Iterator[str]:  # noqa: ARG002 - it has been measured already
        """Take the 99th percentile."""
        seconds = sorted(self._seconds)
        if seconds and (slow := seconds[int(_SHARE * (len(seconds) - 1))]) > self.budgets.pong:
            yield f"of {len(seconds)} pings that nothing happened to, the 99th percentile took {slow:.3f} s"


def _heartbeat_in(fact: Framed) -> tuple[str, tuple[int, Any]]:
    """Return ``ping`` or ``pong`` with its connection and id; an empty word where it is neither, or without an id."""
    message = fact.message or {}
    kind = message.get("type")
    if "id" in message and kind == ("ping" if fact.sent else "pong"):
        return str(kind), (fact.connection, message["id"])
    return "", (0, None)
