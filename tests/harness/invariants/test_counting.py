"""Invariants 8 and 15 on records made by hand."""

from __future__ import annotations

import pytest

from gateway.observe.events import ConnectionClosed, ConnectionOpened, PeerEnqueued, PeerLost, PeerRedelivered
from harness.invariants.counting import CountersMatch, ReportsAddUp
from harness.invariants.facts import Crashed, Kept, Settled
from tests.harness.invariants.records import ANN, BOB, Record, waiting

ENQUEUED = PeerEnqueued(device=BOB, message="m", sender=ANN)
OPENED = ConnectionOpened(device=ANN, address="", path="", client="", framing=1)
CLOSED = ConnectionClosed(device=ANN, code=1000, reason="", by="peer", seconds=0.0, aborted=False)


def redelivered(count: int) -> PeerRedelivered:
    """A report of the gateway."""
    return PeerRedelivered(device=BOB, sender=ANN, count=count, mailboxed=False)


def kept(count: int) -> Record:
    """Messages were enqueued."""
    record = Record().begin().connect(ANN, 1)
    for _ in range(count):
        record.event(ENQUEUED)
    return record


def told(record: Record, count: int, id_: str | None) -> Record:
    """The sender hears of it."""
    message = {"type": "peer", "event": "redelivered", "to": BOB, "count": count}
    return record.gets(ANN, 1, message if id_ is None else {**message, "id": id_})


class TestReportsAddUp:
    """8."""

    def test_exact(self):
        """Delivered, lost and waiting ones are those that were kept; an event may come twice."""
        record = kept(4).event(redelivered(2))
        told(told(record, 2, "e"), 2, "e")
        record.event(PeerLost(device=BOB, sender=ANN, kind="expired", reason="ttl", count=1))
        record.gets(ANN, 1, {"type": "peer", "event": "expired", "to": BOB, "count": 1, "id": "f"})

        assert record.quiet(letters=(waiting(BOB, ANN, "m"),)).wrong(ReportsAddUp) == []

    def test_too_many(self):
        """More than were kept, by the gateway's own account and by what the sender hears."""
        record = told(kept(1).event(redelivered(2)), 3, "e")
        assert record.wrong(ReportsAddUp) == [
            "2 messages of aa to bb have ended, of 1 that were kept",
            "aa was told of 3 messages of aa to bb, of 2 that ended",
        ]

    def test_too_few(self):
        """One that is neither reported nor there, and reports that have not come."""
        assert kept(2).event(redelivered(1)).quiet().wrong(ReportsAddUp) == [
            "2 messages of aa to bb were kept, 1 ended, 0 wait",
            "aa was told of 0 messages of aa to bb, of 1 that ended",
        ]

    def test_report_that_waits(self):
        """A report in the mailbox of its sender is still to come."""
        record = kept(1).event(redelivered(1)).quiet(letters=(waiting(ANN, "", "e", "redelivered"),))
        assert record.wrong(ReportsAddUp) == []

    def test_without_ids(self):
        """Events without an id cannot be told from copies, so they are not added up."""
        record = told(told(kept(1).event(redelivered(1)), 1, None), 1, None)
        assert record.quiet().wrong(ReportsAddUp) == []

    def test_after_a_death(self):
        """A life that dies takes its counts with it."""
        assert kept(2).die().begin(2).quiet().wrong(ReportsAddUp) == []
        assert len(kept(2).die(orderly=True).begin(2).quiet().wrong(ReportsAddUp)) == 1


class TestCountersMatch:
    """15."""

    def test_connections(self):
        """Opened less closed are those that are there, in each life."""
        record = Record().begin().event(OPENED).event(OPENED).event(CLOSED)
        record.see((1, ANN, "owner", 0), owners={ANN: 1}).die().begin(2)

        assert record.see(owners={}).quiet().wrong(CountersMatch) == []

    def test_connection_too_many(self):
        """One that is there and was never reported, or the other way round."""
        record = Record().begin().event(OPENED).see(owners={}).quiet(counted=2)
        assert record.wrong(CountersMatch) == [
            "1 connections by the events, 0 in the gateway",
            "1 connections by the events, 2 by the gateway's own count",
        ]

    @pytest.mark.parametrize(("orderly", "found"), [(True, 1), (False, 0)])
    def test_letters(self, orderly: bool, found: int):
        """Kept less settled are those that wait; what a life that dies has done last it could not say."""
        names = {"life": 1, "recipient": BOB, "sender": ANN}
        record = Record().begin().add(Kept, **names, id="m", is_new=True).add(Kept, **names, id="n", is_new=True)
        record.add(Settled, **names, id="m").die(orderly=orderly).quiet()

        wrong = record.wrong(CountersMatch)
        assert wrong == ["1 letters wait by what the mailbox said, 0 are in it"] * found

    def test_part_of_a_message(self):
        """A device that would crash on what it was sent says so."""
        record = Record().begin().add(Crashed, who="d1", why="would crash on half a message")
        assert record.wrong(CountersMatch) == ["d1: would crash on half a message"]
