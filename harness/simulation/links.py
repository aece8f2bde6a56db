"""The way of segments from one host to another."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Fragment: TypeAlias = Literal["joined", "as_written", "random", "byte"]
"""How the reader gets what was sent: as a kernel gives it (what has arrived is read as one); one read for each write,
or for each segment of it; the same with segments of chance lengths; the same with single bytes."""

_ATTEMPTS = 8  # to get a segment through a lossy link; one that is lost more often than that is a link that is down


@dataclass(frozen=True, kw_only=True)
class Slices:
    """A way to cut what is sent, and to spread it.

    Attributes:
        average: bytes of a segment; each is one read.
        variation: bytes by which its length differs from that, at most, drawn evenly.
        seconds: between one segment and the next.
    """

    average: int
    variation: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Link:
    """One direction between two hosts.

    Attributes:
        latency: seconds that every segment takes.
        jitter: what each may take longer, drawn evenly; the order of a connection is kept.
        bandwidth: bytes a second, shared by all connections of the direction, as the pauses of `Slices` are; 0: without
            limit.
        loss: the chance of a segment to be lost; as TCP sends it anew, it comes later.
        fragment: how it is cut.
        slow_close: seconds by which the end of a stream comes later.
    """

    latency: float = 0.0005  # a switched LAN, with its two kernels
    jitter: float = 0.0
    bandwidth: float = 0.0
    loss: float = 0.0
    fragment: Fragment | Slices = "joined"
    slow_close: float = 0.0


class Powered(Protocol):
    """A host, as far as its network cable is concerned."""

    @property
    def powered(self) -> bool:
        """Whether it is on."""
        ...


class Path:
    """One direction between two hosts, as it is now.

    Attributes:
        link: its qualities; may be set at any time, and counts for what is sent from then on.
        up: whether segments get through; one that is on its way when this changes is lost as well.
    """

    def __init__(self, link: Link, source: Powered, target: Powered, chance: random.Random) -> None:
        self.link = link
        self.up = True
        self._source = source
        self._target = target
        self._chance = chance
        self._free_at = 0.0  # when the last byte has left

    @property
    def passable(self) -> bool:
        """Whether what arrives now arrives."""
        return self.up and self._target.powered and self._source.powered

    def delay(self) -> float:
        """Draw the seconds that a segment without data takes."""
        jitter = self.link.jitter
        return self.link.latency + (self._chance.random() * jitter if jitter else 0.0)

    def arrival(self, now: float, size: int, retransmission: float) -> float:
        """Draw when a segment arrives that is sent now."""
        link = self.link
        pause = link.fragment.seconds if size and isinstance(link.fragment, Slices) else 0.0
        if link.bandwidth or pause:
            now = max(now, self._free_at) + (size / link.bandwidth if link.bandwidth else 0.0)
            self._free_at = now + pause
        now += self.delay()
        for attempt in range(_ATTEMPTS):
            if not self.loses():
                break
            now += retransmission * 2**attempt
        return now

    def loses(self) -> bool:
        """Draw whether one segment is lost."""
        return self.link.loss > 0 and self._chance.random() < self.link.loss

    def cut(self, longest: int) -> int:
        """Draw the length of a segment that may be so long."""
        fragment = self.link.fragment
        if isinstance(fragment, Slices):
            drawn = fragment.average + self._chance.randint(-fragment.variation, fragment.variation)
            return max(1, min(longest, drawn))
        if fragment == "byte":
            return 1
        return self._chance.randint(1, longest) if fragment == "random" else longest
