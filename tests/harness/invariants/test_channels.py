"""Invariants 4, 5, 6, 13 and 14 on records made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.observe.events import DeviceOffline, DeviceOnline, HandoverBegan, HandoverEnded
from harness.invariants.channels import (
    NOTICE,
    HonestEnding,
    OneOwner,
    Recovered,
    ShortHandover,
    SilentWhenRetired,
)
from harness.invariants.facts import Closed, Healed, Hit
from tests.harness.invariants.records import ANN, BOB, Record, waiting

ONLINE = DeviceOnline(device=ANN, session="s", replaced=False, because="hello")
REPLACED = DeviceOnline(device=ANN, session="s", replaced=True, because="hello")


class TestOneOwner:
    """4."""

    def test_handover(self):
        """One connection owns the route, then the other; the older one is there for a while."""
        record = Record().begin().event(ONLINE).see((1, ANN, "owner", 0), owners={ANN: 1})
        record.event(REPLACED).see((1, ANN, "retired", 0), (2, ANN, "owner", 0), owners={ANN: 2})
        record.event(DeviceOffline(device=ANN)).see((1, ANN, "retired", 0), owners={})

        assert record.wrong(OneOwner) == []

    def test_two_owners(self):
        """Two that own one route, of which one must be wrong."""
        record = Record().begin().event(ONLINE).see((1, ANN, "owner", 0), (2, ANN, "owner", 0), owners={ANN: 2})
        assert record.wrong(OneOwner) == [
            "aa has 2 connections that own its route",
            "connection 1 of aa owns a route that does not lead to it",
        ]

    def test_dropped_owner(self):
        """The end of the older connection has taken the newer one out."""
        record = Record().begin().event(ONLINE).event(REPLACED).event(DeviceOffline(device=ANN))
        record.see((2, ANN, "owner", 0), owners={})

        assert record.wrong(OneOwner) == ["connection 2 of aa owns a route that does not lead to it"]

    def test_route_to_nowhere(self):
        """A route whose connection has ended, and a device of which the events know nothing."""
        assert Record().begin().see(owners={ANN: 1}).wrong(OneOwner) == [
            "the route of aa goes to connection 1, which does not own it",
            "events and routes differ on who is online: aa",
        ]

    def test_events_that_contradict_each_other(self):
        """Replaced without having been there, anew without having left, gone without having come."""
        record = Record().begin().event(REPLACED).event(ONLINE).event(DeviceOffline(device=BOB))
        assert record.wrong(OneOwner) == [
            "aa came online with replaced=True, and was not online",
            "aa came online with replaced=False, and was online",
            "bb went offline, and was not online",
        ]

    def test_new_life(self):
        """A new process knows nobody."""
        assert Record().begin().event(ONLINE).die().begin(2).event(ONLINE).wrong(OneOwner) == []


class TestShortHandover:
    """5."""

    def test_short(self):
        """Gone after 1.8 s, told once, before the Close."""
        record = Record().begin().connect(ANN, 1).gets(ANN, 1, NOTICE)
        record.see((1, ANN, "retired", 0), owners={}, at=10.0).see((1, ANN, "retired", 0), owners={}, at=11.8)
        record.close_frame(ANN, 1, 4001).event(HandoverEnded(device=ANN, seconds=1.8)).see(owners={}, at=13.0)

        assert record.wrong(ShortHandover) == []

    def test_long(self):
        """Still there after two seconds, and reported as such."""
        record = Record().begin().see((7, ANN, "retired", 0), owners={}, at=10.0)
        record.see((7, ANN, "retired", 0), owners={}, at=12.5).event(HandoverEnded(device=ANN, seconds=2.6))

        assert record.wrong(ShortHandover) == [
            "connection 7 of aa was replaced 2.500 s ago and is still there",
            "the handover of aa took 2.600 s",
        ]

    def test_told_twice(self):
        """One notice is enough."""
        record = Record().begin().connect(ANN, 1).gets(ANN, 1, NOTICE).gets(ANN, 1, NOTICE)
        assert record.wrong(ShortHandover) == ["aa was told twice that connection 1 is replaced"]

    def test_not_told(self):
        """Closed without a notice, though it was alive and could read."""
        record = Record().begin().connect(ANN, 1).close_frame(ANN, 1, 4001)
        assert record.wrong(ShortHandover) == ["connection 1 of aa was closed with 4001 and not told before"]

    def test_could_not_be_told(self):
        """One that did not read has no notice, nor has one that was overtaken before it was alive."""
        unread = Record().begin().connect(ANN, 1).event(HandoverBegan(device=ANN, told=False))
        assert unread.close_frame(ANN, 1, 4001).wrong(ShortHandover) == []
        overtaken = Record().begin().connect(ANN, 1, greeted=False)
        assert overtaken.close_frame(ANN, 1, 4001).wrong(ShortHandover) == []


class TestSilentWhenRetired:
    """6."""

    def test_silent(self):
        """Behind the notice there is the Close; the device itself may say what it likes."""
        record = Record().begin().connect(ANN, 1).gets(ANN, 1, NOTICE).sends(ANN, 1, {"type": "ping"})
        assert record.close_frame(ANN, 1, 4001).wrong(SilentWhenRetired) == []

    def test_fed(self):
        """A message behind the notice."""
        record = Record().begin().connect(ANN, 1).gets(ANN, 1, NOTICE).gets(ANN, 1, {"type": "pong"})
        assert record.wrong(SilentWhenRetired) == [
            'aa was sent something on connection 1 behind its notice: {"type":"pong"}'
        ]


class TestHonestEnding:
    """13."""

    def ended(self, code: int, record: Record | None = None, **more: Any) -> list[str]:
        """A connection has ended."""
        record = record or Record().begin().connect(ANN, 1)
        parts = {"device": ANN, "connection": 1, "own": False, **more}
        return record.add(Closed, code=code, **parts).wrong(HonestEnding)

    @pytest.mark.parametrize("code", [1000, 1012, 4001, 4003])
    def test_codes(self, code: int):
        """Those of the protocol."""
        assert self.ended(code) == []

    def test_unknown_code(self):
        """Any other."""
        assert self.ended(4444) == ["connection 1 of aa was closed with 4444, which is no code of ours"]

    def test_lost(self):
        """Without a Close, and nothing had happened."""
        assert self.ended(1006) == ["connection 1 of aa was lost without a Close, and nothing was done to it"]

    def test_excused(self):
        """The device did it; or a fault, now or still; or the gateway has died; or it was the oldest of three."""
        hit = Record().begin().add(Hit, what="partition", whom=(ANN,), lasts=True)
        other = Record().begin().connect(ANN, 1).add(Hit, what="reset_peer", whom=(BOB,), lasts=False)
        healed = Record().begin().add(Hit, what="partition", whom=(ANN,), lasts=True)
        healed.add(Healed, what="", whom=(ANN,)).connect(ANN, 1)

        assert self.ended(1006, own=True) == []
        assert self.ended(1006, hit.connect(ANN, 1)) == []
        assert self.ended(1006, Record().begin().connect(ANN, 1).die()) == []
        assert self.ended(1006, Record().begin().connect(ANN, 1).connect(ANN, 2).connect(ANN, 3)) == []
        assert len(self.ended(1006, other)) == 1
        assert len(self.ended(1006, healed.add(Hit, what="cut", whom=(ANN,), lasts=False, at=0.05))) == 1

    def test_no_excuse(self):
        """An orderly stop says why; and where nothing was in force, nothing is healed."""
        stopped = Record().begin().connect(ANN, 1).die(orderly=True)
        healed = Record().begin().connect(ANN, 1).add(Healed, what="", whom=(ANN, BOB))

        assert len(self.ended(1006, stopped)) == 1
        assert len(self.ended(1006, healed)) == 1


class TestRecovered:
    """14."""

    def test_all_well(self):
        """Everybody is there, and nothing waits; what was set aside stays."""
        assert Record().begin().quiet(letters=(waiting(BOB, ANN, "m", set_aside=True),)).wrong(Recovered) == []

    def test_not_well(self):
        """Somebody is missing, mail waits, messages are under way."""
        record = Record().begin()
        record.quiet(
            online=frozenset((ANN,)),
            owners=frozenset(),
            letters=(waiting(BOB, ANN, "m"),),
            unreceipted=2,
            unconfirmed=3,
        )
        assert record.wrong(Recovered) == [
            "not all devices say that they are online; missing: bb",
            "not all devices are by the gateway's account online; missing: aa, bb",
            "1 letters still wait, the first of them peer m of aa for bb",
            "2 messages have had no receipt",
            "3 messages are in flight or in memory",
        ]
