"""Tests of the default summarizer and of the frame of a summary."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meeting.summary import (
    BULLETS,
    CANDIDATES,
    ENTRIES,
    SENTENCE_BYTES,
    TERMS,
    ExtractiveSummarizer,
    Summary,
    sentences,
    summary_message,
)
from gateway.meeting.transcript import Snippet
from gateway.protocol import limits
from gateway.protocol.messages import encode


def digest(*texts: str, notes: object = None) -> object:
    """Return the notes of what was said."""
    return ExtractiveSummarizer().digest(notes, [Snippet(0, text) for text in texts])


def test_sentences():
    """Sentences end at Chinese and Latin punctuation; a number's dot ends none."""
    assert sentences("今天开会。讨论上线！Version 1.5 is out. Really? ") == [
        "今天开会",
        "讨论上线",
        "Version 1.5 is out",
        "Really",
    ]
    assert sentences("。！?") == []
    assert len(sentences("a!" * 1000)) == 32
    assert len(sentences("中" * 600)[0].encode()) <= SENTENCE_BYTES


def test_kinds_by_word_and_tag():
    """Decisions, actions, risks and next steps are found by their words in both languages, and by the device's tag."""
    notes = digest("我们决定周五上线。小王负责测试。延期的风险不小。下周再看", "We agreed on blue. Nothing here")
    notes = ExtractiveSummarizer().digest(notes, [Snippet(0, "call the printer", tag="Action")])
    summary = ExtractiveSummarizer().summarize(notes)
    assert summary.decisions == ["我们决定周五上线", "We agreed on blue"]
    assert summary.actions == ["小王负责测试", "call the printer"]
    assert summary.risks == ["延期的风险不小"]
    assert summary.next_steps == ["下周再看"]


def test_bullets_are_about_what_is_talked_about():
    """Sentences that share words with the others come first; they are shown in the order in which they were said."""
    talk = [f"the gateway rollout needs test number {n}x{n}x" for n in range(10)]
    notes = digest("lunch smells odd", *talk[:5], "umbrella please", *talk[5:])
    bullets = ExtractiveSummarizer().summarize(notes).bullets
    assert len(bullets) == BULLETS
    assert bullets == [sentence for sentence in talk if sentence in bullets]


def test_batches_make_no_difference():
    """What was said in one batch or in two gives the same summary."""
    texts = ["讨论网关上线", "网关的日志太多", "我们决定关掉调试日志"]
    once = digest(*texts)
    twice = digest(*texts[1:], notes=digest(texts[0]))
    assert ExtractiveSummarizer().summarize(once) == ExtractiveSummarizer().summarize(twice)


def test_notes_survive_json_and_are_not_changed():
    """Notes can be put away as JSON, and digesting more leaves the old ones as they were."""
    notes = digest("我们决定周五上线")
    again = json.loads(msgspec.json.encode(notes))
    before = json.dumps(again)
    more = digest("小王负责测试", notes=again)
    assert json.dumps(again) == before
    assert ExtractiveSummarizer().summarize(more).decisions == ["我们决定周五上线"]


def test_notes_are_bounded():
    """However long a meeting lasts, its notes keep a bounded number of sentences and words."""
    notes = None
    for batch in range(50):
        notes = digest(*(f"we agreed on risk {batch}q{n}q and word{batch}x{n}" for n in range(100)), notes=notes)
    assert len(notes["candidates"]) == CANDIDATES
    assert len(notes["decisions"]) == ENTRIES
    assert len(notes["terms"]) <= 2 * TERMS
    assert notes["decisions"][-1].endswith("word49x99")


def test_nothing_said():
    """Of nothing, nothing comes."""
    assert ExtractiveSummarizer().summarize(None) == Summary()


def test_message():
    """The message has the seed's fields; the device's title goes before the summarizer's."""
    message = summary_message(Summary(title="found", bullets=["a"], next_steps=["b"]), "given", 61)
    assert json.loads(encode(message)) == {
        "type": "meeting",
        "phase": "summary",
        "title": "given",
        "duration": 61,
        "bullets": ["a"],
        "decisions": [],
        "actions": [],
        "risks": [],
        "nextSteps": ["b"],
    }
    assert summary_message(Summary(title="found"), "", 0).title == "found"


def test_message_fits_a_frame():
    """From a summarizer that knows no measure, the last entries of the longest lists are left out."""
    summary = Summary(bullets=["b" * 1000] * 20, decisions=["d" * 10] * 3, risks=["r" * 100_000])
    message = summary_message(summary, "", 0)
    assert len(encode(message)) <= limits.DOWNLINK_BYTES - 256
    assert message.decisions == ["d" * 10] * 3
    assert message.risks == []
    assert len(message.bullets) == 7


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=20))
def test_any_speech_can_be_summarized(texts):
    """Whatever is said, the summary is made, is bounded and fits a frame."""
    summary = ExtractiveSummarizer().summarize(digest(*texts))
    assert len(summary.bullets) <= BULLETS
    assert len(encode(summary_message(summary, "", 1))) <= limits.DOWNLINK_BYTES
