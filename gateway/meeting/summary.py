"""What a summarizer is, the default one, and the frame a summary goes out in. Pure.

The default picks sentences, it does not write any: it shows that the way from snippet to summary works, and serves
where no language model is at hand. A product brings its own `Summarizer`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from gateway.meeting.transcript import TITLE_BYTES, Snippet, cut
from gateway.protocol import limits
from gateway.protocol.messages import MeetingSummary, encode

FRAME_RESERVE = 256  # of a frame: for the id a mailboxed summary gets, and for `idempotent`


class Summary(msgspec.Struct, frozen=True):
    """What came of a meeting.

    Attributes:
        title: used where the device gave none.
        bullets: what was said, in short.
        decisions: what was decided.
        actions: who does what.
        risks: what may go wrong.
        next_steps: what comes next.
    """

    title: str = ""
    bullets: list[str] = []
    decisions: list[str] = []
    actions: list[str] = []
    risks: list[str] = []
    next_steps: list[str] = []


class Summarizer(Protocol):
    """Makes summaries; one for all meetings.

    Both methods run in the worker pool, those of one meeting one after the other. They keep nothing themselves: what
    is known of a meeting so far is its *notes*, a JSON value of the summarizer's own (None at the beginning), which
    the gateway keeps, puts away when it stops and hands back. Notes must stay bounded however long the meeting lasts,
    and are never changed once returned.
    """

    def digest(self, notes: Any, batch: Sequence[Snippet]) -> Any:
        """Return new notes that take in a batch of snippets, 1 to 200 in order of arrival."""
        ...

    def summarize(self, notes: Any) -> Summary:
        """Return the summary of a meeting of which these notes are all that is left."""
        ...


def summary_message(summary: Summary, title: str, seconds: int) -> MeetingSummary:
    """Return the message of a summary; from its longest list the last entry goes until it fits a frame."""
    message = MeetingSummary(
        cut(title or summary.title, TITLE_BYTES),
        seconds,
        bullets=list(summary.bullets),
        decisions=list(summary.decisions),
        actions=list(summary.actions),
        risks=list(summary.risks),
        next_steps=list(summary.next_steps),
    )
    lists = (message.bullets, message.decisions, message.actions, message.risks, message.next_steps)
    while any(lists) and len(encode(message)) > limits.DOWNLINK_BYTES - FRAME_RESERVE:
        max(lists, key=lambda entries: sum(map(len, entries))).pop()
    return message


# --- the default ----------------------------------------------------------------------------------------------

SENTENCES = 32  # taken from one snippet: of 2 KiB of speech; more are not sentences but dots
SENTENCE_BYTES = 160  # some 50 Chinese characters, two lines of a small display; 40 of them fit a frame of 8 KiB
BULLETS = 8
ENTRIES = 8  # kept, and shown, of each other list: the last ones, since people change their minds
CANDIDATES = 24  # sentences kept to choose the bullets from: three for each, for scores change as the meeting goes on
TERMS = 400  # words counted, twice that between prunings: the vocabulary of a meeting, not of a language

_SENTENCE_END = re.compile(r"[。！？!?；;]+|\.(?=\s|$)")
_RUN = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]{3,}")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_EMPTY = """
the and for that this with you are was were have has will not but our they from can all what about there would
我们 你们 他们 这个 那个 一个 就是 可以 没有 然后 因为 所以 什么 一下 这样
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())
_KINDS = {
    "decisions": r"决定|确定|同意|通过了|\bdecid|\bdecision|\bagreed?\b|\bapproved?\b",
    "actions": r"负责|待办|行动项|\baction item|\bto-?do\b|\bassigned?\b|\bwill take care\b",
    "risks": r"风险|担心|延期|阻塞|\brisk|\bblock(ed|er|ing)\b|\bconcern|\bdelay",
    "next_steps": r"下一步|接下来|下周|明天|\bnext (step|week|time)\b|\bfollow[- ]up\b|\btomorrow\b",
}
_KIND_WORDS = {kind: re.compile(words, re.IGNORECASE) for kind, words in _KINDS.items()}
_KIND_TAGS = {
    "decision": "decisions",
    "action": "actions",
    "risk": "risks",
    "next": "next_steps",
    "next_step": "next_steps",
    "nextstep": "next_steps",
}


class _Notes(msgspec.Struct):
    """Notes of the default summarizer: 24 + 4 * 8 = 56 sentences at most, which is more than a summary can show."""

    heard: int = 0
    terms: dict[str, int] = {}
    candidates: list[tuple[int, str]] = []  # (which sentence of the meeting, its text)
    decisions: list[str] = []
    actions: list[str] = []
    risks: list[str] = []
    next_steps: list[str] = []


class ExtractiveSummarizer:
    """Picks the sentences that share most words with the rest of the meeting, and those with telling words or tags."""

    def digest(self, notes: Any, batch: Sequence[Snippet]) -> Any:
        """Take in a batch; see `Summarizer`."""
        known = _Notes() if notes is None else msgspec.convert(notes, _Notes)
        for snippet in batch:
            for sentence in sentences(snippet.text):
                self._hear(known, sentence, snippet.tag)
        if len(known.terms) > 2 * TERMS:
            known.terms = dict(sorted(known.terms.items(), key=lambda term: -term[1])[:TERMS])
        known.candidates = _best(known, CANDIDATES)
        return msgspec.to_builtins(known)

    def summarize(self, notes: Any) -> Summary:
        """Choose from what was kept; see `Summarizer`."""
        known = _Notes() if notes is None else msgspec.convert(notes, _Notes)
        best = _best(known, 1)
        return Summary(
            title=best[0][1] if best else "",
            bullets=[text for _, text in _best(known, BULLETS)],
            decisions=known.decisions,
            actions=known.actions,
            risks=known.risks,
            next_steps=known.next_steps,
        )

    def _hear(self, known: _Notes, sentence: str, tag: str) -> None:
        for term in _terms(sentence):
            known.terms[term] = known.terms.get(term, 0) + 1
        known.candidates.append((known.heard, sentence))
        known.heard += 1
        tagged = _KIND_TAGS.get(tag.lower())
        for kind, words in _KIND_WORDS.items():
            if kind == tagged or words.search(sentence):
                entries: list[str] = getattr(known, kind)
                if sentence not in entries:
                    entries.append(sentence)
                    del entries[:-ENTRIES]


def sentences(text: str) -> list[str]:
    """Split a text into its first 32 sentences, each cut to what a small display can show."""
    parts = (part.strip() for part in _SENTENCE_END.split(text))
    return [cut(part, SENTENCE_BYTES) for part in parts if part][:SENTENCES]


def _terms(sentence: str) -> list[str]:
    """Return the words of a sentence, each once; of Chinese, which has no spaces, the pairs of characters."""
    found: dict[str, None] = {}
    for run in _RUN.findall(sentence.lower()):
        if _CHINESE.match(run):
            found.update(dict.fromkeys(run[at : at + 2] for at in range(len(run) - 1)))
        else:
            found[run] = None
    return [term for term in found if term not in _EMPTY_WORDS]


def _best(known: _Notes, most: int) -> list[tuple[int, str]]:
    """Return the candidates with the best scores in the order in which they were said, the earlier of equal ones."""

    def score(candidate: tuple[int, str]) -> float:
        terms = _terms(candidate[1])
        # by the root of the length: long sentences say more, but not by as much as they are longer
        return sum(known.terms.get(term, 0) for term in terms) / math.sqrt(len(terms) + 1)

    best = sorted(known.candidates, key=lambda candidate: (-score(candidate), candidate[0]))[:most]
    return sorted(best)
