"""The list of all invariants, and the page that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.exploration import twice
from harness.invariants.all import INVARIANTS
from harness.invariants.facts import LifeBegan
from harness.invariants.invariant import Invariant, Invariants
from tests.harness.invariants.records import ANN, Record


def test_seventeen():
    """Each has its number; number 16 takes two runs."""
    assert sorted([*(one.number for one in INVARIANTS), twice.NUMBER]) == list(range(1, 18))
    assert [one.number for one in INVARIANTS] == sorted(one.number for one in INVARIANTS)


@pytest.mark.parametrize("kind", INVARIANTS, ids=lambda kind: kind.__name__)
def test_says_what_must_hold(kind: type[Invariant]):
    """Each says it in a sentence, and when it is looked at."""
    assert kind.says.endswith(".")
    looks = {name for name in vars(kind) if not name.startswith("_")} - {"number", "says", "when"}
    at_end = looks & {"quiet", "emptied"}
    assert bool(at_end) == (kind.when != "after every event")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "pong", "id": ["no", "id"]},
        {"type": "peer", "from": "aa", "id": "m", "payload": ["no", "object"]},
        {"type": "peer", "status": "done", "id": "m", "delivered": 1, "enqueued": None},
        {"type": "peer", "event": "redelivered", "to": "bb", "count": "two"},
        {"type": "workflow", "event": "update", "tasks": 3},
        {"type": "meeting", "revision": "r", "items": ["text"]},
    ],
    ids="-".join,
)
def test_what_no_invariant_expects(message: dict[str, Any]):
    """A message that makes no sense is a violation, and disturbs nobody: it is read in the middle of a gateway."""
    record = Record().begin().connect(ANN, 1).sends(ANN, 1, {"type": "ping", "id": 1}).gets(ANN, 1, message)
    wrong = Invariants(INVARIANTS).check(record.facts)

    assert all(one.text.startswith("expected facts of the protocol's form, got Framed(") for one in wrong), wrong
    assert bool(wrong) == (message.get("payload") is None)


def test_order_of_violations():
    """What is wrong with a fact is said with its moment and the number of the invariant."""

    class Never(Invariant):
        number, says, when = 99, "Nothing ever happens.", "after every event"

        def life_began(self, fact: LifeBegan) -> list[str]:
            return [f"life {fact.life} began"]

    stream = Invariants([Never])
    assert [str(one) for one in stream.see(LifeBegan(at=1.5, life=3))] == ["invariant 99 at 1.500000 s: life 3 began"]
    assert len(stream.violations) == 1
