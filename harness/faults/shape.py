"""How one direction of a connection treats bytes: when they arrive, and in which pieces. Pure; time is handed in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SEGMENT = 1448
"""Bytes of a piece where only a bandwidth is set: a segment of Ethernet, as the simulated network has them."""
PIECES_PER_SECOND = 100
"""At most, where only a bandwidth is set: a fast link need not be cut finer than anybody could see."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The qualities of one direction.

    Attributes:
        latency: seconds that everything takes, the end of the stream too.
        jitter: what each piece may take longer, drawn evenly; the order is kept.
        bytes_per_second: bandwidth; 0: without limit.
        slice_bytes: average length of the pieces; 0: as they come.
        slice_variation: by how much their length differs from that, at most.
        slice_seconds: between one piece and the next.
        slow_close: seconds by which the end of the stream comes later.
    """

    latency: float = 0.0
    jitter: float = 0.0
    bytes_per_second: float = 0.0
    slice_bytes: int = 0
    slice_variation: int = 0
    slice_seconds: float = 0.0
    slow_close: float = 0.0

    @property
    def longest(self) -> int:
        """The longest piece that everything else is to be cut to, in bytes; 0: as it comes."""
        if self.slice_bytes or not self.bytes_per_second:
            return 0
        return max(SEGMENT, int(self.bytes_per_second / PIECES_PER_SECOND))


PLAIN = Shape()
"""Bytes go through as they come."""


class Shaper:
    """Says when what one direction sends arrives.

    Args:
        chance: for jitter and the length of slices.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._free_at = 0.0  # when the last byte has left
        self._last = 0.0  # when the last piece arrives

    def pieces(self, shape: Shape, data: bytes) -> Iterator[bytes]:
        """Cut bytes as this shape has it."""
        at = 0
        while at < len(data):
            size = self._length(shape) or len(data)
            yield data[at : at + size]
            at += size

    def arrival(self, shape: Shape, now: float, size: int) -> float:
        """Return when a piece of this size arrives that is sent now, behind all that was sent before."""
        leaves = max(now, self._free_at)
        if shape.bytes_per_second:
            leaves += size / shape.bytes_per_second
        self._free_at = leaves + shape.slice_seconds if shape.slice_bytes else leaves
        return self._behind(leaves + self._delay(shape))

    def end(self, shape: Shape, now: float) -> float:
        """Return when the end of the stream arrives that is sent now."""
        return self._behind(max(now, self._free_at) + self._delay(shape) + shape.slow_close)

    def _delay(self, shape: Shape) -> float:
        return shape.latency + (self._chance.random() * shape.jitter if shape.jitter else 0.0)

    def _behind(self, at: float) -> float:
        self._last = max(self._last, at)
        return self._last

    def _length(self, shape: Shape) -> int:
        if not shape.slice_bytes:
            return shape.longest
        variation = shape.slice_variation
        return max(1, shape.slice_bytes + (self._chance.randint(-variation, variation) if variation else 0))
