"""The trace."""

from __future__ import annotations

from harness.simulation.trace import LAST_LINES, Difference, Trace, first_difference


def noted(*whats: str, keep: bool = True) -> Trace:
    """A trace of these."""
    trace = Trace(keep=keep)
    for what in whats:
        trace.note(1.5, "kind", what)
    return trace


def test_line():
    """A note is one line: when, which kind, what."""
    assert list(noted("a b").lines) == ["1.500000000 kind a b"]


def test_segment_stands_for_its_bytes():
    """Two segments with other bytes are two other lines."""
    one, other = Trace(), Trace()
    one.segment(0.0, "1>", b"abc")
    other.segment(0.0, "1>", b"abd")

    assert list(one.lines) == ["0.000000000 data 1> 3 352441c2"]
    assert one.digest() != other.digest()


def test_digest_follows_from_all_lines():
    """The hash is that of the notes in their order, kept or not, and lines cannot run into each other."""
    assert noted("a", "b").digest() == noted("a", "b", keep=False).digest()
    assert noted("a", "b").digest() != noted("b", "a").digest()
    assert noted("a", "b").digest() != noted("ab").digest()


def test_keeps_the_last_lines():
    """Without being told to keep all, the last ones are there for a report."""
    trace = noted(*map(str, range(100)), keep=False)

    assert trace.count == 100
    assert len(trace.lines) == LAST_LINES
    assert trace.lines[-1].endswith(" 99")


def test_sealed():
    """A sealed trace takes no more."""
    trace = noted("a")
    before = trace.digest()
    trace.seal()
    trace.note(2.0, "kind", "b")

    assert (trace.digest(), trace.count) == (before, 1)


def test_no_difference():
    """Two equal traces have none."""
    assert first_difference(noted("a", "b").lines, noted("a", "b").lines) is None


def test_first_difference():
    """It is the first line that differs, with those before it."""
    found = first_difference(list("abcdefgh"), list("abcdefxx"), context=2)

    assert found == Difference(6, "g", "x", ("e", "f"))
    assert str(found) == "  e\n  f\n< g\n> x"


def test_one_ends_early():
    """Where one trace ends, the other differs."""
    assert first_difference(["a"], ["a", "b"]) == Difference(1, None, "b", ("a",))
    assert "< (end)" in str(first_difference(["a"], ["a", "b"]))
