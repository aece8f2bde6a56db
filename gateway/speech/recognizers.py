"""What a speech engine implements, and the loopback that stands in for one.

Two halves, which may come from two makers: a `Recognizer` hears (audio in, text out), a `Speaker` answers (text in,
audio out). What is said in answer, by a language model or a table, is the speaker's business too: it is given what was
heard, and what it yields is spoken.

For both halves:

- All calls come in the loop's thread. What computes belongs behind ``loop.run_in_executor``, or in another process:
  an engine that holds the loop, or the interpreter lock, delays every device.
- Any exception may be raised. The device then gets ``error`` INTERNAL_ERROR, after ``tts stop`` if its speech had
  begun; the traceback goes to the log; the utterance is over and the connection stays. `PoolBusy` is the exception
  that says that there is no room just now: the device gets ``error`` BUSY, and no traceback is logged.
- One engine serves all devices; what belongs to one utterance belongs into what `begin` or `speak` returns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeAlias

import msgspec

from gateway.identity import DeviceId
from gateway.protocol.messages import AudioParams

# --- hearing ------------------------------------------------------------------------------------------------------


class Hearing(Protocol):
    """One utterance being heard: `feed` any number of times, then `finish` or `cancel`.

    It ends in one of two ways: `finish` returned, or `cancel` was called (and then `finish` is not called any more, or
    its coroutine has been cancelled). After `feed` or `finish` has raised, `cancel` follows.
    """

    def feed(self, packet: bytes) -> bool | None:
        """Take the next Opus packet, in order of arrival; packets that the network lost are simply not there.

        Must return at once: put the packet where the engine finds it, and decode elsewhere.

        Returns:
            True, from now on, when the speaker seems to have stopped speaking. In ``auto`` and ``realtime`` mode,
            where the device streams on and never says ``listen stop``, that ends the utterance; it is ignored in
            ``manual`` mode, where a person's finger says when, and while an earlier utterance is being recognized.
            None or False, always, for an engine that does not listen for silence.
        """
        ...

    async def finish(self) -> str:
        """Return the text that was heard; empty where nothing was, and the device then gets no reply at all.

        Called once. Cancelled after `speech.recognition_timeout` seconds, which counts as a failure, and when the
        device gives up or goes.
        """
        ...

    def cancel(self) -> None:
        """Give up and let go of what the utterance holds; called once at most, and not after `finish` returned."""
        ...


class Recognizer(Protocol):
    """Hears utterances, any number of them at a time."""

    def begin(self, device: DeviceId, audio: AudioParams) -> Hearing:
        """Begin an utterance of a device; must return at once.

        Args:
            device: who speaks.
            audio: what its packets are, as it said in its hello. A device that reconnects while it speaks goes on in
                the same hearing.
        """
        ...


# --- speaking -----------------------------------------------------------------------------------------------------


class Utterance(msgspec.Struct, frozen=True):
    """What a device said, as it is handed to the speaker.

    Attributes:
        text: what was heard, or typed; never empty.
        packets: the Opus packets it was heard from, in order, as far as they were kept: the first
            `gateway.speech.dictation.KEPT_BYTES` of them. Empty for typed text.
        audio: what the device's own audio is, as it said in its hello.
    """

    text: str
    packets: tuple[bytes, ...] = ()
    audio: AudioParams = AudioParams()


class Sentence(msgspec.Struct, frozen=True):
    """A sentence begins: its text is shown by the device while the packets that follow are heard."""

    text: str


Spoken: TypeAlias = Sentence | bytes
"""A piece of speech: the beginning of a sentence, or one Opus packet of the duration that `Speaker.audio` tells."""


class Speaker(Protocol):
    """Answers utterances with speech."""

    def audio(self, client: AudioParams) -> AudioParams:
        """Say what the downlink audio will be, for a device whose own audio is ``client``; it is told at hello.

        Constant for equal arguments: the pace of the packets is taken from it, too.
        """
        ...

    def speak(self, device: DeviceId, utterance: Utterance) -> AsyncIterator[Spoken]:
        """Answer: yield sentences and packets in the order in which they are to be heard; typically a generator.

        It may run ahead of what is heard as far as it likes (it is asked for the next piece when that is due), and may
        be late: playback then shifts. A piece that takes longer than `speech.recognition_timeout` counts as failure.
        The iterator is closed (``aclose``, where it has one) when the speech ends, is aborted, or its device goes.
        No packet is the reply of a speaker that has only text; nothing at all is a reply, too.
        """
        ...


# --- the loopback -------------------------------------------------------------------------------------------------


class LoopbackRecognizer:
    """Says how much it heard, not what: proves the way of the audio without an engine. The default.

    Args:
        end_after: seconds of audio after which it claims that the speaker has stopped, for devices that never say
            ``listen stop`` (stock firmware in its default mode); None: never.
    """

    def __init__(self, end_after: float | None = None) -> None:
        self._end_after = end_after

    def begin(self, device: DeviceId, audio: AudioParams) -> Hearing:  # noqa: ARG002 - all devices are the same to it
        """Begin counting packets."""
        return _Counting(audio.frame_duration, self._end_after)


class _Counting:
    """Counts packets, and believes what the hello said about their duration."""

    def __init__(self, frame_duration: int, end_after: float | None) -> None:
        self._frame_duration = frame_duration
        self._end_after = end_after
        self._packets = 0

    @property
    def _seconds(self) -> float:
        return self._packets * self._frame_duration / 1000

    def feed(self, packet: bytes) -> bool:  # noqa: ARG002 - it is there, that is enough
        self._packets += 1
        return self._end_after is not None and self._seconds >= self._end_after

    async def finish(self) -> str:
        return f"heard {self._packets} packets, {self._seconds:.1f} s" if self._packets else ""

    def cancel(self) -> None:
        """Nothing is held."""


class LoopbackSpeaker:
    """Replays what it heard as one sentence, whose text is what was heard. The default."""

    def audio(self, client: AudioParams) -> AudioParams:
        """What comes back is what was sent, so it has the same parameters."""
        return client

    async def speak(self, device: DeviceId, utterance: Utterance) -> AsyncIterator[Spoken]:  # noqa: ARG002 - as above
        """Yield the one sentence, then the packets."""
        yield Sentence(utterance.text)
        for packet in utterance.packets:
            yield packet
