"""Tests of gateway.speech.speaking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import SpeechConfig
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.observe.events import Event, Observers, SpeechEnded
from gateway.protocol.messages import AudioParams
from gateway.speech.recognizers import Sentence, Spoken, Utterance
from gateway.speech.speaking import TEXT_CHARACTERS, Pacer, Speech
from tests.speech.stage import DEVICE, INTERVAL, FakeChannel, FakeSpeaker, now, packets, turns
from tests.virtual_time import hold, timers, virtual_time

JITTER = 0.12  # after the last packet has been heard, before tts stop


class Reply:
    """One speech on a fake connection."""

    def __init__(self, speaker: Any, **config: Any) -> None:
        self.events: list[Event] = []
        self.channel = FakeChannel("first")
        self.session = Session(DEVICE, self.channel, Observers([self.events.append]), now())  # type: ignore[arg-type]
        self.speech = Speech(self.session, speaker, Utterance("what was heard"), SpeechConfig(**config))
        self.speech.start()

    def begin(self) -> asyncio.Task[None]:
        """Run it beside the test."""
        return asyncio.get_running_loop().create_task(self.speech.run())

    def reconnect(self) -> FakeChannel:
        """A newer connection takes the route."""
        channel = FakeChannel("second")
        self.session.channel = channel  # type: ignore[assignment]
        return channel

    @property
    def ended(self) -> list[tuple[int, bool]]:
        """What was recorded of its end: packets, and whether it was complete."""
        return [(event.packets, event.complete) for event in self.events if isinstance(event, SpeechEnded)]


def paced(count: int, start: float = 0.0, ahead: int = 5) -> list[float]:
    """When packets must leave that are all there at the start."""
    return [start + max(0, number - ahead + 1) * INTERVAL for number in range(count)]


class TestPacer:
    """Deadlines, without a loop."""

    def test_ahead_then_one_per_interval(self) -> None:
        """As many as may be ahead at once, then one per interval."""
        pacer = Pacer(3, 1.0)
        due = []
        for _ in range(6):
            due.append(pacer.due(100.0))
            pacer.sent()
        assert due == [100.0, 100.0, 100.0, 101.0, 102.0, 103.0]

    def test_one_ahead_is_none_ahead(self) -> None:
        """With one packet ahead each leaves when it is to be heard."""
        pacer = Pacer(1, 1.0)
        due = []
        for moment in (0.0, 0.0, 1.0, 2.0):
            due.append(pacer.due(moment))
            pacer.sent()
        assert due == [0.0, 1.0, 2.0, 3.0]

    def test_late_wake_up_is_caught_up_with(self) -> None:
        """As long as the listener has audio, lateness shifts nothing: the deadlines are those of the beginning."""
        pacer = Pacer(3, 1.0)
        for _ in range(3):
            pacer.due(0.0)
            pacer.sent()
        due = []
        for _ in range(4):
            due.append(pacer.due(2.9))
            pacer.sent()
        assert due == [1.0, 2.0, 3.0, 4.0]

    def test_starved_listener_begins_anew(self) -> None:
        """Past the point where the listener ran dry, the count begins at the packet that is there now."""
        pacer = Pacer(3, 1.0)
        for _ in range(3):
            pacer.due(0.0)
            pacer.sent()
        due = []
        for _ in range(5):
            due.append(pacer.due(60.0))
            pacer.sent()
        assert due == [60.0, 60.0, 60.0, 61.0, 62.0]

    def test_heard(self) -> None:
        """The last packet has been heard one interval after its turn, wherever the count began."""
        pacer = Pacer(2, 1.0)
        assert pacer.heard() is None
        pacer.due(10.0)
        pacer.sent()
        assert pacer.heard() == 11.0
        pacer.restart(20.0)
        pacer.due(20.0)
        pacer.sent()
        assert pacer.heard() == 21.0

    @settings(deadline=None)
    @given(st.integers(1, 8), st.lists(st.floats(0, 5), min_size=1, max_size=60))
    def test_never_more_ahead_than_allowed(self, ahead: int, late: list[float]) -> None:
        """However late packets and wake-ups are, the listener never holds more than ``ahead`` packets."""
        pacer = Pacer(ahead, 1.0)
        moment = played_until = 0.0
        for lateness in late:
            moment += lateness
            moment = max(moment, pacer.due(moment))
            pacer.sent()
            # the listener plays one packet after the other, and the next one when it comes
            played_until = max(played_until, moment) + 1.0
            assert played_until - moment <= ahead + 1e-9


class TestPace:
    """Packets on the wire, in virtual time."""

    @virtual_time
    async def test_send_times(self) -> None:
        """Five at once, then one each 60 ms; the stop when all has been heard, and a little more."""
        reply = Reply(FakeSpeaker(*packets(8)))
        await reply.speech.run()
        assert reply.channel.audio == packets(8)
        assert reply.channel.audio_times == pytest.approx(paced(8), abs=1e-6)
        assert reply.channel.when("tts stop") == pytest.approx([8 * INTERVAL + JITTER], abs=1e-6)
        assert reply.ended == [(8, True)]

    @pytest.mark.parametrize("ahead", [1, 40])
    def test_audio_ahead_is_configured(self, ahead: int) -> None:
        """Both ends of what may be configured."""

        @virtual_time
        async def run() -> None:
            reply = Reply(FakeSpeaker(*packets(50)), audio_ahead=ahead)
            await reply.speech.run()
            assert reply.channel.audio_times == pytest.approx(paced(50, ahead=ahead), abs=1e-6)

        run()

    @virtual_time
    async def test_no_drift_over_1000_packets(self) -> None:
        """The thousandth packet is as punctual as the tenth, though each wake-up came late."""
        reply = Reply(FakeSpeaker(*packets(1000)))
        channel, times = reply.channel, []

        def send_audio(packet: bytes) -> Sent:
            times.append(now())
            hold(0.007)
            return Sent.WRITTEN

        channel.send_audio = send_audio  # type: ignore[method-assign]
        await reply.speech.run()
        late = [at - due for at, due in zip(times, paced(1000), strict=True)]
        assert len(times) == 1000
        assert max(late) < 5 * 0.007
        assert late[-1] < 0.008

    @virtual_time
    async def test_frame_duration_is_the_speakers(self) -> None:
        """The pace is that of the downlink audio, not of the device's own."""
        reply = Reply(FakeSpeaker(*packets(7), audio=AudioParams(frame_duration=20)))
        await reply.speech.run()
        assert reply.channel.audio_times == pytest.approx([0, 0, 0, 0, 0, 0.02, 0.04], abs=1e-6)

    @virtual_time
    async def test_late_speaker_shifts_playback(self) -> None:
        """After a pause in which the device ran dry, no more than five packets leave at once."""
        reply = Reply(FakeSpeaker(*packets(5), 3.0, *packets(60)))
        await reply.speech.run()
        assert reply.channel.audio_times == pytest.approx([0.0] * 5 + paced(60, start=3.0), abs=1e-6)

    @virtual_time
    async def test_short_pause_shifts_nothing(self) -> None:
        """While the device still has audio, a pause of the speaker is caught up with."""
        reply = Reply(FakeSpeaker(*packets(5), 0.2, *packets(5)))
        await reply.speech.run()
        expected = [0.0] * 5 + [0.2, 0.2, 0.2, 0.24, 0.3]
        assert reply.channel.audio_times == pytest.approx(expected, abs=1e-6)

    @virtual_time
    async def test_slow_reader_does_not_change_the_pace(self) -> None:
        """The clock paces, not the socket: what a connection says of its queue changes nothing but the count."""
        reply = Reply(FakeSpeaker(*packets(8)))
        reply.channel.result = Sent.QUEUED
        await reply.speech.run()
        assert reply.channel.audio_times == pytest.approx(paced(8), abs=1e-6)
        assert reply.ended == [(8, True)]

    @virtual_time
    async def test_failed_sends_are_not_counted(self) -> None:
        """What no connection took has not been spoken."""
        reply = Reply(FakeSpeaker(*packets(3)))
        reply.channel.result = Sent.FAILED
        await reply.speech.run()
        assert reply.ended == [(0, True)]


class TestFrames:
    """What stands around the audio."""

    @virtual_time
    async def test_sentences_stand_before_their_audio(self) -> None:
        """Each sentence is shown when its first packet is due to leave, in the speaker's order."""
        reply = Reply(FakeSpeaker(Sentence("one"), b"1", b"2", Sentence("two"), b"3"))
        await reply.speech.run()
        assert reply.channel.said == [
            "tts start",
            "tts sentence_start one",
            "audio",
            "tts sentence_start two",
            "audio",
            "tts stop",
        ]

    @virtual_time
    async def test_text_alone(self) -> None:
        """A speaker that has only text is done at once."""
        reply = Reply(FakeSpeaker(Sentence("one"), Sentence("two")))
        await reply.speech.run()
        assert reply.channel.said == ["tts start", "tts sentence_start one", "tts sentence_start two", "tts stop"]
        assert now() == 0
        assert reply.ended == [(0, True)]

    @virtual_time
    async def test_nothing_at_all(self) -> None:
        """A speaker with nothing to say still lets the device go on."""
        reply = Reply(FakeSpeaker())
        await reply.speech.run()
        assert reply.channel.said == ["tts start", "tts stop"]

    @virtual_time
    async def test_long_sentence_is_cut(self) -> None:
        """A sentence fits a device's frame, however long the speaker makes it."""
        reply = Reply(FakeSpeaker(Sentence("x" * (TEXT_CHARACTERS + 1))))
        await reply.speech.run()
        assert reply.channel.said[1] == "tts sentence_start " + "x" * TEXT_CHARACTERS


class TestStop:
    """Speech that is cut short."""

    @virtual_time
    async def test_stop_in_the_middle(self) -> None:
        """The stop is on the wire before the call returns; waiting audio is dropped, and no more comes."""
        speaker = FakeSpeaker(*packets(100))
        reply = Reply(speaker)
        task = reply.begin()
        await asyncio.sleep(1.0)
        sent = len(reply.channel.audio)
        reply.speech.stop()
        assert reply.channel.said[-2:] == ["drop", "tts stop"]
        assert reply.channel.when("tts stop") == [now()]
        reply.speech.stop()
        task.cancel()
        await asyncio.wait([task])
        assert len(reply.channel.audio) == sent == 5 + 16
        assert reply.channel.said.count("tts stop") == 1
        assert reply.ended == [(sent, False)]
        assert speaker.closed == 1
        assert timers() == []

    @virtual_time
    async def test_stop_before_the_first_packet(self) -> None:
        """A speech whose task has not run yet is stopped all the same."""
        reply = Reply(FakeSpeaker(*packets(3)))
        task = reply.begin()
        reply.speech.stop()
        task.cancel()
        await asyncio.wait([task])
        assert reply.channel.said == ["tts start", "drop", "tts stop"]

    @virtual_time
    async def test_stop_while_the_last_packets_are_heard(self) -> None:
        """Until its audio has been heard, a speech can be stopped."""
        reply = Reply(FakeSpeaker(*packets(3)))
        task = reply.begin()
        await asyncio.sleep(0.1)
        reply.speech.stop()
        task.cancel()
        await asyncio.wait([task])
        assert reply.channel.when("tts stop") == [pytest.approx(0.1)]
        assert reply.ended == [(3, False)]

    @virtual_time
    async def test_cancelled_task_stops_the_speech(self) -> None:
        """Whoever owns the task may cancel it: the device is told."""
        reply = Reply(FakeSpeaker(*packets(100)))
        task = reply.begin()
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert reply.channel.said == ["tts start", "audio", "drop", "tts stop"]
        assert len(reply.ended) == 1

    @virtual_time
    async def test_abandoned_speech_tells_nobody(self) -> None:
        """When the device is gone, there is nobody to send a stop to."""
        reply = Reply(FakeSpeaker(*packets(100)))
        task = reply.begin()
        await asyncio.sleep(0.5)
        reply.speech.abandon()
        task.cancel()
        await asyncio.wait([task])
        assert reply.channel.said == ["tts start", "audio"]
        assert [complete for _, complete in reply.ended] == [False]

    @virtual_time
    async def test_speaker_that_ignores_its_cancellation(self) -> None:
        """A speaker that swallows the cancellation and speaks on is not heard."""

        class Stubborn(FakeSpeaker):
            async def speak(self, device: Any, utterance: Any) -> AsyncIterator[Spoken]:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    yield Sentence("still here")
                    yield b"still here"

        reply = Reply(Stubborn())
        task = reply.begin()
        await asyncio.sleep(1.0)
        reply.speech.stop()
        task.cancel()
        await asyncio.wait([task])
        assert reply.channel.said == ["tts start", "drop", "tts stop"]

    @virtual_time
    async def test_iterator_without_aclose(self) -> None:
        """A speaker may return any asynchronous iterator."""

        class Pieces:
            def __init__(self) -> None:
                self.left: list[Spoken] = [b"2", b"1"]

            def __aiter__(self) -> Pieces:
                return self

            async def __anext__(self) -> Spoken:
                if not self.left:
                    raise StopAsyncIteration
                return self.left.pop()

        speaker = FakeSpeaker()
        speaker.speak = lambda device, utterance: Pieces()  # type: ignore[method-assign, assignment]
        reply = Reply(speaker)
        await reply.speech.run()
        assert reply.channel.audio == [b"1", b"2"]


class TestFailures:
    """Speakers that fail."""

    @virtual_time
    async def test_exception_in_the_middle(self) -> None:
        """The device is told to stop before the exception gets out."""
        reply = Reply(FakeSpeaker(b"1", RuntimeError("broken")))
        with pytest.raises(RuntimeError, match="broken"):
            await reply.speech.run()
        assert reply.channel.said == ["tts start", "audio", "drop", "tts stop"]
        assert reply.ended == [(1, False)]

    @virtual_time
    async def test_speaker_that_hangs(self) -> None:
        """A piece that does not come in time is a failure; the pieces before each had their own time."""
        speaker = FakeSpeaker(b"1", 9.0, b"2", 9.0, b"3", 11.0, b"4")
        reply = Reply(speaker, recognition_timeout=10.0)
        with pytest.raises(TimeoutError):
            await reply.speech.run()
        assert reply.channel.audio == [b"1", b"2", b"3"]
        assert reply.channel.when("tts stop") == [pytest.approx(28.0)]
        assert speaker.closed == 1

    @virtual_time
    async def test_packet_that_cannot_be_framed(self) -> None:
        """An empty packet is the speaker's failure, not a frame on the wire."""
        reply = Reply(FakeSpeaker(b"1", b"", b"2"))
        with pytest.raises(ValueError, match="no bytes"):
            await reply.speech.run()
        assert reply.channel.audio == [b"1"]
        assert reply.channel.said[-1] == "tts stop"


class TestHandover:
    """A newer connection in the middle of a speech."""

    @virtual_time
    async def test_rest_is_heard_on_the_newer_connection(self) -> None:
        """The next packet is preceded there by start and sentence, and by as much audio ahead as in the beginning."""
        reply = Reply(FakeSpeaker(Sentence("one"), *packets(30)))
        task = reply.begin()
        await asyncio.sleep(0.5)
        old, new = reply.channel, reply.reconnect()
        await task
        assert old.said == ["tts start", "tts sentence_start one", "audio"]
        assert new.said == ["tts start", "tts sentence_start one", "audio", "tts stop"]
        assert old.audio + new.audio == packets(30)
        moved = new.audio_times[0]
        assert 0.5 <= moved <= 0.5 + INTERVAL
        assert new.audio_times == pytest.approx(paced(len(new.audio), start=moved), abs=1e-6)
        assert new.when("tts stop") == pytest.approx([moved + len(new.audio) * INTERVAL + JITTER], abs=1e-6)
        assert reply.ended == [(30, True)]

    @virtual_time
    async def test_sentence_first_on_the_newer_connection(self) -> None:
        """Where a sentence begins just then, it is not preceded by the one before."""
        reply = Reply(FakeSpeaker(Sentence("one"), b"1", 1.0, Sentence("two"), b"2"))
        task = reply.begin()
        await asyncio.sleep(0.5)
        new = reply.reconnect()
        await task
        assert new.said == ["tts start", "tts sentence_start two", "audio", "tts stop"]

    @virtual_time
    async def test_handover_when_all_has_been_sent(self) -> None:
        """With nothing left to hear, the newer connection is told nothing; the end of the speech was lost."""
        reply = Reply(FakeSpeaker(*packets(5)))
        task = reply.begin()
        await asyncio.sleep(0.1)
        new = reply.reconnect()
        await task
        assert new.said == []
        assert reply.ended == [(5, False)]

    @virtual_time
    async def test_stop_before_the_newer_connection_was_told(self) -> None:
        """No stop without a start: a connection that was never told to speak is not told to stop."""
        reply = Reply(FakeSpeaker(b"1", 5.0, b"2"))
        task = reply.begin()
        await asyncio.sleep(1.0)
        new = reply.reconnect()
        reply.speech.stop()
        task.cancel()
        await asyncio.wait([task])
        await turns()
        assert new.said == []
