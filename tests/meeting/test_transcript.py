"""Tests of what a transcript takes, keeps and shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadMessage
from gateway.meeting.transcript import (
    Snippet,
    SnippetRate,
    Transcript,
    Verdict,
    cut,
    read_meeting_id,
    read_snippets,
    read_title,
)
from gateway.protocol import limits
from gateway.protocol.messages import MeetingTranscript, encode

TS = 1_700_000_000_000


def take(transcript: Transcript, text: str, now: float, rate: SnippetRate | None = None) -> Verdict:
    """Let a transcript take a text, with a rate of its own where none is given."""
    return transcript.take(Snippet(TS, text), now, rate or SnippetRate())


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [("abc", 3, "abc"), ("abcd", 3, "abc"), ("中文", 6, "中文"), ("中文", 5, "中"), ("a😀", 4, "a"), ("", 0, "")],
)
def test_cut_at_a_border(text, size, expected):
    """A text is cut to its size in bytes, and never within a character."""
    assert cut(text, size) == expected


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(0, 50))
def test_cut_is_the_longest_prefix(text, size):
    """What is cut is a prefix within the size, and one more character would not fit."""
    short = cut(text, size)
    assert text.startswith(short)
    assert len(short.encode()) <= size
    assert short == text or len(text[: len(short) + 1].encode()) > size


def test_snippet_is_cut_to_2_kib():
    """A snippet of 2048 bytes is whole, a longer one is cut at a UTF-8 border."""
    whole, longer = read_snippets([{"text": "x" * 2048}, {"text": "中" * 700}], TS)
    assert len(whole.text) == 2048
    assert longer.text == "中" * 682


def test_snippet_fields():
    """Text, speaker and tag are read; a speaker or tag that is no name is left out."""
    items = [
        {"text": " hi\n", "speakerId": "s1", "tag": "decision"},
        {"text": "hi", "speakerId": 7, "tag": 1},
        {"text": "hi", "speakerId": True},
        {"text": "hi", "speakerId": 2**80},
        {"text": "hi", "speakerId": {"a": 1}},
        {"text": "hi", "speakerId": "s" * 65},
    ]
    read = read_snippets(items, TS)
    assert [snippet.speaker for snippet in read] == ["s1", 7, None, None, None, "s" * 64]
    assert [snippet.tag for snippet in read] == ["decision", "", "", "", "", ""]
    assert read[0].line() == {"ts": TS, "text": "hi", "speakerId": "s1"}
    assert read[2].line() == {"ts": TS, "text": "hi"}


def test_control_characters_become_spaces():
    """Characters that JSON would write as six bytes do not get into a transcript."""
    assert read_snippets([{"text": "a\x00b\x1f\x7fc\td"}], TS)[0].text == "a b  c d"


@pytest.mark.parametrize(
    "items",
    [None, {}, "text", 1, ["text"], [None], [{}], [{"text": None}], [{"text": 1}], [{"text": ""}], [{"text": " \n"}]],
)
def test_bad_items(items):
    """Items that are not a list of objects with a text are refused."""
    with pytest.raises(BadMessage) as caught:
        read_snippets(items, TS)
    assert caught.value.code == "SCHEMA_INVALID"


def test_one_bad_item_refuses_all():
    """Among good items, one without a text refuses the message."""
    with pytest.raises(BadMessage):
        read_snippets([{"text": "good"}, {"tag": "no text"}], TS)


def test_meeting_id():
    """An id is a string of up to 128 characters; null and empty are none."""
    assert read_meeting_id("m" * 128) == "m" * 128
    assert read_meeting_id("") is None
    assert read_meeting_id(None) is None
    for bad in ("m" * 129, 1, True, ["m"]):
        with pytest.raises(BadMessage):
            read_meeting_id(bad)


def test_title():
    """A title is a string, cut to 256 bytes."""
    assert read_title("t" * 257) == "t" * 256
    assert read_title(None) == ""
    assert read_title("a\nb ") == "a b"
    with pytest.raises(BadMessage):
        read_title(3)


def test_same_text_within_60_seconds_is_known():
    """The same text is dropped for 60 s from when it was taken, not from when it was last repeated."""
    transcript = Transcript()
    assert take(transcript, "yes", 0) is Verdict.TAKEN
    assert take(transcript, "no", 1) is Verdict.TAKEN
    assert take(transcript, "yes", 59.9) is Verdict.KNOWN
    assert take(transcript, "yes", 60) is Verdict.TAKEN
    assert transcript.revision == 3


def test_ten_per_second():
    """Ten are taken in a second, the eleventh is not, and a second after the first there is room for one."""
    transcript, rate = Transcript(), SnippetRate()
    verdicts = [take(transcript, str(n), n * 0.05, rate) for n in range(11)]
    assert verdicts == [Verdict.TAKEN] * 10 + [Verdict.REFUSED]
    assert take(transcript, "later", 0.99, rate) is Verdict.REFUSED
    assert take(transcript, "later", 1.0, rate) is Verdict.TAKEN
    assert take(transcript, "one more", 1.0, rate) is Verdict.REFUSED


def test_known_text_costs_no_rate():
    """A repeated text is known even when the rate is used up, and is not counted."""
    transcript, rate = Transcript(), SnippetRate()
    for n in range(10):
        take(transcript, str(n), 0, rate)
    assert take(transcript, "3", 0, rate) is Verdict.KNOWN


def test_200_pending():
    """The two hundredth pending snippet is taken, the next is refused until a batch was digested."""
    transcript = Transcript()
    for n in range(200):
        assert take(transcript, str(n), n) is Verdict.TAKEN
    assert take(transcript, "more", 200) is Verdict.REFUSED
    transcript.digested(transcript.pending[:50])
    assert take(transcript, "more", 200) is Verdict.TAKEN
    assert len(transcript.pending) == 151
    assert transcript.pending[0].text == "50"


def test_last_50_lines():
    """Of more than 50 items the last 50 are shown, in order."""
    transcript = Transcript()
    for n in range(51):
        take(transcript, str(n), n)
    assert [line["text"] for line in transcript.lines()] == [str(n) for n in range(1, 51)]
    assert transcript.revision == 51


def test_lines_fit_a_frame():
    """The oldest lines are left out until the frame is at most 8 KiB; the newest is always there."""
    transcript = Transcript()
    for n in range(50):
        take(transcript, f"{n:04}" + '"' * 2044, n)
    lines = transcript.lines()
    assert lines[-1]["text"].startswith("0049")
    assert len(encode(MeetingTranscript(lines, transcript.revision))) <= limits.DOWNLINK_BYTES
    assert [line["text"][:4] for line in lines] == ["0049"]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=3000), max_size=60))
def test_whatever_is_said_fits(texts):
    """Whatever a device says, its transcript fits a frame and has as many of the last lines as fit."""
    transcript = Transcript()
    for now, text in enumerate(texts):
        if text.isprintable() and text.strip():
            transcript.take(read_snippets([{"text": text}], TS)[0], now, SnippetRate())
    lines = transcript.lines()
    assert len(encode(MeetingTranscript(lines, transcript.revision))) <= limits.DOWNLINK_BYTES
    assert [line["text"] for line in lines] == [item.text for item in transcript.items][
        len(transcript.items) - len(lines) :
    ]
    assert lines or not transcript.items


def test_memory_of_texts_is_bounded():
    """After an hour of ten new texts a second, about a minute of them is remembered, and 50 are kept."""
    transcript, rate = Transcript(), SnippetRate()
    for n in range(36_000):
        take(transcript, str(n), n / 10, rate)
        transcript.pending.clear()
    assert len(transcript._recent) <= 601
    assert len(transcript.items) == 50


def test_remembers_over_a_restart():
    """Restored items make their texts known for the rest of their 60 s."""
    items = [Snippet(TS - 61_000, "old"), Snippet(TS - 10_000, "new"), Snippet(TS + 5_000, "clock went back")]
    transcript = Transcript(items, revision=9)
    transcript.remember(-100.0, TS)
    assert take(transcript, "old", -70) is Verdict.TAKEN
    assert take(transcript, "new", -51) is Verdict.KNOWN
    assert take(transcript, "new", -50) is Verdict.TAKEN
    assert transcript.revision == 11


def test_clear_keeps_the_revision():
    """A meeting that is over holds no texts, but its revision does not go back."""
    transcript = Transcript()
    take(transcript, "a", 0)
    transcript.clear()
    assert (transcript.revision, transcript.lines(), transcript.pending) == (1, [], [])
