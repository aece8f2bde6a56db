"""What waits for a host that does not read."""

from __future__ import annotations

from harness.telnet import escape
from harness.virtual.ports.outbox import Outbox


class Slow:
    """A wire that takes so many bytes at a time, and nothing while it is stuck."""

    def __init__(self, at_once: int = 1 << 20) -> None:
        self.at_once = at_once
        self.got = bytearray()

    def write(self, data: bytes) -> int:
        """Take some."""
        self.got += data[: self.at_once]
        return min(len(data), self.at_once)


def test_everything_in_order():
    """Encoded, however little the wire takes at a time."""
    outbox, wire = Outbox(escape), Slow(3)
    outbox.put(b"ab\xff")
    outbox.put_raw(b"\xff\xf1")
    outbox.put(b"cd")
    outbox.send(wire.write)

    assert bytes(wire.got) == b"ab\xff\xff\xff\xf1cd"
    assert outbox.is_empty


def test_oldest_are_lost():
    """Behind what is on the wire already there is room for so much, and what has waited longest goes."""
    outbox, wire, stuck = Outbox(room=100), Slow(), Slow(0)
    outbox.put(b"w" * (1 << 16))
    outbox.send(stuck.write)
    outbox.put(b"a" * 80)
    outbox.put(b"b" * 80)
    assert outbox.lost == 60
    outbox.send(wire.write)

    assert bytes(wire.got[1 << 16 :]) == b"a" * 20 + b"b" * 80


def test_purge():
    """What waits is forgotten; what is encoded is not, or half an answer would be."""
    outbox, wire = Outbox(), Slow()
    outbox.put(b"w" * (1 << 16))
    outbox.put(b"forgotten")
    outbox.purge()
    outbox.put_raw(b"answer")
    outbox.send(wire.write)

    assert bytes(wire.got[1 << 16 :]) == b"answer"
    assert outbox.lost == 0
