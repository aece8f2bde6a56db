"""A spoken reply: its frames around the audio, and the pace of its packets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.config import SpeechConfig
from gateway.device.outbox import Sent
from gateway.observe.events import SpeechEnded
from gateway.protocol.messages import Tts
from gateway.speech.recognizers import Sentence, Speaker, Spoken, Utterance

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.device.channel import Channel
    from gateway.device.session import Session

TEXT_CHARACTERS = 1000
"""Of the text of an utterance or a sentence: as JSON at worst 6 KB, which a device's 8 KB frame has room for."""

_END = Sentence("")  # told from any sentence of a speaker by identity
_JITTER = 0.12  # two packets, as the original server waits: the last ones may travel longer than the frame after them


class Pacer:
    """When packets may leave: ``ahead`` of them at once, then one per ``interval``; pure, it is given the time.

    Deadlines are absolute, so a late wake-up is caught up with and nothing drifts. The clock is the listener's: packet
    *n* is heard *n* intervals after the first. A packet that comes so late that the listener has run dry begins a new
    count, for the listener's playback shifts just so. Hence the device never holds more than ``ahead`` packets, however
    late the speaker or the loop may be.

    Args:
        ahead: packets that may be sent before they are due to be heard; at least 1.
        interval: duration of one packet in seconds.
    """

    __slots__ = ("_ahead", "_count", "_interval", "_start")

    def __init__(self, ahead: int, interval: float) -> None:
        self._ahead = ahead
        self._interval = interval
        self._start: float | None = None
        self._count = 0

    def due(self, now: float) -> float:
        """When the next packet, which is there now, may leave: a time not after ``now`` means at once."""
        if self._start is None or now > self._start + self._count * self._interval:
            self.restart(now)
        assert self._start is not None
        return self._start + max(0, self._count - self._ahead + 1) * self._interval

    def sent(self) -> None:
        """The packet that `due` was asked for has left."""
        self._count += 1

    def restart(self, now: float) -> None:
        """Begin a new count: whoever listens has nothing any more."""
        self._start = now
        self._count = 0

    def heard(self) -> float | None:
        """When the last packet will have been heard; None where there was none."""
        return None if self._start is None else self._start + self._count * self._interval


class Speech:
    """One reply to one device: ``tts start``, sentences and packets at their pace, ``tts stop``.

    ``start`` and ``stop`` are sent exactly once each, the stop at the latest when `run` ends, whatever happens.
    On a handover the rest of the reply moves to the newer connection: the next piece is preceded there by ``tts start``
    and the sentence it belongs to, since a device that has reconnected plays nothing before it, and by as much audio
    ahead as in the beginning, since what was ahead went down with the older one. That connection gets the stop.

    Attributes:
        over: ``tts stop`` has been sent, or there is nobody left to send it to.
    """

    __slots__ = (
        "_config",
        "_pacer",
        "_packets",
        "_sentence",
        "_session",
        "_speaker",
        "_started_on",
        "_utterance",
        "over",
    )

    def __init__(self, session: Session, speaker: Speaker, utterance: Utterance, config: SpeechConfig) -> None:
        self._session = session
        self._speaker = speaker
        self._utterance = utterance
        self._config = config
        frame_duration = speaker.audio(session.hello.audio_params).frame_duration
        self._pacer = Pacer(config.audio_ahead, frame_duration / 1000)
        self._sentence: str | None = None
        self._started_on: Channel | None = None
        self._packets = 0
        self.over = False

    def start(self) -> None:
        """Send ``tts start``: the device stops listening, and plays what comes. Once, before `run`."""
        self._started_on = self._session.channel
        self._session.send_json(Tts("start"))

    async def run(self) -> None:
        """Speak to the end, or until `stop`; raises what the speaker raises, after ``tts stop``.

        Raises:
            TimeoutError: the speaker took longer than `speech.recognition_timeout` for one piece.
        """
        stream = self._speaker.speak(self._session.device, self._utterance)
        try:
            while (piece := await self._next(stream)) is not _END and not self.over:
                await self._say(piece)
            await self._heard()
            self._end(complete=self._session.channel is self._started_on)
        finally:
            self._end(complete=False)
            await _close(stream)

    def stop(self) -> None:
        """Stop now: waiting audio is dropped and ``tts stop`` sent, before this returns; idempotent."""
        self._end(complete=False)

    def abandon(self) -> None:
        """The device is gone: nobody needs to be told to stop; idempotent."""
        self._started_on = None
        self._end(complete=False)

    async def _next(self, stream: AsyncIterator[Spoken]) -> Spoken:
        async with asyncio.timeout(self._config.recognition_timeout):
            return await anext(stream, _END)

    async def _say(self, piece: Spoken) -> None:
        if isinstance(piece, Sentence):
            self._sentence = piece.text[:TEXT_CHARACTERS]
            if not self._follow():
                self._show_sentence()
            return
        await _sleep_until(self._pacer.due(_now()))
        if self.over:
            return
        self._follow()
        if self._session.send_audio(piece) is not Sent.FAILED:
            self._packets += 1
        self._pacer.sent()

    def _follow(self) -> bool:
        """Begin anew on the connection that owns the route, if it is not the one that was told; whether it was not."""
        if self._session.channel is self._started_on:
            return False
        self.start()
        self._show_sentence()
        self._pacer.restart(_now())
        return True

    def _show_sentence(self) -> None:
        if self._sentence is not None:
            self._session.send_json(Tts("sentence_start", self._sentence))

    async def _heard(self) -> None:
        """Wait until the device has played what it was sent: ``tts stop`` makes older firmware clear its queue."""
        heard = self._pacer.heard()
        if heard is not None and not self.over:
            await _sleep_until(heard + _JITTER)

    def _end(self, *, complete: bool) -> None:
        if self.over:
            return
        self.over = True
        session = self._session
        if self._started_on is session.channel:
            if not complete:
                session.channel.drop_audio()
            session.send_json(Tts("stop"))
        session.observers.emit(
            SpeechEnded(device=session.device, session=session.id, packets=self._packets, complete=complete)
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _sleep_until(when: float) -> None:
    delay = when - _now()
    if delay > 0:
        await asyncio.sleep(delay)


async def _close(stream: AsyncIterator[Spoken]) -> None:
    close = getattr(stream, "aclose", None)  # generators have it, other iterators need not
    if close is not None:
        await close()
