"""Tests of gateway.speech.recognizers."""

from __future__ import annotations

import pytest

from gateway.protocol.messages import AudioParams
from gateway.speech.recognizers import LoopbackRecognizer, LoopbackSpeaker, Sentence, Utterance
from tests.speech.stage import DEVICE
from tests.virtual_time import virtual_time


@virtual_time
async def test_loopback_says_how_much_it_heard() -> None:
    """Its text counts packets, and seconds by the duration the hello gave."""
    hearing = LoopbackRecognizer().begin(DEVICE, AudioParams(frame_duration=60))
    for _ in range(20):
        assert not hearing.feed(b"packet")
    assert await hearing.finish() == "heard 20 packets, 1.2 s"


@virtual_time
async def test_loopback_counts_each_utterance_by_itself() -> None:
    """Two utterances at a time do not mix."""
    engine = LoopbackRecognizer()
    one, two = engine.begin(DEVICE, AudioParams()), engine.begin(DEVICE, AudioParams(frame_duration=20))
    one.feed(b"a")
    two.feed(b"b")
    two.feed(b"c")
    one.cancel()
    assert await two.finish() == "heard 2 packets, 0.0 s"


@virtual_time
async def test_loopback_hears_nothing_in_nothing() -> None:
    """Without a packet there is no text, so there will be no reply."""
    assert await LoopbackRecognizer().begin(DEVICE, AudioParams()).finish() == ""


@pytest.mark.parametrize(("packets", "ended"), [(49, False), (50, True), (51, True)])
def test_loopback_can_claim_the_end(packets: int, ended: bool) -> None:
    """Given ``end_after``, it hears the end at exactly that much audio, and ever after."""
    hearing = LoopbackRecognizer(end_after=3.0).begin(DEVICE, AudioParams(frame_duration=60))
    assert [hearing.feed(b"packet") for _ in range(packets)][-1] is ended


@virtual_time
async def test_loopback_replays_what_it_heard() -> None:
    """One sentence, then the packets in order."""
    speech = LoopbackSpeaker().speak(DEVICE, Utterance("heard 2 packets", (b"a", b"b")))
    assert [piece async for piece in speech] == [Sentence("heard 2 packets"), b"a", b"b"]


def test_loopback_sounds_like_its_client() -> None:
    """What comes back was encoded by the device, so the parameters are the device's."""
    client = AudioParams(sample_rate=48000, channels=2, frame_duration=20)
    assert LoopbackSpeaker().audio(client) == client
