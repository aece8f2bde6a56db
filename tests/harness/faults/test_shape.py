"""Shapes: when bytes arrive, and in which pieces."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.faults.shape import PLAIN, Shape, Shaper


def shaper() -> Shaper:
    """One with chance that is the same every time."""
    return Shaper(random.Random(1))


def test_plain():
    """Without anything asked for, bytes arrive at once, and whole."""
    plain = shaper()
    assert list(plain.pieces(PLAIN, b"x" * 100_000)) == [b"x" * 100_000]
    assert plain.arrival(PLAIN, 3.0, 100_000) == 3.0
    assert plain.end(PLAIN, 3.5) == 3.5


def test_latency():
    """Everything takes the latency, its end too, and what is behind waits for nobody."""
    shape, far = Shape(latency=0.25), shaper()
    assert far.arrival(shape, 1.0, 10) == 1.25
    assert far.arrival(shape, 1.1, 10) == 1.35
    assert far.end(shape, 1.2) == 1.45


def test_jitter_keeps_the_order():
    """Jitter is added, evenly up to its limit; what was sent later never arrives before."""
    shape, far = Shape(latency=1.0, jitter=0.5), shaper()
    alone = [Shaper(random.Random(seed)).arrival(shape, 0.0, 1) for seed in range(500)]
    assert min(alone) == pytest.approx(1.0, abs=0.01)
    assert max(alone) == pytest.approx(1.5, abs=0.01)

    together = [far.arrival(shape, number / 1000, 1) for number in range(500)]
    assert together == sorted(together)


def test_bandwidth():
    """Bytes leave one after the other, and a pause is not saved up; what is long is cut, or it would come at once."""
    shape, narrow = Shape(bytes_per_second=1000.0), shaper()
    assert narrow.arrival(shape, 0.0, 500) == 0.5
    assert narrow.arrival(shape, 0.0, 500) == 1.0
    assert narrow.arrival(shape, 5.0, 500) == 5.5
    assert narrow.end(shape, 5.0) == 5.5
    assert {len(piece) for piece in narrow.pieces(shape, b"x" * 2896)} == {1448}
    assert {len(piece) for piece in narrow.pieces(Shape(bytes_per_second=1e6), b"x" * 20_000)} == {10_000}


def test_slices():
    """Slices have lengths around their average, at least one byte, and a distance."""
    shape, sliced = Shape(slice_bytes=4, slice_variation=2, slice_seconds=0.5), shaper()
    pieces = list(sliced.pieces(shape, b"x" * 1000))
    assert {len(piece) for piece in pieces[:-1]} == {2, 3, 4, 5, 6}
    assert [sliced.arrival(shape, 0.0, 4) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert {len(piece) for piece in sliced.pieces(Shape(slice_bytes=1, slice_variation=9), b"x" * 300)} <= set(
        range(1, 11)
    )


def test_slow_close():
    """The end comes later, and only the end."""
    shape, slow = Shape(slow_close=2.0), shaper()
    assert slow.arrival(shape, 1.0, 10) == 1.0
    assert slow.end(shape, 1.0) == 3.0


def test_change_of_shape_keeps_the_order():
    """What was sent over a slow link still arrives before what is sent over a fast one."""
    link = shaper()
    assert link.arrival(Shape(latency=2.0), 0.0, 1) == 2.0
    assert link.arrival(PLAIN, 0.5, 1) == 2.0
    assert link.end(PLAIN, 1.0) == 2.0


@given(data=st.binary(max_size=5000), average=st.integers(1, 300), variation=st.integers(0, 400), seed=st.integers())
def test_pieces_are_the_whole(data: bytes, average: int, variation: int, seed: int):
    """However they are cut, they are the same bytes in the same order, and none is empty."""
    pieces = list(Shaper(random.Random(seed)).pieces(Shape(slice_bytes=average, slice_variation=variation), data))
    assert b"".join(pieces) == data
    assert all(pieces)
