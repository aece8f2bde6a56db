"""Tests of gateway.speech.dialogue."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.errors import BadMessage, PoolBusy
from gateway.observe.events import AudioFrameDropped, DictationEnded, McpReceived, SpeechEnded, TaskFailed
from gateway.protocol.decoding import parse
from gateway.protocol.limits import DICTATION_SILENCE
from gateway.protocol.messages import AudioParams, Listen
from gateway.speech.recognizers import LoopbackRecognizer, LoopbackSpeaker, Sentence
from gateway.speech.speaking import TEXT_CHARACTERS
from tests.speech.stage import DEVICE, FakeChannel, FakeRecognizer, FakeSpeaker, Stage, packets, turns
from tests.virtual_time import VirtualTimeLoop, timers, virtual_time

TALK = [Sentence("talk"), *packets(100)]  # six seconds


def endings(stage: Stage) -> list[tuple[int, str]]:
    """How dictations ended: packets, and because of what."""
    return [(event.packets, event.because) for event in stage.of(DictationEnded)]


def drops(stage: Stage) -> list[str]:
    """Why frames were dropped."""
    return [event.why for event in stage.of(AudioFrameDropped)]


class TestWholeTurn:
    """Something said, something answered."""

    @virtual_time
    async def test_loopback(self) -> None:
        """The default engine: what was said comes back, with a text that counts it."""
        stage = Stage(LoopbackRecognizer(), LoopbackSpeaker())
        stage.listen("start")
        stage.audio(*packets(20))
        stage.listen("stop")
        await asyncio.sleep(10)
        text = "heard 20 packets, 1.2 s"
        assert stage.channel.said == [
            f"stt {text}",
            "tts start",
            f"tts sentence_start {text}",
            "audio",
            "tts stop",
        ]
        assert stage.channel.audio == packets(20)
        assert endings(stage) == [(20, "stop")]
        assert [(event.packets, event.complete) for event in stage.of(SpeechEnded)] == [(20, True)]
        await stage.close()

    @virtual_time
    async def test_engine_is_told_who_and_what(self) -> None:
        """The recognizer gets the device and its audio; the speaker gets the text, the packets and the audio."""
        audio = AudioParams(sample_rate=48000, frame_duration=20)
        recognizer, speaker = FakeRecognizer(), FakeSpeaker()
        stage = Stage(recognizer, speaker, audio)
        stage.listen("start")
        stage.audio(b"a", b"b")
        stage.listen("stop")
        await turns()
        assert recognizer.begun == [(DEVICE, audio)]
        (utterance,) = speaker.utterances
        assert (utterance.text, utterance.packets, utterance.audio) == ("ab", (b"a", b"b"), audio)
        await stage.close()

    @virtual_time
    async def test_nothing_heard_is_not_answered(self) -> None:
        """An empty text, or white space, is no reply at all, and no failure."""
        stage = Stage(FakeRecognizer(text=" \n"), FakeSpeaker(*TALK))
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await turns()
        assert stage.channel.said == []
        assert endings(stage) == [(1, "stop")]
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_text_fits_a_frame(self) -> None:
        """However much was said, the text shown fits the device's frame."""
        stage = Stage(FakeRecognizer(text="x" * 9000), FakeSpeaker())
        stage.listen("start")
        stage.listen("stop")
        await turns()
        assert stage.channel.said[0] == "stt " + "x" * TEXT_CHARACTERS
        await stage.close()

    @virtual_time
    async def test_busy_from_start_to_the_last_sound(self) -> None:
        """A drain waits while the device dictates, while the text is found, and while the reply is heard."""
        stage = Stage(FakeRecognizer(takes=2.0), FakeSpeaker(*packets(10)))
        assert not stage.busy
        stage.listen("start")
        stage.audio(b"a")
        assert stage.busy
        stage.listen("stop")
        await asyncio.sleep(1.0)
        assert stage.busy
        await asyncio.sleep(1.5)
        assert stage.busy
        await asyncio.sleep(1.0)
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_downlink_audio(self) -> None:
        """The hello answer tells what the speaker says."""
        audio = AudioParams(sample_rate=24000)
        stage = Stage(FakeRecognizer(), FakeSpeaker(audio=audio))
        assert stage.dialogue.downlink_audio(AudioParams()) == audio


class TestListen:
    """Starts, stops and their repeats."""

    @virtual_time
    async def test_start_repeated_within_300_ms(self) -> None:
        """A second start right behind the first changes nothing."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        await asyncio.sleep(0.29)
        stage.listen("start")
        stage.audio(b"b")
        assert len(recognizer.hearings) == 1
        assert recognizer.hearings[0].packets == [b"a", b"b"]
        await stage.close()

    @virtual_time
    async def test_start_later_begins_anew(self) -> None:
        """After 300 ms a start is meant: the utterance so far is given up."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        await asyncio.sleep(0.31)
        stage.listen("start")
        stage.audio(b"b")
        assert [hearing.packets for hearing in recognizer.hearings] == [[b"a"], [b"b"]]
        assert [hearing.cancelled for hearing in recognizer.hearings] == [1, 0]
        assert endings(stage) == [(1, "abort")]
        await stage.close()

    @virtual_time
    async def test_start_right_after_stop_is_no_repeat(self) -> None:
        """Start, stop, start in quick succession are two utterances; the first is given up."""
        recognizer = FakeRecognizer(takes=1.0)
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        stage.listen("start")
        stage.audio(b"b")
        assert [hearing.packets for hearing in recognizer.hearings] == [[b"a"], [b"b"]]
        assert endings(stage) == [(1, "abort")]
        await stage.close()

    @virtual_time
    async def test_stop_repeated(self) -> None:
        """The second stop finds nothing to end; one utterance, one reply."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        stage.listen("stop")
        await asyncio.sleep(0.1)
        stage.listen("stop")
        await turns()
        assert stage.channel.said == ["stt a", "tts start", "tts stop"]
        await stage.close()

    @virtual_time
    async def test_stop_without_start(self) -> None:
        """A stray stop is ignored."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("stop")
        await turns()
        assert (stage.channel.said, stage.events, recognizer.hearings) == ([], [], [])

    @virtual_time
    async def test_audio_without_dictation(self) -> None:
        """Audio before a start and behind a stop is dropped and counted."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.audio(b"early")
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        stage.audio(b"late")
        assert drops(stage) == ["no_dictation", "no_dictation"]
        await turns()
        assert stage.channel.said[0] == "stt a"
        await stage.close()

    @virtual_time
    async def test_longest_utterance(self) -> None:
        """Audio past the longest utterance is dropped; what came before is recognized."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(), utterance_seconds=0.18)
        stage.listen("start")
        stage.audio(b"a", b"b", b"c", b"d", b"e")
        stage.listen("stop")
        await turns()
        assert drops(stage) == ["too_long", "too_long"]
        assert stage.channel.said[0] == "stt abc"
        await stage.close()

    def test_unknown_state_is_refused(self) -> None:
        """The message's own schema refuses what is no state and no mode."""
        for fields in ({"state": "begin"}, {"state": "start", "mode": "fast"}, {}):
            with pytest.raises(BadMessage) as caught:
                parse({"type": "listen", **fields}, Listen)
            assert caught.value.code == "SCHEMA_INVALID"


class TestSilence:
    """Utterances whose audio has stopped, though nobody has ended them."""

    @pytest.mark.parametrize("said", [[], [b"a", b"b"]], ids=["no audio", "audio before"])
    def test_is_given_up(self, said: list[bytes]) -> None:
        """After 30 s without a packet the engine lets go, and the device may be closed as idle; it gets no reply."""

        @virtual_time
        async def run() -> None:
            recognizer = FakeRecognizer()
            stage = Stage(recognizer, FakeSpeaker())
            await asyncio.sleep(100)
            stage.listen("start")
            await asyncio.sleep(1)
            stage.audio(*said)
            await asyncio.sleep(DICTATION_SILENCE - 1.1)
            assert stage.busy
            await asyncio.sleep(1.2)
            assert not stage.busy
            assert stage.dialogue.dictations == 0
            assert endings(stage) == [(len(said), "silence")]
            assert [(hearing.cancelled, hearing.finished) for hearing in recognizer.hearings] == [(1, 0)]
            assert timers() == []
            stage.listen("stop")
            await turns()
            assert stage.channel.said == []
            await stage.close()
            assert endings(stage) == [(len(said), "silence")]

        run()

    @virtual_time
    async def test_audio_moves_it(self) -> None:
        """A packet now and then, taken or past the longest utterance, keeps it; the stop has it recognized."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(), utterance_seconds=0.12)
        stage.listen("start")
        for packet in packets(5):
            await asyncio.sleep(DICTATION_SILENCE - 0.1)
            stage.audio(packet)
        stage.listen("stop")
        await turns()
        assert stage.channel.said[0] == "stt 01"
        assert endings(stage) == [(2, "stop")]
        assert drops(stage) == ["too_long"] * 3
        await stage.close()

    @pytest.mark.parametrize("mode", ["auto", "manual", "realtime"])
    def test_audio_that_comes_later(self, mode: str) -> None:
        """A link that was stalled comes back with the device still listening: what it says then is an utterance."""

        @virtual_time
        async def run() -> None:
            recognizer = FakeRecognizer()
            stage = Stage(recognizer, FakeSpeaker())
            stage.listen("start", mode)
            stage.audio(b"a")
            await asyncio.sleep(DICTATION_SILENCE + 1)
            assert len(recognizer.hearings) == 1
            stage.audio(b"b", b"c")
            assert stage.busy
            stage.listen("stop")
            await turns()
            assert stage.channel.said[0] == "stt bc"
            assert endings(stage) == [(1, "silence"), (2, "stop")]
            assert drops(stage) == []
            await stage.close()

        run()

    @virtual_time
    async def test_behind_an_end_that_the_engine_heard(self) -> None:
        """What the device streamed until it heard the reply is given up like the rest, once, and nothing is held."""
        recognizer = FakeRecognizer(ends=[b"."])
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start", "auto")
        stage.audio(b"a", b".")
        await turns()
        assert len(recognizer.hearings) == 1
        assert not stage.busy
        stage.audio(b"b")
        await asyncio.sleep(10 * DICTATION_SILENCE)
        assert endings(stage) == [(2, "stop"), (1, "silence")]
        assert [hearing.cancelled for hearing in recognizer.hearings] == [0, 1]
        await stage.close()
        assert len(endings(stage)) == 2

    @virtual_time
    async def test_engine_that_cannot_begin_again(self) -> None:
        """One error for the stream that comes later, not one for each of its packets."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start", "auto")
        await asyncio.sleep(DICTATION_SILENCE + 1)
        recognizer.begin_error = RuntimeError("no room")
        stage.audio(*packets(5))
        assert stage.channel.said == ["error INTERNAL_ERROR"]
        assert endings(stage) == [(0, "silence"), (0, "failed")]
        assert drops(stage) == ["no_dictation"] * 4
        await stage.close()


class TestDetect:
    """Wake words and typed text."""

    @virtual_time
    async def test_text_chat(self) -> None:
        """Typed text is shown and answered, with no audio behind it."""
        speaker = FakeSpeaker(Sentence("hi"))
        stage = Stage(FakeRecognizer(), speaker)
        stage.listen("detect", text=" hello ")
        await turns()
        assert stage.channel.said == ["stt hello", "tts start", "tts sentence_start hi", "tts stop"]
        assert (speaker.utterances[0].text, speaker.utterances[0].packets) == ("hello", ())
        await stage.close()

    @virtual_time
    async def test_empty_text(self) -> None:
        """A detect without text is ignored."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.listen("detect", text="  ")
        await turns()
        assert stage.channel.said == []

    @virtual_time
    async def test_long_text_is_cut(self) -> None:
        """What comes back fits the device's frame, though 64 KB may come in."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.listen("detect", text="y" * 60_000)
        assert stage.channel.said[0] == "stt " + "y" * TEXT_CHARACTERS
        await stage.close()

    @virtual_time
    async def test_start_right_behind_the_wake_word(self) -> None:
        """The firmware says start right behind the wake word: the greeting is spoken all the same."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*packets(3)))
        stage.listen("detect", text="hello")
        stage.listen("start", "auto")
        await asyncio.sleep(1)
        assert stage.channel.said == ["stt hello", "tts start", "audio", "tts stop"]
        assert stage.busy
        await stage.close()

    @virtual_time
    async def test_next_text_replaces_the_reply(self) -> None:
        """A second text while the first is answered stops that answer first."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        stage.listen("detect", text="one")
        await asyncio.sleep(0.5)
        stage.listen("detect", text="two")
        assert stage.channel.said[-5:] == ["audio", "drop", "tts stop", "stt two", "tts start"]
        await stage.close()


class TestAbort:
    """Barge-in."""

    @virtual_time
    async def test_abort_stops_the_speech_at_once(self) -> None:
        """Before the handler returns: waiting audio is gone, the stop is sent; once."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        count = len(stage.channel.audio)
        stage.receive("abort", reason="wake_word_detected")
        assert stage.channel.said[-2:] == ["drop", "tts stop"]
        stage.receive("abort")
        await asyncio.sleep(5.0)
        assert len(stage.channel.audio) == count
        assert stage.channel.said.count("tts stop") == 1
        assert [event.complete for event in stage.of(SpeechEnded)] == [False]
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_abort_without_speech(self) -> None:
        """Nothing is spoken, so nothing is stopped: a stop belongs to a start."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.receive("abort")
        assert stage.channel.said == []

    @virtual_time
    async def test_abort_while_the_text_is_found(self) -> None:
        """The reply that would come is not wanted any more."""
        recognizer = FakeRecognizer(takes=1.0)
        stage = Stage(recognizer, FakeSpeaker(*TALK))
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await asyncio.sleep(0.5)
        stage.receive("abort")
        await turns()
        assert timers() == []
        await asyncio.sleep(5.0)
        assert stage.channel.said == []
        assert recognizer.hearings[0].cancelled == 1
        assert endings(stage) == [(1, "abort")]
        await stage.close()

    @virtual_time
    async def test_abort_leaves_the_dictation(self) -> None:
        """In realtime mode the device talks while it listens: an abort ends the reply, not what is being said."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        stage.listen("start", "realtime")
        stage.listen("detect", text="talk")
        await asyncio.sleep(0.5)
        stage.audio(b"a")
        stage.receive("abort")
        stage.audio(b"b")
        stage.listen("stop")
        await turns()
        assert "stt ab" in stage.channel.said
        await stage.close()

    @pytest.mark.parametrize("mode", ["auto", "manual"])
    def test_start_stops_the_speech(self, mode: str) -> None:
        """A device that begins to listen does not want to hear the rest."""

        @virtual_time
        async def run() -> None:
            stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
            stage.listen("detect", text="talk")
            await asyncio.sleep(1.0)
            stage.listen("start", mode)
            assert stage.channel.said[-2:] == ["drop", "tts stop"]
            await asyncio.sleep(1.0)
            assert stage.channel.said.count("tts stop") == 1
            await stage.close()

        run()

    @virtual_time
    async def test_realtime_start_leaves_the_speech(self) -> None:
        """A realtime device cancels its own echo: it listens while it hears."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        stage.listen("start", "realtime")
        assert stage.channel.said[-1] == "audio"
        await asyncio.sleep(10.0)
        assert stage.channel.audio == packets(100)
        await stage.close()


class TestEndHeardByTheEngine:
    """Devices that stream on and never say stop."""

    @pytest.mark.parametrize("mode", ["auto", "realtime"])
    def test_engine_ends_the_utterance(self, mode: str) -> None:
        """The packet with which the engine hears the end ends it; what follows belongs to the next utterance."""

        @virtual_time
        async def run() -> None:
            recognizer = FakeRecognizer(ends=[b"."])
            stage = Stage(recognizer, FakeSpeaker())
            stage.listen("start", mode)
            stage.audio(b"a", b".", b"b", b"c")
            await turns()
            assert stage.channel.said == ["stt a.", "tts start", "tts stop"]
            stage.audio(b".")
            await turns()
            assert stage.channel.said[3:] == ["stt bc.", "tts start", "tts stop"]
            assert endings(stage) == [(2, "stop"), (3, "stop")]
            assert drops(stage) == []
            await stage.close()

        run()

    @virtual_time
    async def test_manual_mode_is_the_persons(self) -> None:
        """While a finger is on the button, silence ends nothing."""
        stage = Stage(FakeRecognizer(ends=[b"."]), FakeSpeaker())
        stage.listen("start", "manual")
        stage.audio(b"a", b".", b"b")
        await turns()
        assert stage.channel.said == []
        stage.listen("stop")
        await turns()
        assert stage.channel.said[0] == "stt a.b"
        await stage.close()

    @virtual_time
    async def test_one_recognition_at_a_time(self) -> None:
        """An end heard while the utterance before is still being recognized waits; nothing is lost or overtaken."""
        stage = Stage(FakeRecognizer(takes=1.0, ends=[b"."]), FakeSpeaker())
        stage.listen("start", "realtime")
        stage.audio(b"a", b".", b"b", b".", b"c")
        await asyncio.sleep(1.5)
        assert endings(stage) == [(2, "stop")]
        stage.audio(b".")
        await asyncio.sleep(1.5)
        assert [word for word in stage.channel.said if word.startswith("stt")] == ["stt a.", "stt b.c."]
        await stage.close()

    @virtual_time
    async def test_stop_behind_the_engines_end(self) -> None:
        """A client that says stop although the engine has heard the end gets the one reply."""
        recognizer = FakeRecognizer(takes=0.2, ends=[b"."])
        stage = Stage(recognizer, FakeSpeaker(b"reply"))
        stage.listen("start", "auto")
        stage.audio(b"a", b".", b"b")
        stage.listen("stop")
        await asyncio.sleep(2.0)
        assert stage.channel.said == ["stt a.", "tts start", "audio", "tts stop"]
        assert [hearing.cancelled for hearing in recognizer.hearings] == [0, 1]
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_next_utterance_replaces_the_reply(self) -> None:
        """In realtime mode, what a person says over the reply is answered instead of it."""
        stage = Stage(FakeRecognizer(ends=[b"."]), FakeSpeaker(*TALK))
        stage.listen("start", "realtime")
        stage.audio(b"a", b".")
        await asyncio.sleep(1.0)
        stage.audio(b"b", b".")
        await turns()
        assert stage.channel.said == [
            "stt a.",
            "tts start",
            "tts sentence_start talk",
            "audio",
            "drop",
            "tts stop",
            "stt b.",
            "tts start",
            "tts sentence_start talk",
            "audio",
        ]
        await stage.close()

    @virtual_time
    async def test_noise_does_not_stop_the_reply(self) -> None:
        """An utterance in which nothing was heard leaves the reply alone."""
        recognizer = FakeRecognizer(ends=[b"."])
        stage = Stage(recognizer, FakeSpeaker(*TALK))
        stage.listen("start", "realtime")
        stage.audio(b"a", b".")
        await asyncio.sleep(1.0)
        recognizer.text = ""
        stage.audio(b".")
        await asyncio.sleep(10.0)
        assert stage.channel.said.count("tts stop") == 1
        assert stage.channel.audio == packets(100)
        await stage.close()

    @virtual_time
    async def test_loopback_with_an_end(self) -> None:
        """Stock firmware in its default mode gets its echo, given a length to echo."""
        stage = Stage(LoopbackRecognizer(end_after=0.3), LoopbackSpeaker())
        stage.listen("start", "auto")
        stage.audio(*packets(5))
        await turns()
        assert stage.channel.said[:2] == ["stt heard 5 packets, 0.3 s", "tts start"]
        await stage.close()


class TestHandover:
    """Two connections of one device."""

    @virtual_time
    async def test_dictation_over_both_connections(self) -> None:
        """One utterance: frames of both are taken in order of arrival, and the reply goes to the newer."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker(b"reply"))
        old = stage.channel
        stage.listen("start")
        stage.audio(b"1", b"2", channel=old)
        new = stage.reconnect()
        stage.audio(b"3", channel=new)
        stage.audio(b"4", channel=old)
        stage.audio(b"5", channel=new)
        stage.listen("stop")
        await asyncio.sleep(1)
        assert new.said == ["stt 12345", "tts start", "audio", "tts stop"]
        assert old.said == []
        assert len(recognizer.hearings) == 1
        assert endings(stage) == [(5, "stop")]
        await stage.close()

    @virtual_time
    async def test_start_on_the_newer_cuts_the_older(self) -> None:
        """The same utterance goes on, without a restart; the older stream ends at that very frame."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        old = stage.channel
        stage.listen("start")
        stage.audio(b"1", channel=old)
        new = stage.reconnect()
        stage.audio(b"2", channel=old)
        stage.listen("start")
        stage.audio(b"x", channel=old)
        stage.audio(b"3", channel=new)
        stage.listen("stop")
        await turns()
        assert new.said[0] == "stt 123"
        assert len(recognizer.hearings) == 1
        assert drops(stage) == ["cut"]
        assert endings(stage) == [(3, "stop")]
        await stage.close()

    @virtual_time
    async def test_start_repeated_on_the_newer(self) -> None:
        """A repeat within 300 ms of the start that joined changes nothing, however long ago the utterance began."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        await asyncio.sleep(5)
        stage.audio(*packets(10))
        stage.reconnect()
        stage.listen("start")
        await asyncio.sleep(0.29)
        stage.listen("start")
        stage.listen("stop")
        await turns()
        assert stage.channel.said[0] == "stt 0123456789"
        assert endings(stage) == [(10, "stop")]
        await stage.close()

    @virtual_time
    async def test_start_on_the_newer_asks_for_what_the_engine_had_begun(self) -> None:
        """An utterance begun behind the engine's end is the device's own once it has said start: its stop counts."""
        stage = Stage(FakeRecognizer(takes=1.0, ends=[b"."]), FakeSpeaker())
        stage.listen("start", "realtime")
        stage.audio(b"a", b".", b"b")
        new = stage.reconnect()
        stage.listen("start", "realtime")
        stage.audio(b"c", channel=new)
        await asyncio.sleep(0.5)
        stage.listen("stop")
        await asyncio.sleep(2)
        assert "stt bc" in new.said
        await stage.close()

    @virtual_time
    async def test_later_start_on_the_newer_begins_anew(self) -> None:
        """After it has joined, the newer connection's starts mean what they always mean."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.reconnect()
        stage.listen("start")
        await asyncio.sleep(0.5)
        stage.listen("start")
        assert len(recognizer.hearings) == 2
        await stage.close()

    @virtual_time
    async def test_new_utterance_on_the_newer_connection(self) -> None:
        """An utterance that begins on the newer connection takes nothing from the older."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        old = stage.channel
        stage.reconnect()
        stage.audio(b"x", channel=old)
        stage.listen("start")
        stage.audio(b"y", channel=old)
        stage.audio(b"1")
        stage.listen("stop")
        await turns()
        assert drops(stage) == ["no_dictation", "cut"]
        assert stage.channel.said[0] == "stt 1"
        await stage.close()

    @virtual_time
    async def test_recognition_over_a_handover(self) -> None:
        """The text is found while the device reconnects: the reply goes where the device is."""
        stage = Stage(FakeRecognizer(takes=1.0), FakeSpeaker(b"reply"))
        old = stage.channel
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await asyncio.sleep(0.5)
        new = stage.reconnect()
        await asyncio.sleep(2.0)
        assert old.said == []
        assert new.said == ["stt a", "tts start", "audio", "tts stop"]
        await stage.close()

    @virtual_time
    async def test_speech_moves(self) -> None:
        """The rest of the reply is heard on the newer connection, between a start and a stop of its own."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        old = stage.channel
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        new = stage.reconnect()
        await asyncio.sleep(10.0)
        assert new.said == ["tts start", "tts sentence_start talk", "audio", "tts stop"]
        assert old.audio + new.audio == packets(100)
        assert "tts stop" not in old.said
        await stage.close()

    @virtual_time
    async def test_start_on_the_newer_stops_the_speech(self) -> None:
        """A device that wakes up anew while it was spoken to starts listening: the old reply is over."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(*TALK))
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        new = stage.reconnect()
        stage.listen("start", "auto")
        await asyncio.sleep(1.0)
        assert new.said == []
        assert len(stage.of(SpeechEnded)) == 1
        await stage.close()


class TestOffline:
    """The last connection is gone."""

    @virtual_time
    async def test_while_dictating(self) -> None:
        """The utterance is lost, and the engine is told to let go of it."""
        recognizer = FakeRecognizer()
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a", b"b")
        await stage.close()
        assert endings(stage) == [(2, "offline")]
        assert recognizer.hearings[0].cancelled == 1
        assert not stage.busy

    @virtual_time
    async def test_while_the_text_is_found(self) -> None:
        """The recognition is cancelled with its device."""
        recognizer = FakeRecognizer(takes=1.0)
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await asyncio.sleep(0.5)
        await stage.close()
        assert endings(stage) == [(1, "offline")]
        assert recognizer.hearings[0].cancelled == 1
        assert stage.channel.said == []

    @virtual_time
    async def test_while_speaking(self) -> None:
        """The speech ends at once; there is nobody to tell."""
        speaker = FakeSpeaker(*TALK)
        stage = Stage(FakeRecognizer(), speaker)
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        await stage.close()
        assert stage.channel.said[-1] == "audio"
        assert [event.complete for event in stage.of(SpeechEnded)] == [False]
        assert speaker.closed == 1

    @virtual_time
    async def test_audio_behind_the_end(self) -> None:
        """Frames of a retired connection that outlives the session harm nobody."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.listen("start")
        await stage.close()
        stage.audio(b"late")
        stage.channel.session = None
        stage.audio(b"later")
        assert endings(stage) == [(0, "offline")]

    @virtual_time
    async def test_session_that_was_never_announced(self) -> None:
        """A session that ends before anybody heard of it ends quietly."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.leave()
        stage.leave()
        assert stage.events == []


class TestEngineFailures:
    """Engines are foreign code."""

    @staticmethod
    def engine(**errors: BaseException) -> FakeRecognizer:
        """A recognizer that raises where it is told to."""
        recognizer = FakeRecognizer()
        for where, error in errors.items():
            setattr(recognizer, f"{where}_error", error)
        return recognizer

    @pytest.mark.parametrize(("where", "heard"), [("begin", 0), ("feed", 1), ("finish", 2)])
    def test_recognizer_raises(self, where: str, heard: int, caplog: pytest.LogCaptureFixture) -> None:
        """Wherever it does: one error reply, one record, the traceback in the log, and the device can go on."""

        @virtual_time
        async def run() -> None:
            recognizer = self.engine(**{where: RuntimeError("no such model")})
            stage = Stage(recognizer, FakeSpeaker(*TALK))
            stage.listen("start")
            stage.audio(b"a", b"b")
            stage.listen("stop")
            await turns()
            assert stage.channel.said == ["error INTERNAL_ERROR"]
            assert endings(stage) == [(heard, "failed")]
            assert [hearing.cancelled for hearing in recognizer.hearings] == [1] * len(recognizer.hearings)
            assert not stage.busy
            assert "no such model" not in str(stage.channel.sent)
            await stage.close()

        run()
        assert "no such model" in caplog.text

    @pytest.mark.parametrize("text", [None, 7])
    def test_recognizer_returns_no_text(self, text: Any) -> None:
        """What is no text is a failure like any other."""

        @virtual_time
        async def run() -> None:
            stage = Stage(recognizer := FakeRecognizer(), FakeSpeaker())
            stage.listen("start")

            async def finish() -> Any:
                return text

            recognizer.hearings[0].finish = finish  # type: ignore[method-assign]
            stage.listen("stop")
            await turns()
            assert stage.channel.said == ["error INTERNAL_ERROR"]
            assert endings(stage) == [(0, "failed")]
            assert not stage.busy
            await stage.close()

        run()

    @virtual_time
    async def test_recognizer_whose_work_was_cancelled(self) -> None:
        """Not by us: its own task ended before its time, so it has failed, and the device hears so and may go on."""
        recognizer = self.engine(finish=asyncio.CancelledError())
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await turns()
        assert stage.channel.said == ["error INTERNAL_ERROR"]
        assert endings(stage) == [(1, "failed")]
        assert recognizer.hearings[0].cancelled == 1
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_speaker_whose_work_was_cancelled(self) -> None:
        """As with the recognizer: the speech is stopped, and the device hears why."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(b"1", asyncio.CancelledError()))
        stage.listen("detect", text="talk")
        await turns()
        assert stage.channel.said[-2:] == ["tts stop", "error INTERNAL_ERROR"]
        assert not stage.busy
        await stage.close()

    @pytest.mark.parametrize("where", ["begin", "feed", "finish"])
    def test_engine_without_room(self, where: str, caplog: pytest.LogCaptureFixture) -> None:
        """An engine that is full says so, and so does the reply; that is nothing to log."""

        @virtual_time
        async def run() -> None:
            stage = Stage(self.engine(**{where: PoolBusy()}), FakeSpeaker())
            stage.listen("start")
            stage.audio(b"a")
            stage.listen("stop")
            await turns()
            assert stage.channel.said == ["error BUSY"]
            await stage.close()

        run()
        assert caplog.records == []

    @virtual_time
    async def test_recognizer_takes_too_long(self) -> None:
        """Past the time an engine may take, its utterance has failed."""
        recognizer = FakeRecognizer(takes=31.0)
        stage = Stage(recognizer, FakeSpeaker())
        stage.listen("start")
        stage.audio(b"a")
        stage.listen("stop")
        await asyncio.sleep(29.9)
        assert stage.busy
        await asyncio.sleep(0.2)
        assert stage.channel.when("error INTERNAL_ERROR") == [pytest.approx(30.0)]
        assert endings(stage) == [(1, "failed")]
        assert recognizer.hearings[0].cancelled == 1
        await stage.close()

    @virtual_time
    async def test_recognizer_that_ignores_its_cancellation(self) -> None:
        """A text that comes although it was aborted is not answered."""

        class Stubborn(FakeRecognizer):
            def begin(self, device: Any, audio: Any) -> Any:
                hearing = super().begin(device, audio)

                async def finish() -> str:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        return "still here"
                    return ""

                hearing.finish = finish  # type: ignore[method-assign]
                return hearing

        stage = Stage(Stubborn(), FakeSpeaker(*TALK))
        stage.listen("start")
        stage.listen("stop")
        await asyncio.sleep(1.0)
        stage.receive("abort")
        await asyncio.sleep(1.0)
        assert stage.channel.said == []
        assert endings(stage) == [(0, "abort")]
        await stage.close()

    @virtual_time
    async def test_cancel_raises(self) -> None:
        """An engine that cannot even give up does not keep the device from going on."""
        stage = Stage(self.engine(cancel=RuntimeError("cannot")), FakeSpeaker())
        stage.listen("start")
        await asyncio.sleep(0.5)
        stage.listen("start")
        assert endings(stage) == [(0, "abort")]
        assert stage.busy
        await stage.close()

    @virtual_time
    async def test_speaker_raises(self) -> None:
        """A speech that fails is stopped before the device hears of the error."""
        stage = Stage(FakeRecognizer(), FakeSpeaker(b"1", RuntimeError("no voice")))
        stage.listen("detect", text="talk")
        await turns()
        assert stage.channel.said == ["stt talk", "tts start", "audio", "drop", "tts stop", "error INTERNAL_ERROR"]
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_speaker_raises_before_the_start(self) -> None:
        """A speaker that cannot even say what its audio is begins no speech."""
        speaker = FakeSpeaker()
        speaker.audio = lambda client: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        stage = Stage(FakeRecognizer(), speaker)
        stage.listen("detect", text="talk")
        assert stage.channel.said == ["stt talk", "error INTERNAL_ERROR"]
        assert not stage.busy
        await stage.close()

    @virtual_time
    async def test_failure_behind_an_abort_is_not_the_devices(self) -> None:
        """What breaks while it is being cancelled is reported to us, not to the device."""

        class Clumsy(FakeSpeaker):
            async def speak(self, device: Any, utterance: Any) -> Any:
                try:
                    await asyncio.sleep(60)
                finally:
                    raise RuntimeError("tripped")
                yield b""

        stage = Stage(FakeRecognizer(), Clumsy())
        stage.listen("detect", text="talk")
        await asyncio.sleep(1.0)
        stage.receive("abort")
        await turns()
        assert stage.channel.said == ["stt talk", "tts start", "drop", "tts stop"]
        assert len(stage.of(TaskFailed)) == 1
        await stage.close()


class TestOtherMessages:
    """What products handle themselves."""

    @virtual_time
    async def test_mcp(self) -> None:
        """Taken and recorded, without its body."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.receive("mcp", payload={"jsonrpc": "2.0", "id": 1, "result": {}})
        assert stage.events == [McpReceived(device=DEVICE, session=stage.session.id)]
        assert stage.channel.said == []

    @virtual_time
    async def test_iot(self) -> None:
        """Taken in silence."""
        stage = Stage(FakeRecognizer(), FakeSpeaker())
        stage.receive("iot", update=True, states=[{"name": "Speaker"}])
        assert (stage.events, stage.channel.said) == ([], [])

    @virtual_time
    async def test_types(self) -> None:
        """The four types it handles."""
        assert sorted(Stage(FakeRecognizer(), FakeSpeaker()).handlers) == ["abort", "iot", "listen", "mcp"]


class DialogueMachine(RuleBasedStateMachine):
    """Anything a device may do, in any order: the books of starts, stops and endings balance."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("gateway").setLevel(logging.CRITICAL)
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.recognizer = FakeRecognizer(takes=0.2, ends=[b"."])
        self.speaker = FakeSpeaker(Sentence("s"), *packets(8), 0.5, *packets(3))
        self.channels: list[FakeChannel] = []
        self.stage = self.do(self.make())
        self.channels.append(self.stage.channel)

    async def make(self) -> Stage:
        """The loop runs while the stage is made."""
        return Stage(self.recognizer, self.speaker, utterance_seconds=1.0)

    def do(self, step: Any) -> Any:
        """Run a coroutine on the machine's loop."""
        return self.runner.run(step)

    async def call(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Do one thing inside the loop."""
        function(*args, **kwargs)

    @rule(state=st.sampled_from(["start", "stop"]), mode=st.sampled_from(["auto", "manual", "realtime"]))
    def listen(self, state: str, mode: str) -> None:
        """The device starts or stops."""
        self.do(self.call(self.stage.listen, state, mode))

    @rule(text=st.sampled_from(["", "hello"]))
    def detect(self, text: str) -> None:
        """A wake word."""
        self.do(self.call(self.stage.listen, "detect", text=text))

    @rule(old=st.integers(0, 2), packet=st.sampled_from([b"a", b"."]))
    def audio(self, old: int, packet: bytes) -> None:
        """A packet from the present connection, or an older one."""
        self.do(self.call(self.stage.audio, packet, channel=self.channels[max(0, len(self.channels) - 1 - old)]))

    @rule()
    def abort(self) -> None:
        """The device has heard enough."""
        self.do(self.call(self.stage.receive, "abort"))

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.25, 1.0, 5.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.do(asyncio.sleep(seconds))

    @precondition(lambda self: len(self.channels) < 5)
    @rule()
    def reconnect(self) -> None:
        """A newer connection."""
        self.do(self.call(lambda: self.channels.append(self.stage.reconnect())))

    @rule(broken=st.booleans())
    def engine(self, broken: bool) -> None:
        """The engine breaks, or recovers."""
        self.recognizer.finish_error = RuntimeError() if broken else None

    @invariant()
    def starts_and_stops_alternate(self) -> None:
        """On each connection: start, stop, start, stop; audio only in between."""
        for channel in self.channels:
            speaking = False
            for word in channel.said:
                if word == "tts start":
                    assert not speaking
                    speaking = True
                elif word == "tts stop":
                    assert speaking
                    speaking = False
                elif word == "audio" or word.startswith("tts"):
                    assert speaking

    @invariant()
    def one_end_for_each_utterance(self) -> None:
        """No utterance ends twice, and at most two have not ended: one being said, one being recognized."""
        unended = len(self.recognizer.hearings) - len(self.stage.of(DictationEnded))
        assert 0 <= unended <= 2
        assert all(hearing.cancelled <= 1 and hearing.finished <= 1 for hearing in self.recognizer.hearings)

    @invariant()
    def nothing_fails(self) -> None:
        """No task ends with an exception, whatever the engine does."""
        assert self.stage.of(TaskFailed) == []

    def teardown(self) -> None:
        """When the device has gone, every utterance and every speech has its one end."""
        try:
            self.do(self.stage.close())
        finally:
            self.runner.close()
            logging.getLogger("gateway").setLevel(logging.NOTSET)
        assert len(self.recognizer.hearings) == len(self.stage.of(DictationEnded))
        stts = sum(word.startswith("stt") for channel in self.channels for word in channel.said)
        assert len(self.stage.of(SpeechEnded)) == stts


TestAnything = DialogueMachine.TestCase
TestAnything.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
