"""One utterance per device, whichever of its connections the frames arrive on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gateway.protocol import limits
from gateway.protocol.messages import AudioParams
from gateway.speech.recognizers import Hearing, Utterance

if TYPE_CHECKING:
    from gateway.device.channel import Channel

KEPT_BYTES = 128 * 1024
"""Of one utterance's audio, for speakers that want to hear it themselves: 40 s at the firmware's 24 kbit/s."""

Mode = Literal["auto", "manual", "realtime"]


class Dictation:
    """What one device is saying; pure, it is given the time and emits nothing.

    It belongs to the device, not to a connection. Audio is taken in order of arrival from each of its *sources*: the
    connection it began on and, from a handover on, the one that took over as well. When the newer one says ``listen
    start`` it has its microphone in hand, and the older stream is cut there; the utterance, and what the engine made of
    it so far, goes on.

    Args:
        channel: the connection it begins on.
        audio: what its packets are.
        mode: who ends it: ``manual`` the device, else the engine may.
        now: loop time.
        longest: seconds of audio that are taken.
        continued: it was not asked for by the device, but follows one that ended while the device may stream on.

    Attributes:
        audio: what its packets are.
        hearing: the engine's end of it; None before it has begun.
        heard_at: when a packet last came, taken or not.
        packets: how many were taken.
    """

    __slots__ = (
        "_heard_ms",
        "_kept",
        "_kept_size",
        "_longest_ms",
        "_sources",
        "_started_at",
        "_started_by",
        "audio",
        "continued",
        "heard_at",
        "hearing",
        "mode",
        "packets",
    )

    def __init__(
        self,
        channel: Channel,
        audio: AudioParams,
        mode: Mode,
        now: float,
        longest: float,
        *,
        continued: bool = False,
    ) -> None:
        self.hearing: Hearing | None = None
        self.audio = audio
        self.mode = mode
        self.continued = continued
        self.packets = 0
        self.heard_at = now
        self._sources = [channel]
        self._started_by = channel
        self._started_at = now
        self._heard_ms = 0
        self._longest_ms = longest * 1000
        self._kept: list[bytes] = []
        self._kept_size = 0

    def moved(self, channel: Channel) -> None:
        """A newer connection of the device took over: audio is taken from it, too.

        Of a third connection in one handover the oldest is aborted, so two sources are all there can be.
        """
        self._sources = [self._sources[-1], channel]

    def is_repeat(self, channel: Channel, now: float) -> bool:
        """Whether a ``listen start`` on a connection only repeats the one that began this utterance there."""
        return channel is self._started_by and now - self._started_at < limits.LISTEN_DEBOUNCE

    def taken_over(self, channel: Channel, mode: Mode, now: float) -> bool:
        """Whether a ``listen start`` is the first one of a connection that took over; then the others are cut."""
        if channel is self._started_by:
            return False
        self._started_by = channel
        self._started_at = now
        self.continued = False
        self._sources = [channel]
        self.mode = mode
        return True

    def refusal(self, channel: Channel) -> str | None:
        """Why audio of a connection is not taken: ``cut``, ``too_long``, or None if it is."""
        if channel not in self._sources:
            return "cut"
        if self._heard_ms + self.audio.frame_duration > self._longest_ms:
            return "too_long"
        return None

    def hear(self, packet: bytes) -> bool:
        """Take the next packet; whether the engine says that the speaker has stopped. Raises what the engine raises."""
        assert self.hearing is not None, "a packet before the engine has begun to hear"
        self.packets += 1
        self._heard_ms += self.audio.frame_duration
        self._keep(packet)
        return bool(self.hearing.feed(packet))

    def utterance(self, text: str) -> Utterance:
        """What was said, for the speaker."""
        return Utterance(text, tuple(self._kept), self.audio)

    def _keep(self, packet: bytes) -> None:
        # the beginning, without gaps: once one does not fit, none after it is kept
        self._kept_size += len(packet)
        if self._kept_size <= KEPT_BYTES:
            self._kept.append(packet)
