"""What a device of the model is like."""

from __future__ import annotations

import msgspec


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How a device behaves; times are seconds, drawn evenly between two.

    Attributes:
        acks: it acknowledges messages.
        ping_every: between two pings.
        patience: for a pong, after which it gives its connection up; it cannot know of a half-open one otherwise.
        pause: before it connects again.
        messages: how many it sends in all.
        writes_every: between two bursts of them.
        burst: messages in one, at most.
        unreceipted: messages without a receipt, past which it sends no more.
        restless: mean time after which it opens a second connection beside the first; 0: never.
        overlap: how long it still reads the first, from when it begins to open the second.
        reads: bytes a second that it reads at most; None: as fast as they come.
        letters: characters of its messages.
        storms: pings a second, beside those of its heartbeat; 0: none.
        writes_lists: it is the author of its group's task list.
        asks: it asks for snapshots, with all delays.
        meets: it is in a meeting, and sends snippets.
    """

    acks: bool = True
    ping_every: float = 4.0
    patience: float = 10.0
    pause: tuple[float, float] = (0.1, 2.0)
    messages: int = 20
    writes_every: tuple[float, float] = (0.1, 1.5)
    burst: int = 3
    unreceipted: int = 6
    restless: float = 0.0
    overlap: tuple[float, float] = (4.0, 4.0)  # as long as a replaced connection may be there, and more
    reads: float | None = None
    letters: int = 20
    storms: float = 0.0
    writes_lists: bool = False
    asks: bool = False
    meets: bool = False
