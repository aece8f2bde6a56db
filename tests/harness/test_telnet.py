"""Telnet: data and commands out of a stream in pieces of any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness import telnet
from harness.telnet import (
    DO,
    IAC,
    LONGEST,
    SB,
    SE,
    WILL,
    Negotiation,
    Subnegotiation,
    TelnetParser,
    escape,
    negotiation,
    subnegotiation,
)

BYTES = st.lists(st.sampled_from([IAC, SB, SE, DO, WILL, 0, 44, 97]), max_size=30).map(bytes)
ITEMS = st.lists(
    st.one_of(
        BYTES,
        st.builds(Negotiation, st.sampled_from([251, 252, 253, 254]), st.integers(0, 255)),
        st.builds(Subnegotiation, BYTES),
    ),
    max_size=8,
)


def wire(item: telnet.Item) -> bytes:
    """An item as it goes over the wire."""
    if isinstance(item, bytes):
        return escape(item)
    if isinstance(item, Negotiation):
        return negotiation(item.verb, item.option)
    return subnegotiation(item.payload)


def joined(items: list[telnet.Item]) -> list[telnet.Item]:
    """The items, with data that follows on data in one piece."""
    whole: list[telnet.Item] = []
    for item in items:
        if isinstance(item, bytes) and whole and isinstance(whole[-1], bytes):
            whole[-1] += item
        elif item != b"":
            whole.append(item)
    return whole


@given(ITEMS, st.lists(st.integers(0, 300)))
def test_any_split(items, cuts):
    """What goes in comes out, whatever pieces it comes in."""
    stream, parser = b"".join(map(wire, items)), TelnetParser()
    ends = [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    got = [item for start, end in zip([0, *ends], ends, strict=False) for item in parser.feed(stream[start:end])]

    assert joined(got) == joined(items)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_any_bytes(pieces):
    """Nothing brings it down."""
    parser = TelnetParser()
    for piece in pieces:
        list(parser.feed(piece))


def test_data_stays_in_one_piece():
    """A thousand bytes are one item, as speed wants it."""
    assert list(TelnetParser().feed(b"a" * 1000)) == [b"a" * 1000]


def test_commands_that_mean_nothing_here():
    """NOP and its like are left out."""
    assert list(TelnetParser().feed(bytes([97, IAC, 241, 98]))) == [b"a", b"b"]


def test_longest_subnegotiation():
    """At the limit it comes out; a longer one is left out, and so is one without an end, after twice as much."""
    whole, too_long = subnegotiation(b"a" * LONGEST), subnegotiation(b"a" * (LONGEST + 1))
    assert list(TelnetParser().feed(whole + b"x")) == [Subnegotiation(b"a" * LONGEST), b"x"]
    assert list(TelnetParser().feed(too_long + b"x")) == [b"x"]

    parser = TelnetParser()
    assert list(parser.feed(bytes([IAC, SB]) + b"a" * 2 * LONGEST)) == []
    assert list(parser.feed(b"x")) == [b"x"]
