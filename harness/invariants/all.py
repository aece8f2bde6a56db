"""The list of all invariants, in the order of their numbers."""

from __future__ import annotations

from harness.invariants.answers import CalmNeighbours, OnePong
from harness.invariants.channels import HonestEnding, OneOwner, Recovered, ShortHandover, SilentWhenRetired
from harness.invariants.counting import CountersMatch, ReportsAddUp
from harness.invariants.invariant import Invariant
from harness.invariants.mail import AcknowledgedIsKept, DeliveredOnce, InOrder, SettledIsOver
from harness.invariants.resources import BoundedQueues, NobodyWaitsForEver
from harness.invariants.snapshots import OneInstant

INVARIANTS: tuple[type[Invariant], ...] = (
    AcknowledgedIsKept,
    DeliveredOnce,
    InOrder,
    OneOwner,
    ShortHandover,
    SilentWhenRetired,
    OnePong,
    ReportsAddUp,
    SettledIsOver,
    OneInstant,
    BoundedQueues,
    NobodyWaitsForEver,
    HonestEnding,
    Recovered,
    CountersMatch,
    CalmNeighbours,
)
"""All but number 16, which takes two runs: see `harness.exploration.twice`."""
