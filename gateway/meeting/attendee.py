"""What is kept of one device's meetings, and which of them a message means. No I/O, and the time is handed in.

A meeting belongs to its device, not to a connection. A device has one running meeting at most; those that have ended
are kept until their summary has been handed over, and then for a while for repeated requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.identity import DeviceId
from gateway.meeting.transcript import Snippet, SnippetRate, Transcript, Verdict
from gateway.protocol.messages import MeetingSummary

if TYPE_CHECKING:
    from gateway.device.session import Session

LATE_SNIPPETS = 60.0
"""For so long after a device asked to finalize, snippets that name no meeting belong to the one that ended.

Longer than anything is under way, shorter than the pause between two meetings: a device that names no meeting and
sends no mode must not lose its next one."""
REMEMBERED = 600.0
"""For so long after its summary is out a meeting is known: as long as other repeats are. Not longer, as a device that
counts its meetings from 1 at each start must not find its new ones taken for the old."""
SETTLED = 8  # of these, the last ones: more than people hold in the time; a summary has 8 KiB at most
UNSETTLED = 4  # ended meetings of a device whose summary is not out: past it, snippets of a further one are refused


class Meeting:
    """One meeting, from its first snippet until its summary has been handed over.

    Attributes:
        id: the device's name for it, None until it gives one.
        title: the device's title, empty until it gives one.
        began: loop time of the first snippet.
        ended: loop time of the end, None while it runs.
        because: why it ended: ``asked``, ``absent``, ``next`` (the device began another) or ``crowded``.
        notes: what the summarizer knows so far.
        summary: what came of it, once made.
        settled_at: loop time at which its summary was out, or given up: nothing is left to do; None before that.
        lock: held while the summarizer works on it, so that batches stay in order.
        timers: its push and its batch, by name; both are cancelled at its end.
        pushed: revision of the last push.
        concluding: its summary is being made or handed over.
        repeats: how often the device asked for it while it was being made.
    """

    __slots__ = (
        "because",
        "began",
        "concluding",
        "ended",
        "id",
        "lock",
        "notes",
        "pushed",
        "repeats",
        "settled_at",
        "summary",
        "timers",
        "title",
        "transcript",
    )

    def __init__(self, id: str | None, now: float, transcript: Transcript | None = None) -> None:  # noqa: A002 - its name
        self.id = id
        self.title = ""
        self.began = now
        self.ended: float | None = None
        self.because = ""
        self.transcript = transcript or Transcript()
        self.notes: Any = None
        self.summary: MeetingSummary | None = None
        self.settled_at: float | None = None
        self.lock = asyncio.Lock()
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.pushed = self.transcript.revision
        self.concluding = False
        self.repeats = 0

    @property
    def seconds(self) -> int:
        """How long it lasted, from the first snippet to the end."""
        return round((self.began if self.ended is None else self.ended) - self.began)

    def end(self, now: float, because: str) -> None:
        """End it: no snippet is taken any more, nothing is pushed."""
        self.ended = now
        self.because = because
        self.cancel_timers()

    def cancel_timers(self) -> None:
        """Cancel the push and the batch."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()


class Taken(msgspec.Struct, frozen=True):
    """What became of the snippets of one message, and the meeting that had to end for them, if one had to."""

    taken: int
    ignored: int
    ended: Meeting | None = None


class Attendee:
    """One device, as far as meetings go.

    Attributes:
        device: which.
        session: its session while it is present, else None.
        running: its running meeting.
        ended: meetings that are not settled, and the last of those that are; in order.
        left: loop time at which it went.
        timer: of an absent device: until when its meeting waits for it, or is remembered.
    """

    __slots__ = ("_fresh", "_rate", "device", "ended", "left", "running", "session", "timer")

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.session: Session | None = None
        self.running: Meeting | None = None
        self.ended: list[Meeting] = []
        self.left = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self._rate = SnippetRate()
        self._fresh = False

    @property
    def unsettled(self) -> list[Meeting]:
        """Ended meetings whose summary is not out."""
        return [meeting for meeting in self.ended if meeting.settled_at is None]

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs, and every summary is out."""
        return self.running is None and not self.unsettled

    def take(self, snippets: Sequence[Snippet], id: str | None, now: float) -> Taken:  # noqa: A002 - the wire's word
        """Take the snippets of a message into the meeting that it means, which may have to begin.

        All are ignored when they are late (their meeting has ended), and when no meeting can begin: over the rate, or
        with too many that wait for their summary.
        """
        if not snippets:
            return Taken(0, 0)
        self._forget_old(now)
        ended = None
        if self._running_as(id) is None:
            if self._is_late(id, now) or len(self.unsettled) >= UNSETTLED or not self._rate.allows(now):
                return Taken(0, len(snippets))
            ended = self.end(now, "next")
            self.running = Meeting(id, now)
        assert self.running is not None
        verdicts = [self.running.transcript.take(snippet, now, self._rate) for snippet in snippets]
        return Taken(verdicts.count(Verdict.TAKEN), verdicts.count(Verdict.REFUSED), ended)

    def finalize(self, id: str | None, now: float) -> tuple[Meeting, bool]:  # noqa: A002 - the wire's word
        """Return the meeting that a request to finalize means, ended, and whether this request ended it.

        A meeting that is not known took no snippet: it is over at once, and empty.
        """
        self._forget_old(now)
        if (known := self._has_ended(id)) is not None:
            return known, False
        if self._running_as(id) is not None:
            meeting = self.end(now, "asked")
            assert meeting is not None
            return meeting, True
        meeting = Meeting(id, now)
        meeting.end(now, "asked")
        self._keep(meeting)
        return meeting, True

    def expects_another(self) -> None:
        """The device enters the meeting mode: what comes now without an id is not about the meeting that ended."""
        self._fresh = True

    def end(self, now: float, because: str) -> Meeting | None:
        """End the running meeting and return it, if there is one."""
        meeting, self.running = self.running, None
        if meeting is not None:
            meeting.end(now, because)
            self._keep(meeting)
        return meeting

    def _keep(self, meeting: Meeting) -> None:
        self.ended.append(meeting)
        self._fresh = False

    def _forget_old(self, now: float) -> None:
        recent = [one for one in self.ended if one.settled_at is not None and now - one.settled_at < REMEMBERED]
        known = recent[-SETTLED:]
        self.ended = [one for one in self.ended if one.settled_at is None or one in known]

    def _running_as(self, id: str | None) -> Meeting | None:  # noqa: A002 - the wire's word
        """Return the running meeting if the message means it: it takes the first id that the device names."""
        meeting = self.running
        if meeting is None or (id is not None and any(known.id == id for known in self.ended)):
            return None
        if meeting.id is None:
            meeting.id = id
        return meeting if id in (None, meeting.id) else None

    def _is_late(self, id: str | None, now: float) -> bool:  # noqa: A002 - the wire's word
        if id is not None:
            return self._has_ended(id) is not None
        last = self._has_ended(None)
        if last is None or last.because != "asked" or not last.transcript.revision:
            return False
        assert last.ended is not None
        return now - last.ended < LATE_SNIPPETS

    def _has_ended(self, id: str | None) -> Meeting | None:  # noqa: A002 - the wire's word
        """Return the ended meeting that a message means; without an id that is the last one, unless another is on."""
        if id is not None:
            return next((known for known in reversed(self.ended) if known.id == id), None)
        if self.running is not None or self._fresh or not self.ended:
            return None
        return self.ended[-1]
