"""Invariants 11 and 12 on records made by hand."""

from __future__ import annotations

from harness.invariants.budgets import DEFAULT
from harness.invariants.facts import Emptied
from harness.invariants.resources import BoundedQueues, NobodyWaitsForEver
from tests.harness.invariants.records import ANN, BOB, Record

LEFT = {"seconds": 1.0, "connections": 0, "tasks": (), "timers": ()}


def test_within_the_budget():
    """As much as may wait, and nothing when all have gone."""
    record = Record().begin().see((1, ANN, "owner", DEFAULT.queued), owners={ANN: 1}).add(Emptied, **LEFT)
    assert record.wrong(BoundedQueues) == []
    assert record.wrong(NobodyWaitsForEver) == []


def test_queue_without_bound():
    """A byte too many for one device, and too much for all."""
    much = DEFAULT.queued_in_all
    record = Record().begin().see((1, ANN, "owner", DEFAULT.queued + 1), owners={ANN: 1})
    record.see((1, ANN, "owner", 0), (2, BOB, "owner", much + 1), owners={ANN: 1, BOB: 2})

    assert record.wrong(BoundedQueues) == [
        f"{DEFAULT.queued + 1} bytes wait for connection 1 of aa",
        f"{much + 1} bytes wait for connection 2 of bb",
        f"{much + 1} bytes wait for all devices",
    ]


def test_connection_left():
    """A connection whose device has gone for good."""
    record = Record().begin().add(Emptied, **{**LEFT, "connections": 1})
    assert record.wrong(BoundedQueues) == ["1 connections are left, and all devices have gone"]


def test_left_behind():
    """A task that waits, a timer that is set, a stop that takes long."""
    left = {**LEFT, "seconds": 40.0, "tasks": ("courier: expiry",), "timers": ("<timer>",)}
    assert Record().begin().add(Emptied, **left).wrong(NobodyWaitsForEver) == [
        "the gateway took 40.0 s to stop",
        "left behind: courier: expiry",
        "left behind: <timer>",
    ]
