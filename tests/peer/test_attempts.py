"""How often letters were sent in sessions that are over."""

from __future__ import annotations

import pytest

from gateway.peer.attempts import Attempts
from gateway.protocol import limits
from tests.peer.letters import C, letter


def test_counts_are_of_one_letter():
    """A count is that of a recipient, a sender and an id, and is taken out once."""
    attempts = Attempts()
    attempts.note(letter("1"), 3)
    attempts.note(letter("1", to=C), 4)
    attempts.note(letter("1"), 5)
    assert attempts.take(letter("1")) == 5
    assert attempts.take(letter("1")) == 0
    assert attempts.take(letter("1", sender=C)) == 0
    assert attempts.take(letter("1", to=C)) == 4
    assert len(attempts) == 0


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """At the limit all are known; past it the one that was noted first is forgotten."""
    monkeypatch.setattr(limits, "MAILBOX_TOTAL", 3)
    attempts = Attempts()
    for number in range(3):
        attempts.note(letter(str(number)), 1)
    assert len(attempts) == 3
    attempts.note(letter("3"), 1)
    assert [attempts.take(letter(str(number))) for number in range(4)] == [0, 1, 1, 1]
