"""The counts by which limits are judged."""

from __future__ import annotations

from gateway.peer.tally import Tally


def test_share_takes_its_limit_and_not_more() -> None:
    """Letters with a sender are counted per recipient; the gateway's are not."""
    tally = Tally(per_device=2, per_sender=100, total=100)
    tally.add_letter("a", "s", "peer")
    assert not tally.is_full("a", "s")
    tally.add_letter("a", "t", "peer")

    assert tally.is_full("a", "s")
    assert not tally.is_full("a", "")
    assert not tally.is_full("b", "s")
    tally.remove_letter("a", "t", "peer")
    assert not tally.is_full("a", "s")


def test_sender_has_its_limit_over_all_recipients() -> None:
    """What waits of one sender is counted, for whomever; the gateway's own is not."""
    tally = Tally(per_device=100, per_sender=2, total=100)
    tally.add_letter("a", "s", "peer")
    assert not tally.is_full("c", "s")
    tally.add_letter("b", "s", "peer")
    for recipient in "abcd":
        tally.add_letter(recipient, "", "summary")

    assert tally.is_full("c", "s")
    assert not tally.is_full("c", "t")
    assert not tally.is_full("c", "")
    tally.remove_letter("a", "s", "peer")
    assert not tally.is_full("c", "s")
    tally.remove_letter("b", "s", "peer")
    assert tally._sent == {}


def test_total_counts_what_waits_and_what_is_set_aside() -> None:
    """Events are counted apart; room that is about to be made counts."""
    tally = Tally(per_device=100, per_sender=100, total=2)
    tally.add_letter("a", "s", "peer")
    tally.add_letter("a", "", "expired")
    tally.set_aside = 1

    assert tally.is_full("b", "s")
    assert tally.is_full("b", "")
    assert not tally.is_full("b", "s", room=1)
    assert not tally.events_full
    tally.add_letter("b", "", "dropped")
    assert tally.events_full
    tally.remove_letter("a", "", "expired")
    assert not tally.events_full
    assert tally.is_full("b", "s"), "an event makes no room for letters"


def test_settled_names_over_the_total() -> None:
    """It tells how many are too many."""
    tally = Tally(per_device=1, per_sender=1, total=2)
    for settled, over in ((0, 0), (2, 0), (3, 1), (5, 3)):
        tally.settled = settled
        assert tally.settled_over == over
