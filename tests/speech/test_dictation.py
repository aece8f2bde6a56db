"""Tests of gateway.speech.dictation."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.protocol.messages import AudioParams
from gateway.speech.dictation import KEPT_BYTES, Dictation
from tests.speech.stage import FakeChannel, FakeRecognizer

A, B, C = FakeChannel("A"), FakeChannel("B"), FakeChannel("C")


def dictation(channel: Any = A, *, longest: float = 300.0, frame_duration: int = 60, mode: Any = "auto") -> Dictation:
    """An utterance that begins at time 0 on a channel."""
    audio = AudioParams(frame_duration=frame_duration)
    running = Dictation(channel, audio, mode, 0.0, longest)
    running.hearing = FakeRecognizer().begin("device", audio)  # type: ignore[arg-type]
    return running


class TestSources:
    """Whose frames are taken."""

    def test_only_the_connection_it_began_on(self) -> None:
        """Without a handover there is one source."""
        running = dictation(A)
        assert running.refusal(A) is None
        assert running.refusal(B) == "cut"

    def test_both_connections_of_a_handover(self) -> None:
        """The older connection's frames and the newer one's are taken, in order of arrival."""
        running = dictation(A)
        running.moved(B)
        assert running.refusal(A) is None
        assert running.refusal(B) is None

    def test_third_connection_drops_the_oldest(self) -> None:
        """The oldest of three is aborted, so its frames are not expected any more."""
        running = dictation(A)
        running.moved(B)
        running.moved(C)
        assert [running.refusal(channel) for channel in (A, B, C)] == ["cut", None, None]

    def test_start_on_the_newer_cuts_the_older(self) -> None:
        """The newer connection has its microphone in hand: the older stream ends there, the utterance does not."""
        running = dictation(A)
        running.hear(b"old")
        running.moved(B)
        assert running.taken_over(B, "realtime", 1.0)
        assert [running.refusal(channel) for channel in (A, B)] == ["cut", None]
        assert running.mode == "realtime"
        assert running.packets == 1

    def test_second_start_on_the_newer_is_not_a_takeover(self) -> None:
        """Only the first start of a connection that took over goes on with the utterance."""
        running = dictation(A)
        running.moved(B)
        assert running.taken_over(B, "auto", 1.0)
        assert not running.taken_over(B, "auto", 2.0)

    def test_start_where_it_began_is_not_a_takeover(self) -> None:
        """The connection it began on has taken nothing over."""
        assert not dictation(A).taken_over(A, "auto", 1.0)

    def test_handover_after_a_cut(self) -> None:
        """A connection that cut the one before may itself be replaced."""
        running = dictation(A)
        running.moved(B)
        running.taken_over(B, "auto", 1.0)
        running.moved(C)
        assert [running.refusal(channel) for channel in (A, B, C)] == ["cut", None, None]


class TestRepeats:
    """Duplicate starts."""

    @pytest.mark.parametrize(("now", "repeat"), [(0.0, True), (0.299, True), (0.3, False), (5.0, False)])
    def test_within_300_ms(self, now: float, repeat: bool) -> None:
        """A start within 300 ms of the one that began it is the same start."""
        assert dictation(A).is_repeat(A, now) is repeat

    def test_on_another_connection(self) -> None:
        """The first start of a newer connection is no repeat, however soon it comes."""
        running = dictation(A)
        running.moved(B)
        assert not running.is_repeat(B, 0.0)

    @pytest.mark.parametrize(("now", "repeat"), [(60.0, True), (60.299, True), (60.301, False)])
    def test_of_a_start_that_took_over(self, now: float, repeat: bool) -> None:
        """After a takeover it is the start of the newer connection that is repeated."""
        running = dictation(A)
        running.moved(B)
        running.taken_over(B, "auto", 60.0)
        assert running.is_repeat(B, now) is repeat


class TestHearing:
    """What is taken."""

    @pytest.mark.parametrize(("frame_duration", "most"), [(60, 16), (20, 50), (120, 8)])
    def test_longest_utterance(self, frame_duration: int, most: int) -> None:
        """Its length is that of its audio: a packet that would pass the limit is refused, the one before is not."""
        running = dictation(A, longest=1.0, frame_duration=frame_duration)
        for _ in range(most):
            assert running.refusal(A) is None
            running.hear(b"packet")
        assert running.refusal(A) == "too_long"

    def test_exactly_the_longest_utterance(self) -> None:
        """An utterance of exactly the limit is whole."""
        running = dictation(A, longest=300.0)
        for _ in range(5000):
            assert running.refusal(A) is None
            running.hear(b"packet")
        assert running.refusal(A) == "too_long"

    def test_packets_are_kept_for_the_speaker(self) -> None:
        """The speaker is given what was heard, in order, with what it is."""
        running = dictation(A, frame_duration=20)
        running.hear(b"one")
        running.hear(b"two")
        utterance = running.utterance("text")
        assert (utterance.text, utterance.packets) == ("text", (b"one", b"two"))
        assert utterance.audio.frame_duration == 20

    def test_kept_packets_are_bounded(self) -> None:
        """What is kept is the beginning, to the byte, without gaps; all of it is heard and counted."""
        running = dictation(A)
        half = bytes(KEPT_BYTES // 2)
        for packet in (half, half, b"x", b"y"):
            running.hear(packet)
        assert running.utterance("text").packets == (half, half)
        assert running.packets == 4

    def test_no_gap_in_what_is_kept(self) -> None:
        """Once a packet did not fit, a smaller one behind it is not kept either."""
        running = dictation(A)
        for packet in (b"first", bytes(KEPT_BYTES), b"last"):
            running.hear(packet)
        assert running.utterance("text").packets == (b"first",)
