"""Shares of redelivered mail, and when their senders are told."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given, settings

from gateway.peer.rounds import Rounds

WAIT = 3.0


def test_a_share_that_is_delivered_is_due_at_once():
    """One report with all of a sender's messages, when the last one is delivered."""
    rounds = Rounds(WAIT)
    for _ in range(3):
        rounds.began("aa", 0.0)
    for _ in range(2):
        rounds.ended("aa", delivered=True)
    assert rounds.due(1.0, more_waiting=False) == []
    rounds.ended("aa", delivered=True)
    assert rounds.due(1.0, more_waiting=False) == [("aa", 3)]
    assert rounds.due(1.0, more_waiting=False) == []
    assert rounds.next_due() is None


def test_each_sender_has_its_own():
    """A sender does not wait for another one's messages."""
    rounds = Rounds(WAIT)
    rounds.began("aa", 0.0)
    rounds.began("bb", 1.0)
    rounds.ended("bb", delivered=True)
    assert rounds.due(1.0, more_waiting=False) == [("bb", 1)]
    assert rounds.next_due() == WAIT


def test_no_share_is_whole_while_more_waits():
    """While mail is still in the mailbox a share is due only when its wait is over."""
    rounds = Rounds(WAIT)
    rounds.began("aa", 0.0)
    rounds.ended("aa", delivered=True)
    assert rounds.due(WAIT - 0.1, more_waiting=True) == []
    assert rounds.due(WAIT, more_waiting=True) == [("aa", 1)]


def test_after_the_wait_what_is_there_is_reported():
    """What comes later belongs to the next report, which has a wait of its own."""
    rounds = Rounds(WAIT)
    for _ in range(3):
        rounds.began("aa", 0.0)
    rounds.ended("aa", delivered=True)
    assert rounds.due(WAIT, more_waiting=False) == [("aa", 1)]
    assert rounds.next_due() == 2 * WAIT
    rounds.ended("aa", delivered=True)
    assert rounds.due(WAIT + 1, more_waiting=False) == []
    rounds.ended("aa", delivered=False)
    assert rounds.due(WAIT + 1, more_waiting=False) == [("aa", 1)]
    assert rounds.next_due() is None


def test_nothing_delivered_nothing_said():
    """A share of which nothing was delivered ends in silence, and ends."""
    rounds = Rounds(WAIT)
    rounds.began("aa", 0.0)
    assert rounds.due(WAIT, more_waiting=False) == []
    rounds.ended("aa", delivered=False)
    assert rounds.due(WAIT, more_waiting=False) == []
    assert rounds.next_due() is None


def test_the_device_has_gone():
    """What was delivered is reported at once; what is confirmed after that, then."""
    rounds = Rounds(WAIT)
    for _ in range(3):
        rounds.began("aa", 0.0)
    rounds.ended("aa", delivered=True)
    assert rounds.take_all() == [("aa", 1)]
    assert rounds.take_all() == []
    rounds.ended("aa", delivered=True)
    assert rounds.take_all() == [("aa", 1)]


def test_what_never_began_does_not_count():
    """A message of no share changes nothing."""
    rounds = Rounds(WAIT)
    rounds.ended("aa", delivered=True)
    assert rounds.due(100.0, more_waiting=False) == []


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["began", "delivered", "given up", "due", "due", "more waits"]),
        st.sampled_from(["aa", "bb", "cc"]),
        st.floats(0, 2),
    ),
    max_size=80,
)


@settings(deadline=None)
@given(_STEPS, st.booleans())
def test_every_message_is_reported_once(steps, goes_away):
    """Whatever happens, all reports together are what was delivered, none is of nothing, and every share ends."""
    rounds, now = Rounds(WAIT), 0.0
    open_, delivered, reported = Counter(), Counter(), Counter()

    def report(reports):
        assert len({sender for sender, _ in reports}) == len(reports)
        for sender, count in reports:
            assert count > 0
            reported[sender] += count

    for step, sender, passed in steps:
        now += passed
        if step == "began":
            rounds.began(sender, now)
            open_[sender] += 1
        elif step in ("delivered", "given up") and open_[sender]:
            open_[sender] -= 1
            delivered[sender] += step == "delivered"
            rounds.ended(sender, delivered=step == "delivered")
        elif step in ("due", "more waits"):
            report(rounds.due(now, more_waiting=step == "more waits"))
            left = rounds.next_due()
            assert left is None or left > now or step == "more waits"
        assert not (reported - delivered)

    if goes_away:
        report(rounds.take_all())
        assert reported == +delivered
    for sender in open_:
        while open_[sender]:
            open_[sender] -= 1
            delivered[sender] += 1
            rounds.ended(sender, delivered=True)
    report(rounds.take_all() if goes_away else rounds.due(now, more_waiting=False))
    assert reported == +delivered
    if not goes_away:
        assert rounds.next_due() is None


@settings(deadline=None)
@given(_STEPS)
def test_nobody_waits_longer_than_the_wait(steps):
    """Where deadlines are kept, no delivered message is reported later than the wait after its delivery."""
    rounds, now = Rounds(WAIT), 0.0
    open_, unreported = Counter(), {}
    for step, sender, passed in steps:
        end = now + passed
        while (deadline := rounds.next_due()) is not None and deadline <= end:
            now = max(now, deadline)
            for told, _ in rounds.due(now, more_waiting=True):
                assert now - unreported.pop(told) <= WAIT + 1e-9
        now = end
        if step == "began":
            rounds.began(sender, now)
            open_[sender] += 1
        elif step == "delivered" and open_[sender]:
            open_[sender] -= 1
            rounds.ended(sender, delivered=True)
            unreported.setdefault(sender, now)
    assert all(now - since <= WAIT + 1e-9 for since in unreported.values())
