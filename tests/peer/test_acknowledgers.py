"""Which devices said last that they acknowledge."""

from __future__ import annotations

import pytest

from gateway.identity import device_id
from gateway.peer.acknowledgers import Acknowledgers
from gateway.protocol import limits

A, B, C, D = (device_id(f"02:00:00:00:00:0{number}") for number in range(1, 5))


def test_what_was_said_last_counts():
    """One that acknowledged is known, until it says otherwise; only what changes is news."""
    known = Acknowledgers()
    assert known.note(A, acknowledges=True)
    assert not known.note(A, acknowledges=True)
    assert not known.note(B, acknowledges=False)
    assert A in known
    assert B not in known

    assert known.note(A, acknowledges=False)

    assert A not in known
    assert len(known) == 0


def test_what_an_earlier_life_knew_counts():
    """Until the device says otherwise; it is no news then."""
    known = Acknowledgers()
    known.recall([A, B])

    assert len(known) == 2
    assert not known.note(A, acknowledges=True)
    assert known.note(B, acknowledges=False)


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch):
    """At the limit all are known; past it the one that was heard of longest ago is forgotten."""
    monkeypatch.setattr(limits, "KNOWN_ACKNOWLEDGERS", 3)
    known = Acknowledgers()
    for device in (A, B, C):
        known.note(device, acknowledges=True)
    assert all(device in known for device in (A, B, C))

    known.note(A, acknowledges=True)
    known.note(D, acknowledges=True)

    assert B not in known
    assert all(device in known for device in (A, C, D))
