"""The running transcript of a meeting: which snippets are taken, what is kept of them, what is shown. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.errors import BadMessage
from gateway.protocol import limits
from gateway.protocol.messages import encode

ID_CHARACTERS = 128  # of a meeting's id: as of a message's
TITLE_BYTES = 256
LABEL_CHARACTERS = 64  # of a speaker's id or a tag: names, not texts
FRAME_RESERVE = 128  # of a frame: what stands around the items, with room to spare
_EXACT_INT = 2**53  # a larger speaker id is no number for most JSON readers

_CONTROL_TO_SPACE = dict.fromkeys((*range(0x20), 0x7F), " ")


class Snippet(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of what was said.

    Attributes:
        ts: milliseconds since 1970, when it was taken.
        text: 1 to 2048 bytes of UTF-8 without control characters.
        speaker: who said it, as the device names people; None where it does not.
        tag: the device's label for it, empty without one; for the summarizer, it is not shown.
    """

    ts: int
    text: str
    speaker: str | int | None = None
    tag: str = ""

    def line(self) -> dict[str, Any]:
        """Return it as an item of a transcript on the wire."""
        line: dict[str, Any] = {"ts": self.ts, "text": self.text}
        if self.speaker is not None:
            line["speakerId"] = self.speaker
        return line


def cut(text: str, size: int) -> str:
    """Cut a text to ``size`` bytes of UTF-8 at most, never within a character."""
    return text if len(text) * 4 <= size else text.encode()[:size].decode(errors="ignore")


def read_meeting_id(value: Any) -> str | None:
    """Read the ``meeting_id`` of a message; empty is as good as none, as with session ids.

    Raises:
        BadMessage: SCHEMA_INVALID; it is not a string of at most 128 characters.
    """
    if value is not None and (type(value) is not str or len(value) > ID_CHARACTERS):
        raise BadMessage(
            "SCHEMA_INVALID", f"expected 'meeting_id' to be a string of at most {ID_CHARACTERS} characters"
        )
    return value or None


def read_title(value: Any) -> str:
    """Read the ``title`` of a message, cut to 256 bytes; empty where it has none.

    Raises:
        BadMessage: SCHEMA_INVALID; it is not a string.
    """
    if value is None:
        return ""
    if type(value) is not str:
        raise BadMessage("SCHEMA_INVALID", "expected 'title' to be a string")
    return cut(value.translate(_CONTROL_TO_SPACE).strip(), TITLE_BYTES)


def read_snippets(items: Any, ts: int) -> list[Snippet]:
    """Read the ``items`` of a message; all of them are good, or none is taken.

    Control characters become spaces: nobody says them, and in JSON they are six times as long.

    Raises:
        BadMessage: SCHEMA_INVALID; ``items`` is not a list of objects which each have a text that is not blank.
    """
    if type(items) is not list:
        raise BadMessage("SCHEMA_INVALID", "expected 'items' to be a list of snippets")
    return [_read_snippet(item, ts) for item in items]


def _read_snippet(item: Any, ts: int) -> Snippet:
    text = item.get("text") if type(item) is dict else None
    if type(text) is not str or not (text := cut(text.translate(_CONTROL_TO_SPACE).strip(), limits.SNIPPET_BYTES)):
        raise BadMessage("SCHEMA_INVALID", "expected each snippet to be an object with a 'text'")
    speaker, tag = item.get("speakerId"), item.get("tag")
    if type(speaker) is str:
        speaker = speaker[:LABEL_CHARACTERS].translate(_CONTROL_TO_SPACE) or None
    elif type(speaker) is not int or abs(speaker) > _EXACT_INT:
        speaker = None
    return Snippet(ts, text, speaker, tag[:LABEL_CHARACTERS] if type(tag) is str else "")


class SnippetRate:
    """At most ten snippets in any second, over all meetings of a device."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=limits.SNIPPETS_PER_SECOND)

    def allows(self, now: float) -> bool:
        """Whether one more may be taken now."""
        return len(self._times) < limits.SNIPPETS_PER_SECOND or now - self._times[0] >= 1.0

    def count(self, now: float) -> None:
        """One was taken."""
        self._times.append(now)


class Verdict(Enum):
    """What became of a snippet."""

    TAKEN = "taken"
    KNOWN = "known"
    """The same text was taken less than 60 s ago: nothing is lost, so the device need not hear of it."""
    REFUSED = "refused"
    """Too many: over the rate, or 200 are waiting for the summarizer."""


class Transcript:
    """The snippets of one meeting; bounded, whatever its device sends.

    Attributes:
        items: the last 50, for pushes and snapshots; the oldest goes when another comes.
        pending: at most 200 that the summarizer has not had yet, the oldest first.
        revision: how many have been taken; it never goes back.
    """

    __slots__ = ("_recent", "items", "pending", "revision")

    def __init__(self, items: Iterable[Snippet] = (), pending: Iterable[Snippet] = (), revision: int = 0) -> None:
        self.items: deque[Snippet] = deque(items, limits.TRANSCRIPT_ITEMS)
        self.pending: list[Snippet] = list(pending)
        self.revision = revision
        # digest of the text -> when it was taken, the oldest first: about 600 at most, for the rate is ten a second
        self._recent: dict[bytes, float] = {}

    def remember(self, now: float, ts: int) -> None:
        """Know the texts again that were taken in the last 60 s before ``ts``, after a restart."""
        for snippet in self.items:
            age = (ts - snippet.ts) / 1000
            if 0 <= age < limits.SNIPPET_DEDUPE:
                self._recent[_digest(snippet.text)] = now - age

    def take(self, snippet: Snippet, now: float, rate: SnippetRate) -> Verdict:
        """Take a snippet, unless it is known or there are too many."""
        self._forget(now)
        key = _digest(snippet.text)
        if key in self._recent:
            return Verdict.KNOWN
        if len(self.pending) >= limits.SNIPPETS_PENDING or not rate.allows(now):
            return Verdict.REFUSED
        rate.count(now)
        self._recent[key] = now
        self.items.append(snippet)
        self.pending.append(snippet)
        self.revision += 1
        return Verdict.TAKEN

    def digested(self, batch: Sequence[Snippet]) -> None:
        """The summarizer has had this batch: the oldest pending snippets."""
        del self.pending[: len(batch)]

    def lines(self, room: int = limits.DOWNLINK_BYTES - FRAME_RESERVE) -> list[dict[str, Any]]:
        """Return the last items as they go on the wire; the oldest are left out until they fit into ``room`` bytes."""
        lines = []
        for snippet in reversed(self.items):
            line = snippet.line()
            room -= len(encode(line)) + 1
            if room < 0:
                break
            lines.append(line)
        lines.reverse()
        return lines

    def clear(self) -> None:
        """Let go of everything but the revision: the meeting is over and its summary made."""
        self.items.clear()
        self.pending.clear()
        self._recent.clear()

    def _forget(self, now: float) -> None:
        while self._recent:
            key, taken = next(iter(self._recent.items()))
            if now - taken < limits.SNIPPET_DEDUPE:
                return
            del self._recent[key]


def _digest(text: str) -> bytes:
    # a digest instead of the text: 16 bytes where a text may have 2048
    return blake2b(text.encode(), digest_size=16).digest()
