"""What waits to be written to one device: a control lane above an audio lane, both bounded."""

from __future__ import annotations

from collections import deque
from enum import Enum


class Sent(Enum):
    """What became of one message given to a connection.

    ``WRITTEN``: it goes to the transport by the end of this turn of the loop, unless the connection is aborted or lost
    before that. ``QUEUED``: it waits behind a peer that reads slowly. ``FAILED``: the connection is closed, closing,
    retired or over its budget; the message is gone. None of them says that the peer has it: that takes an
    acknowledgement.
    """

    WRITTEN = "written"
    QUEUED = "queued"
    FAILED = "failed"


class Outbox:
    """Frames that wait for a socket to take them; pure, no I/O.

    Control frames (text, close, pong) go before audio. The control lane refuses when full (the caller closes the
    connection: a peer that lets 256 messages pile up is not reading). The audio lane drops its oldest packet when
    full, since late audio is worth less than new audio.
    """

    __slots__ = ("_audio", "_audio_size", "_control", "_control_size", "dropped_audio", "size")

    def __init__(self, control_lane: int, audio_lane: int) -> None:
        self._control: deque[bytes] = deque()
        self._audio: deque[bytes] = deque()
        self._control_size = control_lane
        self._audio_size = audio_lane
        self.size = 0
        """Bytes in both lanes."""
        self.dropped_audio = 0
        """Audio frames dropped for lack of room, since the connection began."""

    def __len__(self) -> int:
        return len(self._control) + len(self._audio)

    def put_control(self, frame: bytes) -> bool:
        """Queue a control frame; False, and nothing queued, when the lane is full."""
        if len(self._control) >= self._control_size:
            return False
        self._control.append(frame)
        self.size += len(frame)
        return True

    def put_audio(self, frame: bytes) -> bool:
        """Queue an audio frame; False when the oldest one had to be dropped for it."""
        kept = True
        if len(self._audio) >= self._audio_size:
            self.size -= len(self._audio.popleft())
            self.dropped_audio += 1
            kept = False
        self._audio.append(frame)
        self.size += len(frame)
        return kept

    def take(self, most: int) -> list[bytes]:
        """Take frames in order, control first, until ``most`` bytes are reached or passed, or nothing is left."""
        taken: list[bytes] = []
        size = 0
        for lane in (self._control, self._audio):
            while lane and size < most:
                frame = lane.popleft()
                taken.append(frame)
                size += len(frame)
        self.size -= size
        return taken

    def clear(self) -> None:
        """Drop everything: the socket is gone."""
        self._control.clear()
        self._audio.clear()
        self.size = 0

    def drop_audio(self) -> int:
        """Drop all waiting audio (speech was aborted) and return how many frames that were."""
        count = len(self._audio)
        self.size -= sum(map(len, self._audio))
        self._audio.clear()
        return count
