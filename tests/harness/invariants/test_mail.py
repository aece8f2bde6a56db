"""Invariants 1, 2, 3 and 9 on records made by hand."""

from __future__ import annotations

from gateway.observe.events import PeerAccepted, PeerDelivered, PeerFailed, PeerLost
from harness.invariants.facts import AcknowledgerKept, Hit, Settled
from harness.invariants.mail import AcknowledgedIsKept, DeliveredOnce, InOrder, SettledIsOver
from tests.harness.invariants.records import ANN, BOB, Record, waiting


def both() -> Record:
    """Two devices are online."""
    return Record().begin().connect(ANN, 1).connect(BOB, 2)


class TestAcknowledgedIsKept:
    """1."""

    def test_delivered(self):
        """What is called delivered has been got before."""
        record = both().letter(BOB, 2, ANN, "m").receipt(ANN, 1, "m", delivered=[BOB])
        assert record.wrong(AcknowledgedIsKept) == []

    def test_delivered_and_not_got(self):
        """Acknowledged by nobody, or by another device."""
        record = both().receipt(ANN, 1, "m", delivered=[BOB])
        assert record.wrong(AcknowledgedIsKept) == ["aa was told that m is delivered to bb, which has not got it"]

    def test_delivered_by_tcp(self):
        """What only TCP has confirmed is no claim that the device has it."""
        assert both().receipt(ANN, 1, "m", delivered=[BOB], confirm="written").wrong(AcknowledgedIsKept) == []

    def test_delivered_by_tcp_and_not_got(self):
        """What TCP has confirmed is read in the end, but where a middlebox, or a loss of power, comes between."""
        claimed = both().receipt(ANN, 1, "m", delivered=[BOB], confirm="written")
        read = both().receipt(ANN, 1, "m", delivered=[BOB], confirm="written").letter(BOB, 2, ANN, "m")
        swallowed = both().add(Hit, what="cut", whom=(BOB,), lasts=False)
        swallowed.receipt(ANN, 1, "m", delivered=[BOB], confirm="written")

        assert claimed.quiet().wrong(AcknowledgedIsKept) == [
            "aa was told that m is written to bb, which has not got it"
        ]
        assert read.quiet().wrong(AcknowledgedIsKept) == []
        assert swallowed.quiet().wrong(AcknowledgedIsKept) == []

    def test_enqueued(self):
        """What was enqueued was got, or waits, or was set aside, or its sender was told of its end."""
        promised = both().receipt(ANN, 1, "m", enqueued=[BOB])
        lost = PeerLost(device=BOB, sender=ANN, kind="expired", reason="ttl", count=1)

        assert promised.quiet(letters=(waiting(BOB, ANN, "m"),)).wrong(AcknowledgedIsKept) == []
        assert (
            both().receipt(ANN, 1, "m", enqueued=[BOB]).letter(BOB, 2, ANN, "m").quiet().wrong(AcknowledgedIsKept) == []
        )
        assert both().receipt(ANN, 1, "m", enqueued=[BOB]).event(lost).quiet().wrong(AcknowledgedIsKept) == []

    def test_enqueued_and_nowhere(self):
        """A letter of another sender, or a loss that was told before, is no excuse."""
        lost = PeerLost(device=BOB, sender=ANN, kind="expired", reason="ttl", count=1)
        record = both().receipt(ANN, 1, "m", enqueued=[BOB]).receipt(ANN, 1, "n", enqueued=[BOB])
        record.event(lost).quiet(letters=(waiting(BOB, BOB, "n"),))

        assert record.wrong(AcknowledgedIsKept) == [
            "aa was told that n is kept for bb, which has not got it, nor has the mailbox"
        ]

    def test_swallowed_by_a_middlebox(self):
        """TCP's word is taken for a device whose TCP a middlebox has ended; elsewhere it is a lie."""
        written = PeerDelivered(device=BOB, message="m", sender=ANN, confirm="written", redelivered=True)
        honest = both().receipt(ANN, 1, "m", enqueued=[BOB]).event(written).quiet()
        hit = both().add(Hit, what="cut", whom=(BOB,), lasts=False)

        assert len(honest.wrong(AcknowledgedIsKept)) == 1
        assert hit.receipt(ANN, 1, "m", enqueued=[BOB]).event(written).quiet().wrong(AcknowledgedIsKept) == []

    def test_swallowed_though_its_device_acknowledges(self):
        """TCP's word is never taken for a device of which the mailbox has kept that it acknowledges, in any life."""
        written = PeerDelivered(device=BOB, message="m", sender=ANN, confirm="written", redelivered=True)
        wrong = []
        for said in ([True], [True, False]):
            record = both()
            for acknowledges in said:
                record.add(AcknowledgerKept, life=1, device=BOB, acknowledges=acknowledges)
            record.die().begin(2).add(Hit, what="cut", whom=(BOB,), lasts=False)
            record.receipt(ANN, 1, "m", enqueued=[BOB]).event(written).quiet()
            wrong.append(len(record.wrong(AcknowledgedIsKept)))

        assert wrong == [1, 0]


class TestDeliveredOnce:
    """2."""

    def test_repeats(self):
        """The same message under the same id, saying that it is a repeat."""
        record = both().letter(BOB, 2, ANN, "m").letter(BOB, 2, ANN, "m", redelivered=True)
        assert record.wrong(DeliveredOnce) == []

    def test_two_ids(self):
        """One message that comes under two ids cannot be told from two."""
        record = both().letter(BOB, 2, ANN, "m").letter(BOB, 2, ANN, "x", redelivered=True)
        assert record.wrong(DeliveredOnce) == ["bb got message 1 of aa twice, as m and as x"]

    def test_two_messages(self):
        """Two messages under one id are one for who goes by it."""
        record = both().letter(BOB, 2, ANN, "m", n=1).letter(BOB, 2, ANN, "m", n=2, redelivered=True)
        assert record.wrong(DeliveredOnce) == ["bb got two messages of aa under the id m"]

    def test_unmarked_copy(self):
        """A second copy in one life says that it is one."""
        record = both().letter(BOB, 2, ANN, "m").letter(BOB, 2, ANN, "m")
        assert record.wrong(DeliveredOnce) == ["bb got a second copy of m of aa that does not say that it is one"]

    def test_unmarked_copy_of_another_life(self):
        """What one life has sent the next one may not know; what has failed is a new attempt."""
        another = both().letter(BOB, 2, ANN, "m").die().begin(2).connect(BOB, 3).letter(BOB, 3, ANN, "m")
        failed = PeerFailed(device=BOB, message="m", sender=ANN, code="INTERNAL_ERROR")

        assert another.wrong(DeliveredOnce) == []
        assert both().letter(BOB, 2, ANN, "m").event(failed).letter(BOB, 2, ANN, "m").wrong(DeliveredOnce) == []


class TestInOrder:
    """3."""

    def test_in_order(self):
        """Gaps, and repeats of what came before, are fine."""
        record = both().letter(BOB, 2, ANN, "a", n=1).letter(BOB, 2, ANN, "c", n=3).letter(BOB, 2, ANN, "a", n=1)
        assert record.wrong(InOrder) == []

    def test_overtaken(self):
        """The first delivery of an earlier message behind a later one."""
        record = both().letter(BOB, 2, ANN, "c", n=3).letter(BOB, 2, ANN, "b", n=2)
        assert record.wrong(InOrder) == ["bb got message 2 of aa after message 3"]


class TestSettledIsOver:
    """9."""

    def settled(self) -> Record:
        """An acknowledgement was committed, and the gateway has died."""
        record = both().letter(BOB, 2, ANN, "m").add(Settled, life=1, recipient=BOB, sender=ANN, id="m")
        return record.die().begin(2).connect(BOB, 3)

    def test_sent_again(self):
        """The next life sends what is over."""
        assert self.settled().letter(BOB, 3, ANN, "m", redelivered=True).wrong(SettledIsOver) == [
            "bb was sent m of aa, whose acknowledgement was committed in life 1"
        ]

    def test_repeated_by_its_sender(self):
        """A sender that had no receipt repeats it."""
        accepted = PeerAccepted(device=ANN, message="m", targets=1)
        assert self.settled().event(accepted).letter(BOB, 3, ANN, "m").wrong(SettledIsOver) == []

    def test_on_its_way(self):
        """What the earlier life had sent may come late."""
        record = both().add(Settled, life=1, recipient=BOB, sender=ANN, id="m").die().begin(2)
        assert record.letter(BOB, 2, ANN, "m").wrong(SettledIsOver) == []
