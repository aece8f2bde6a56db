"""Links: what a segment takes from one host to another."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harness.simulation.links import Link, Path, Slices


class Box:
    """A host that is on, or not."""

    powered = True


def path(**qualities: Any) -> Path:
    """A path with these qualities."""
    return Path(Link(**qualities), Box(), Box(), random.Random(1))


def test_latency():
    """Without anything else a segment takes the latency, whatever its size."""
    assert path(latency=0.25).arrival(10.0, 1448, 0.2) == 10.25


def test_jitter():
    """Jitter is added, evenly up to its limit."""
    jittery = path(latency=1.0, jitter=0.5)
    delays = [jittery.arrival(0.0, 1, 0.2) for _ in range(1000)]

    assert min(delays) == pytest.approx(1.0, abs=0.01)
    assert max(delays) == pytest.approx(1.5, abs=0.01)


def test_bandwidth():
    """Bytes leave one after the other, for all connections of the direction; a pause is not saved up."""
    narrow = path(latency=0.0, bandwidth=1000)

    assert narrow.arrival(0.0, 500, 0.2) == 0.5
    assert narrow.arrival(0.0, 500, 0.2) == 1.0
    assert narrow.arrival(5.0, 500, 0.2) == 5.5


@pytest.mark.parametrize(("loss", "share"), [(0.0, 0.0), (0.1, 0.1), (0.5, 0.5)])
def test_loss(loss: float, share: float):
    """A lost segment comes a retransmission later, one that is lost twice three of them."""
    lossy = path(latency=0.0, loss=loss)
    delays = [lossy.arrival(0.0, 1, 0.2) for _ in range(2000)]

    assert sum(delay > 0 for delay in delays) / 2000 == pytest.approx(share, abs=0.03)
    assert {round(delay, 6) for delay in delays} <= {round(0.2 * (2**times - 1), 6) for times in range(9)}


def test_loss_has_an_end():
    """A link that loses everything still lets a segment through, late: a link that is down is another matter."""
    assert path(latency=0.0, loss=1.0).arrival(0.0, 1, 0.2) == pytest.approx(0.2 * 255)


def test_cut():
    """Segments are whole, of chance lengths, or single bytes."""
    assert path().cut(1000) == 1000
    assert path(fragment="as_written").cut(1000) == 1000
    assert path(fragment="byte").cut(1000) == 1
    lengths = {path_.cut(3) for path_ in [path(fragment="random")] for _ in range(100)}
    assert lengths == {1, 2, 3}


def test_slices():
    """Slices have chance lengths around an average, never none; the window may make them shorter."""
    sliced = path(fragment=Slices(average=4, variation=2))
    assert {sliced.cut(1000) for _ in range(200)} == {2, 3, 4, 5, 6}
    assert sliced.cut(1) == 1
    assert {path(fragment=Slices(average=1, variation=5)).cut(1000) for _ in range(20)} <= set(range(1, 7))


def test_pause_between_slices():
    """Slices keep a distance; what carries no data does not."""
    spread = path(latency=0.0, fragment=Slices(average=10, seconds=0.5))
    assert [spread.arrival(0.0, 10, 0.2) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert spread.arrival(0.0, 0, 0.2) == 0.0

    narrow = path(latency=0.0, bandwidth=10, fragment=Slices(average=10, seconds=0.5))
    assert [narrow.arrival(0.0, 10, 0.2) for _ in range(3)] == [1.0, 2.5, 4.0]


def test_passable():
    """A path is passable while it is up and both its hosts are on."""
    source, target = Box(), Box()
    found = Path(Link(), source, target, random.Random(1))
    assert found.passable
    found.up = False
    assert not found.passable
    found.up = True
    for box in (source, target):
        box.powered = False
        assert not found.passable
        box.powered = True
