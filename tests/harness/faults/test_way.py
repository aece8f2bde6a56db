"""One direction through the proxy: what passes, when, how much may wait, and what stops it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from harness.faults.shape import Shape
from harness.faults.way import WAITING, WINDOW, Mark, Way
from tests.harness.simulation.stage import sim, simulated


class Side:
    """Both sides of a way: it notes what it is told, with the time, and fills up on request."""

    def __init__(self) -> None:
        self.got: list[tuple[float, Any]] = []
        self.reads = True
        self.way: Way | None = None
        self.fills_at: int | None = None

    @property
    def bytes(self) -> bytes:
        """What it was given."""
        return b"".join(item for _, item in self.got if isinstance(item, bytes))

    def pause_reading(self) -> None:
        """Read no more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Read again."""
        self.reads = True

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.got.append((sim().time(), data))
        if self.fills_at is not None and self.way is not None and len(self.bytes) >= self.fills_at:
            self.fills_at = None
            self.way.target_is_full(True)

    def finish(self) -> None:
        """Take the end."""
        self.got.append((sim().time(), "fin"))

    def reset(self) -> None:
        """Take a reset."""
        self.got.append((sim().time(), "rst"))


class Owner:
    """Notes what a way tells."""

    def __init__(self, target: Side | None) -> None:
        self.target = target
        self.told: list[str] = []

    def wants_target(self, way: Way) -> None:
        """Note it."""
        self.told.append("wants target")

    def passed(self, way: Way, data: bytes) -> None:
        """Note it."""
        self.told.append(f"passed {len(data)}")

    def finished(self, way: Way) -> None:
        """Note it."""
        self.told.append("finished")

    def limit_reached(self, way: Way) -> None:
        """Note it, and do as a connection does."""
        self.told.append("limit")
        way.drop()


def new_way(*, connected: bool = True) -> tuple[Way, Side, Side, Owner]:
    """A way, what it comes from, where it goes, and whose it is."""
    source, target = Side(), Side()
    owner = Owner(target)
    way = Way("to_gateway", owner, random.Random(1))
    way.source = source
    target.way = way
    if connected:
        way.target = target
    return way, source, target, owner


@simulated
async def test_plain():
    """Without anything asked for, bytes are handed on in the same call."""
    way, _, target, owner = new_way()
    way.take(b"one")
    way.take(b"two")
    way.take(Mark.FIN)

    assert target.got == [(0.0, b"one"), (0.0, b"two"), (0.0, "fin")]
    assert owner.told == ["passed 3", "passed 3", "finished"]
    assert way.bytes_passed == 6


@simulated
async def test_before_there_is_a_target():
    """What comes before the target is there is kept, and makes somebody fetch it."""
    way, source, target, owner = new_way(connected=False)
    way.take(b"one")
    way.take(b"two")
    assert owner.told == ["wants target"] * 2
    assert way.has_bytes
    assert source.reads

    way.target = target
    assert target.got == [(0.0, b"one"), (0.0, b"two")]
    assert not way.has_bytes


@simulated
async def test_latency():
    """Bytes come later, in order, and so does the end; afterwards it is plain again."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(latency=0.5))
    way.take(b"one")
    await asyncio.sleep(0.25)
    way.take(b"two")
    way.take(Mark.FIN)
    await asyncio.sleep(2)

    assert target.got == [(0.5, b"one"), (0.75, b"two"), (0.75, "fin")]


@simulated
async def test_shape_that_gets_better():
    """What is under way stays as it is, and what comes behind it does not overtake it."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(latency=0.5))
    way.take(b"one")
    way.set_shape(Shape())
    way.take(b"two")
    await asyncio.sleep(2)
    way.take(b"three")

    assert target.got == [(0.5, b"one"), (0.5, b"two"), (2.0, b"three")]


@simulated
async def test_bandwidth():
    """So many bytes a second."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(bytes_per_second=1448.0))
    way.take(b"x" * 2896)
    await asyncio.sleep(5)

    assert [(at, len(data)) for at, data in target.got] == [(1.0, 1448), (2.0, 1448)]


@simulated
async def test_slices_come_one_by_one():
    """Slices are written in turns of the loop of their own, or the reader would get them as one."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(slice_bytes=2))
    way.take(b"abcdef")
    assert target.got == [(0.0, b"ab")]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(target.got) < 4
    await asyncio.sleep(0.1)

    assert [data for _, data in target.got] == [b"ab", b"cd", b"ef"]


@simulated
async def test_hold_and_release():
    """While it is held nothing passes, not even what is under way; then everything, in order."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(latency=0.5))
    way.take(b"under way")
    way.hold()
    way.take(b"later")
    way.take(Mark.FIN)
    await asyncio.sleep(3)
    assert target.got == []

    way.release()
    await asyncio.sleep(3)
    assert target.got == [(3.0, b"under way"), (3.5, b"later"), (3.5, "fin")]


@simulated
async def test_what_waits_is_bounded():
    """Past the bound the source is no longer read from, until there is room again."""
    way, source, target, _ = new_way()
    way.hold()
    taken = 0
    while source.reads:
        way.take(b"x" * 65536)
        taken += 65536
    assert taken <= WAITING + 65536

    way.release()
    assert source.reads
    assert len(target.bytes) == taken


@simulated
async def test_what_is_under_way_is_bounded():
    """A long way does not make room for more than a window."""
    way, source, target, _ = new_way()
    way.set_shape(Shape(latency=1.0))
    taken = 0
    while source.reads:
        way.take(b"x" * 65536)
        taken += 65536
    assert WINDOW < taken <= WINDOW + WAITING + 2 * 65536

    await asyncio.sleep(1.0)
    assert WINDOW <= len(target.bytes) <= WINDOW + 65536
    await asyncio.sleep(5.0)
    assert len(target.bytes) == taken


@simulated
async def test_full_target():
    """A target that takes no more makes the source wait; what has come meanwhile is kept."""
    way, source, target, _ = new_way()
    target.fills_at = 4
    way.take(b"12345")
    assert not source.reads
    way.take(b"67")
    assert target.bytes == b"12345"

    way.target_is_full(False)
    assert target.bytes == b"1234567"
    assert source.reads


@simulated
async def test_target_that_fills_up_while_much_is_due():
    """It is stopped in the middle of what was due, too."""
    way, source, target, _ = new_way()
    way.set_shape(Shape(slice_bytes=1, latency=0.1))
    target.fills_at = 3
    way.take(b"abcdef")
    await asyncio.sleep(1)
    assert target.bytes == b"abc"

    way.target_is_full(False)
    await asyncio.sleep(1)
    assert target.bytes == b"abcdef"
    assert source.reads


@simulated
async def test_silence():
    """Nothing passes any more, nothing is read, and a release does not end it."""
    way, source, target, _ = new_way()
    way.set_shape(Shape(latency=0.1))
    way.take(b"under way")
    way.silence()
    way.take(b"more")
    way.release()
    await asyncio.sleep(1)

    assert target.got == []
    assert not source.reads


@simulated
async def test_drop():
    """What comes is read, and goes nowhere, its end included."""
    way, source, target, owner = new_way()
    way.take(b"one")
    way.drop()
    way.take(b"two")
    way.take(Mark.FIN)
    way.set_shape(Shape())

    assert target.bytes == b"one"
    assert source.reads
    assert owner.told == ["passed 3"]


@pytest.mark.parametrize("latency", [0.0, 0.5])
def test_limit(latency: float):
    """So many bytes pass in all, then somebody is told, once."""

    @simulated
    async def scenario() -> None:
        way, _, target, owner = new_way()
        way.take(b"123")
        way.set_shape(Shape(latency=latency))
        way.set_limit(5)
        way.take(b"456")
        way.take(b"789")
        await asyncio.sleep(2)

        assert target.bytes == b"12345"
        assert owner.told == ["passed 3", "passed 2", "limit"]

    scenario()


@simulated
async def test_limit_that_is_reached_already():
    """It is told at once."""
    way, _, _, owner = new_way()
    way.take(b"123")
    way.set_limit(3)
    assert owner.told == ["passed 3", "limit"]


@simulated
async def test_reset_behind_bytes():
    """A reset comes behind what was sent before it."""
    way, _, target, _ = new_way()
    way.set_shape(Shape(latency=0.5))
    way.take(b"last words")
    way.take(Mark.RESET)
    await asyncio.sleep(1)

    assert target.got == [(0.5, b"last words"), (0.5, "rst")]
