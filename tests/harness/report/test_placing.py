"""Marks that would touch are one, and labels never lie on one another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.lanes import Mark
from harness.report.placing import BIN, GAP, LABEL_CELLS, binned, cells, cut, labels, short

CELL = 6.7
TONES = st.sampled_from(["plain", "warning", "error", "sent", "received", "fault", "lost"])
PLACES = st.lists(
    st.tuples(st.floats(0, 1000), st.builds(Mark, st.just(0.0), TONES, st.just("a"), st.text(max_size=60))), max_size=60
).map(lambda places: sorted(places, key=lambda place: place[0]))


@given(PLACES)
def test_marks_never_touch(places):
    """All are counted, and those that are drawn are as far apart as a mark is wide."""
    placed = binned(places)

    assert sum(one.count for one in placed) == len(places)
    assert all(right.x - left.x >= BIN for left, right in pairwise(placed))


def test_the_gravest_mark_stands_for_the_others():
    """An error is seen although it came in a burst of audio."""
    marks = [Mark(0, "sent", "a", "audio"), Mark(0, "error", "a", "panic"), Mark(0, "warning", "a", "low")]
    (one,) = binned((float(x), mark) for x, mark in enumerate(marks))

    assert (one.mark.text, one.count) == ("panic", 3)


@given(PLACES)
def test_labels_never_overlap(places):
    """There is air between them, and none leaves the drawing."""
    found = labels(binned(places), 0, 1000, CELL)
    spans = [(label.x, label.x + cells(label.text) * CELL) for label in found]

    assert all(right[0] - left[1] >= GAP - 1e-6 for left, right in pairwise(spans))
    assert all(end <= 1000 + 1e-6 for _, end in spans)
    assert all(cells(label.text) <= LABEL_CELLS for label in found)


def test_a_label_leaves_the_room_to_the_next_mark():
    """Two marks with some room between them have a label each."""
    placed = binned([(0.0, Mark(0, "plain", "a", "x" * 60)), (150.0, Mark(1, "plain", "a", "y" * 60))])

    assert [label.text[0] for label in labels(placed, 0, 1000, CELL)] == ["x", "y"]


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字漢", 5, "漢字…"), ("漢字", 3, "漢…"), ("abc", 0, "")],
)
def test_cut(text, most, shown):
    """Wide letters take two cells, and the ellipsis one."""
    assert cut(text, most) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"type":"hello","version":1}', 'hello {"version":1}'),
        ('{"type":"ping"}', "ping"),
        ("I (3) boot", "I (3) boot"),
        ('{"type":"a b"}', '{"type":"a b"}'),
    ],
)
def test_short(text, shown):
    """The type of a message comes first."""
    assert short(text) == shown
