"""Meetings: snippets in, transcript and summary out; the meeting survives its device's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from gateway.config import MeetingConfig
from gateway.device.outbox import Sent
from gateway.errors import BadMessage
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId
from gateway.meeting.attendee import REMEMBERED, Attendee, Meeting
from gateway.meeting.conclusion import Conclusions, Run, SendSummary
from gateway.meeting.snapshot import Snapshots, requested_delay_ms
from gateway.meeting.summary import ExtractiveSummarizer, Summarizer
from gateway.meeting.transcript import read_meeting_id, read_snippets, read_title
from gateway.observe.clock import WallClock, wall_clock
from gateway.observe.events import MeetingFinalized, Observers, SnippetsTaken
from gateway.protocol import limits, messages
from gateway.protocol.messages import MeetingAnswer, MeetingError, MeetingTranscript

if TYPE_CHECKING:
    from gateway.device.session import Session

ABSENT = 10_000  # devices whose meetings wait for them, or are remembered; about as many as may be connected
REPEATS = 10  # answers owed to those who ask again while the summary is being made


class Meetings(Feature):
    """The meetings of all devices.

    Args:
        config: the ``meeting`` section.
        observers: where records go.
        snapshots: shared with the other kind of snapshot.
        run: the worker pool; all work of the summarizer goes through it.
        send_summary: the way of summaries to their devices.
        summarizer: what makes them.
        wall: stamps snippets.
    """

    def __init__(
        self,
        config: MeetingConfig,
        observers: Observers,
        snapshots: Snapshots,
        run: Run,
        send_summary: SendSummary,
        summarizer: Summarizer | None = None,
        wall: WallClock = wall_clock,
    ) -> None:
        interval = config.transcript_push_interval_ms
        self._push_every = min(max(interval, limits.TRANSCRIPT_PUSH_MS_MIN), limits.TRANSCRIPT_PUSH_MS_MAX) / 1000
        self._batch_every = config.snippet_batch
        self._resume = config.resume
        self._observers = observers
        self._snapshots = snapshots
        self._conclusions = Conclusions(
            observers, run, send_summary, summarizer or ExtractiveSummarizer(), self._concluded
        )
        self._wall = wall
        self._attendees: dict[DeviceId, Attendee] = {}
        self._absent: dict[DeviceId, Attendee] = {}  # in the order in which they went
        self.changes = 0
        """Grows with everything that a checkpoint should have."""

    def __len__(self) -> int:
        """How many meetings are running, those that wait for their device included."""
        return sum(attendee.running is not None for attendee in self._attendees.values())

    def handlers(self) -> Iterable[Handler[Any]]:
        """The ``meeting`` message."""
        return (Handler(messages.Meeting, self._handle),)

    def is_in_meeting(self, device: DeviceId) -> bool:
        """Whether a meeting of the device is running: people in a meeting may be silent for long."""
        attendee = self._attendees.get(device)
        return attendee is not None and attendee.running is not None

    def is_busy(self, session: Session) -> bool:
        """Whether a summary is being made for the device."""
        attendee = self._attendees.get(session.device)
        return attendee is not None and any(meeting.concluding for meeting in attendee.ended)

    def on_mode_start(self, session: Session, mode: str) -> None:
        """A device enters a mode; with the meeting mode, what it says from now on is not about a meeting that ended."""
        if mode == "meeting" and (attendee := self._attendees.get(session.device)) is not None:
            attendee.expects_another()

    # --- messages -----------------------------------------------------------------------------------------------

    def _handle(self, session: Session, message: messages.Meeting) -> None:
        try:
            self._step(session, message)
        except BadMessage as fault:
            session.send_error(fault.code, fault.reason, answer=MeetingError(fault.code, fault.reason))

    def _step(self, session: Session, message: messages.Meeting) -> None:
        id_, title = read_meeting_id(message.meeting_id), read_title(message.title)
        match message.phase:
            case "snippet":
                self._take(session, message.items, id_, title)
            case "finalize":
                self._finalize(session, id_, title)
            case "snapshot":
                self._send_snapshot(session, requested_delay_ms(message.delay_ms))
            case _:
                raise BadMessage("SCHEMA_INVALID", "expected 'phase' to be snippet, finalize or snapshot")

    def _take(self, session: Session, items: Any, id_: str | None, title: str) -> None:
        snippets = read_snippets(items, int(self._wall() * 1000))
        attendee = self._attendee(session)
        taken = attendee.take(snippets, id_, _now())
        if taken.ended is not None:
            self._ended(attendee, taken.ended)
        meeting = attendee.running
        if taken.taken and meeting is not None:
            self.changes += 1
            meeting.title = title or meeting.title
            self._arm(attendee, meeting)
        counts = SnippetsTaken(device=session.device, session=session.id, taken=taken.taken, ignored=taken.ignored)
        session.observers.emit(counts)
        answer = MeetingAnswer("snippet")
        if taken.ignored:
            answer.ignored = taken.ignored
        session.send_json(answer)

    def _finalize(self, session: Session, id_: str | None, title: str) -> None:
        session.send_json(MeetingAnswer("finalize"))
        attendee = self._attendee(session)
        meeting, ended = attendee.finalize(id_, _now())
        if ended:
            meeting.title = title or meeting.title
            self._ended(attendee, meeting)
        elif meeting.summary is not None:
            session.send_json(replace(meeting.summary, idempotent=True))
        elif meeting.concluding:
            meeting.repeats = min(meeting.repeats + 1, REPEATS)
        else:  # it was told BUSY before, or the summarizer failed
            self._conclusions.conclude(attendee, meeting)

    def _send_snapshot(self, session: Session, delay_ms: float) -> None:
        self._snapshots.request(session, "transcript", delay_ms, lambda: self._snapshot(session.device))

    def _snapshot(self, device: DeviceId) -> MeetingAnswer:
        attendee = self._attendees.get(device)
        if attendee is None or attendee.running is None:
            return MeetingAnswer("snapshot", revision=0, items=[])
        transcript = attendee.running.transcript
        return MeetingAnswer("snapshot", revision=transcript.revision, items=transcript.lines())

    def _attendee(self, session: Session) -> Attendee:
        attendee = self._attendees.get(session.device)
        if attendee is None:
            attendee = self._attendees[session.device] = Attendee(session.device)
        attendee.session = session
        return attendee

    # --- while it runs: pushes and batches ----------------------------------------------------------------------

    def _arm(self, attendee: Attendee, meeting: Meeting) -> None:
        """Set the timers of a meeting that runs and has something new; they rest while nothing is said."""
        if meeting.ended is not None:
            return
        transcript = meeting.transcript
        if attendee.session is not None and transcript.revision != meeting.pushed:
            self._set(meeting, "push", self._push_every, lambda: self._push(attendee, meeting))
        if transcript.pending:
            self._set(meeting, "batch", self._batch_every, lambda: self._digest(attendee, meeting))

    def _set(self, meeting: Meeting, name: str, delay: float, action: Callable[[], None]) -> None:
        def fire() -> None:
            del meeting.timers[name]
            action()

        if name not in meeting.timers:
            meeting.timers[name] = asyncio.get_running_loop().call_later(delay, fire)

    def _push(self, attendee: Attendee, meeting: Meeting) -> None:
        transcript = meeting.transcript
        push = MeetingTranscript(transcript.lines(), transcript.revision)
        if attendee.session is not None and attendee.session.send_json(push) is not Sent.FAILED:
            meeting.pushed = transcript.revision

    def _digest(self, attendee: Attendee, meeting: Meeting) -> None:
        self.changes += 1
        self._conclusions.digest(meeting, lambda: self._arm(attendee, meeting))

    # --- the end --------------------------------------------------------------------------------------------------

    def _ended(self, attendee: Attendee, meeting: Meeting) -> None:
        self.changes += 1
        if meeting.transcript.revision:
            finalized = MeetingFinalized(
                device=attendee.device,
                session="" if attendee.session is None else attendee.session.id,
                because=meeting.because,
                seconds=meeting.seconds,
                snippets=meeting.transcript.revision,
            )
            self._observers.emit(finalized)
        self._conclusions.conclude(attendee, meeting)

    def _concluded(self, attendee: Attendee) -> None:
        """Nothing is left to do for an absent device: remember it for a while, if there is room."""
        self.changes += 1
        if attendee.session is not None or not attendee.is_settled:
            return
        if attendee.device in self._absent:
            self._wait(attendee, REMEMBERED)
        else:
            self._forget(attendee)

    # --- presence -------------------------------------------------------------------------------------------------

    def on_online(self, session: Session) -> None:
        """The device is back: its meeting goes on."""
        if (attendee := self._attendees.get(session.device)) is not None:
            attendee.session = session
            self._absent.pop(session.device, None)
            self._stop_waiting(attendee)
            self._go_on(attendee)

    def on_replaced(self, session: Session) -> None:
        """The meeting goes on; a snapshot that the older connection asked for is not sent to the newer one."""
        self._snapshots.cancel(session, "transcript", "replaced")
        if (attendee := self._attendees.get(session.device)) is not None:
            self._go_on(attendee)

    def on_offline(self, session: Session) -> None:
        """The device is gone: its meeting waits for it, for a while."""
        self._snapshots.cancel(session, "transcript", "offline")
        attendee = self._attendees.get(session.device)
        if attendee is None or attendee.session is not session:
            return
        attendee.session = None
        attendee.left = _now()
        if attendee.running is None and not attendee.ended:
            self._forget(attendee)
        else:
            self._await_return(attendee)

    def _go_on(self, attendee: Attendee) -> None:
        if attendee.running is not None:
            self._arm(attendee, attendee.running)

    def _await_return(self, attendee: Attendee) -> None:
        if attendee.running is not None and (push := attendee.running.timers.pop("push", None)) is not None:
            push.cancel()
        self._absent[attendee.device] = attendee
        self._wait(attendee, REMEMBERED if attendee.is_settled else self._resume)
        while len(self._absent) > ABSENT:
            oldest = next(iter(self._absent))
            self._give_up(self._absent.pop(oldest), "crowded")

    def _wait(self, attendee: Attendee, seconds: float) -> None:
        self._stop_waiting(attendee)
        attendee.timer = asyncio.get_running_loop().call_later(seconds, self._give_up, attendee, "absent")

    def _stop_waiting(self, attendee: Attendee) -> None:
        if attendee.timer is not None:
            attendee.timer.cancel()
            attendee.timer = None

    def _give_up(self, attendee: Attendee, because: str) -> None:
        """Stop waiting for a device: its meeting is finalized without it, or, if nothing is left to do, forgotten."""
        self._stop_waiting(attendee)
        running = attendee.end(attendee.left, because)
        if running is not None:
            self._ended(attendee, running)
        for meeting in attendee.unsettled:
            if not meeting.concluding:
                self._conclusions.conclude(attendee, meeting)
        if attendee.is_settled:
            self._forget(attendee)

    def _forget(self, attendee: Attendee) -> None:
        self._absent.pop(attendee.device, None)
        del self._attendees[attendee.device]

    # --- start and stop -------------------------------------------------------------------------------------------

    def attendees(self) -> Sequence[Attendee]:
        """Everything that is known, also after `stop`."""
        return tuple(self._attendees.values())

    def restore(self, attendee: Attendee) -> None:
        """Take in what is known of a device from before a restart; it has its time to come back."""
        self._attendees[attendee.device] = attendee
        self._await_return(attendee)
        for meeting in attendee.unsettled:
            self._conclusions.conclude(attendee, meeting)
        self._go_on(attendee)

    async def stop(self) -> None:
        """Cancel everything; meetings that run, and summaries that are not out, are left for the checkpoint."""
        for attendee in self._attendees.values():
            self._stop_waiting(attendee)
            if attendee.running is not None:
                attendee.running.cancel_timers()
        await self._conclusions.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
