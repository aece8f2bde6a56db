"""Invariants 7 and 17 on records made by hand."""

from __future__ import annotations

from harness.invariants.answers import CalmNeighbours, OnePong
from harness.invariants.facts import Closed, Hit, Silenced
from tests.harness.invariants.records import ANN, Record


def pinged(*ids: int) -> Record:
    """A device has sent pings."""
    record = Record().begin().connect(ANN, 1)
    for id_ in ids:
        record.sends(ANN, 1, {"type": "ping", "id": id_})
    return record


class TestOnePong:
    """7."""

    def test_pairs(self):
        """Each has one; those without an id are not looked at."""
        record = pinged(1, 2).gets(ANN, 1, {"type": "pong", "id": 1}).gets(ANN, 1, {"type": "pong", "id": 2})
        assert record.gets(ANN, 1, {"type": "pong"}).quiet(at=100.0).wrong(OnePong) == []

    def test_too_many(self):
        """Twice, or for nothing."""
        record = pinged(1).gets(ANN, 1, {"type": "pong", "id": 1}).gets(ANN, 1, {"type": "pong", "id": 1})
        assert record.wrong(OnePong) == ["aa got a pong 1 on connection 1 that answers no ping, or one again"]

    def test_none(self):
        """In time for the first, not for the second."""
        record = pinged(1).sends(ANN, 1, {"type": "ping", "id": 2}, at=99.0).quiet(at=100.0)
        assert record.wrong(OnePong) == ["ping 1 on connection 1 has had no pong for 99.500 s"]

    def test_late(self):
        """So late that it is of no use to who has asked."""
        record = pinged(1).gets(ANN, 1, {"type": "pong", "id": 1}, at=20.0)
        assert record.wrong(OnePong) == ["aa got the pong 1 on connection 1 after 19.500 s"]

    def test_connection_that_is_gone(self):
        """Nothing is owed there, whether its device has seen the end or was without power."""
        closed = pinged(1).add(Closed, device=ANN, connection=1, code=1006, own=True)
        assert closed.quiet(at=100.0).wrong(OnePong) == []
        assert pinged(1).add(Silenced, device=ANN).quiet(at=100.0).wrong(OnePong) == []


class TestCalmNeighbours:
    """17."""

    def answered(self, record: Record, seconds: float) -> list[str]:
        """A ping has had its pong so late."""
        sent = record.facts[-1].at
        return record.gets(ANN, 1, {"type": "pong", "id": 1}, at=sent + seconds).quiet().wrong(CalmNeighbours)

    def test_quick(self):
        """Within the budget."""
        assert self.answered(pinged(1), 0.2) == []

    def test_slow(self):
        """Past it, although nothing had happened to the device."""
        assert self.answered(pinged(1), 0.5) == [
            "of 1 pings that nothing happened to, the 99th percentile took 0.500 s"
        ]

    def test_slow_for_a_reason(self):
        """A device that something happens to is not calm."""
        record = Record().begin().connect(ANN, 1).add(Hit, what="latency", whom=(ANN,), lasts=True)
        assert self.answered(record.sends(ANN, 1, {"type": "ping", "id": 1}), 0.5) == []
