"""The summarizer at work: batches while a meeting runs, the summary at its end, and the way of that to its device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from gateway.errors import PoolBusy
from gateway.identity import DeviceId, printable
from gateway.meeting.attendee import Attendee, Meeting
from gateway.meeting.summary import Summarizer, Summary, summary_message
from gateway.meeting.transcript import Snippet
from gateway.observe.events import Observers, TaskFailed
from gateway.protocol.messages import Error, MeetingError, MeetingSummary
from gateway.tasks import Tasks

_log = logging.getLogger(__name__)

Run: TypeAlias = Callable[..., Awaitable[Any]]
"""Runs a function with its arguments in the worker pool and returns what it returned; raises `PoolBusy`."""
SendSummary: TypeAlias = Callable[[DeviceId, MeetingSummary], Awaitable[bool]]
"""Sends a summary to a device, at once if it is there; whether it has it, or else its mailbox has."""

RETRY = 5.0  # until the pool or the mailbox is asked again, where nobody is there to be told that it is busy
CONCLUSIONS = 10_000  # at once: so many mean that the pool or the mailbox has not worked for long
BUSY = "too many meetings end at this moment; finalize again in a while"
HAND_OVER_TIMEOUT = 5.0  # at the stop, when devices have gone: what is left of it is a commit
CLOSE_TIMEOUT = 2.0  # for cancelled tasks, which only have to unwind


class Conclusions:
    """Takes meetings from their snippets to a summary that is out.

    Its tasks are its own, not a session's: a device that goes away does not stop them.

    Args:
        observers: where records go.
        run: the worker pool; all work of the summarizer goes through it.
        send_summary: the way of summaries to their devices.
        summarizer: what makes them.
        on_settled: told of each attendee of whom a meeting has been concluded.
    """

    def __init__(
        self,
        observers: Observers,
        run: Run,
        send_summary: SendSummary,
        summarizer: Summarizer,
        on_settled: Callable[[Attendee], None],
    ) -> None:
        self._observers = observers
        self._run = run
        self._send_summary = send_summary
        self._summarizer = summarizer
        self._on_settled = on_settled
        self._batches = Tasks("batches of meetings")
        self._tasks = Tasks("summaries of meetings")
        self._hand_overs = Tasks("summaries on their way")

    async def close(self) -> None:
        """Cancel what is under way and wait for it; what was not finished is as if it had not begun.

        Summaries on their way have a moment to arrive, as they would be sent once more otherwise.
        """
        await self._batches.close(CLOSE_TIMEOUT)
        await self._tasks.close(CLOSE_TIMEOUT)
        await self._hand_overs.finish(HAND_OVER_TIMEOUT)
        await self._hand_overs.close(CLOSE_TIMEOUT)

    # --- while the meeting runs -----------------------------------------------------------------------------------

    def digest(self, meeting: Meeting, then: Callable[[], None]) -> None:
        """Start to give the pending snippets of a running meeting to the summarizer; ``then`` is called at the end."""
        self._batches.spawn(self._digest(meeting, then), "batch")

    async def _digest(self, meeting: Meeting, then: Callable[[], None]) -> None:
        async with meeting.lock:
            if meeting.ended is not None:
                return  # they go with the summary, which is waited for
            batch = tuple(meeting.transcript.pending)
            try:
                meeting.notes = await self._run(self._summarizer.digest, meeting.notes, batch)
            except PoolBusy:
                batch = ()  # they stay pending and go with the next batch
            except Exception as error:  # noqa: BLE001 - the rim: a summarizer is foreign code
                self._failed(error)  # and what it fails on once it would fail on for ever, so the batch goes
            meeting.transcript.digested(batch)
        then()

    # --- the end --------------------------------------------------------------------------------------------------

    def conclude(self, attendee: Attendee, meeting: Meeting) -> None:
        """Start to make the summary of an ended meeting and to hand it over.

        It goes to the device if it is there; else, or if it does not arrive, into its mailbox. Where the device asked
        and waits, a busy pool and a failing summarizer are told to it, and it may ask again; else it is tried until it
        works.
        """
        if len(self._tasks) < CONCLUSIONS:
            meeting.concluding = True
            self._tasks.spawn(self._conclude(attendee, meeting), f"summary for {attendee.device}")
        elif not self._told(attendee, meeting, Error("BUSY", BUSY)):
            _log.error("a meeting of %s is lost: %d others wait for their summary", attendee.device, CONCLUSIONS)
            meeting.settled_at = _now()

    async def _conclude(self, attendee: Attendee, meeting: Meeting) -> None:
        while not await self._is_done(attendee, meeting):  # noqa: ASYNC110 - it is tried again, no event says when
            await asyncio.sleep(RETRY)
        meeting.concluding = False
        meeting.repeats = 0
        self._on_settled(attendee)

    async def _is_done(self, attendee: Attendee, meeting: Meeting) -> bool:
        """Try once, and tell whether there is nothing left to do without being asked."""
        try:
            if meeting.summary is None:
                meeting.summary = await self._summarize(meeting)
        except PoolBusy:
            return self._told(attendee, meeting, Error("BUSY", BUSY))
        except Exception as error:  # noqa: BLE001 - the rim: a summarizer is foreign code
            self._failed(error)
            if not self._told(attendee, meeting, MeetingError("INTERNAL_ERROR", "the summary could not be made")):
                meeting.settled_at = _now()  # given up: nobody will ask again
            return True
        # a task of its own, which a stop does not cut: the courier would have the summary, and the checkpoint, too
        way = self._hand_over(attendee, meeting, meeting.summary)
        arrived: bool = await asyncio.shield(self._hand_overs.spawn(way, f"summary to {attendee.device}"))
        return arrived

    async def _summarize(self, meeting: Meeting) -> MeetingSummary:
        async with meeting.lock:
            transcript = meeting.transcript
            summary = Summary()
            if transcript.revision:
                summary = await self._run(_summary_of, self._summarizer, meeting.notes, tuple(transcript.pending))
            message = summary_message(summary, meeting.title, meeting.seconds)
            transcript.clear()
            meeting.notes = None
            return message

    async def _hand_over(self, attendee: Attendee, meeting: Meeting, summary: MeetingSummary) -> bool:
        if meeting.transcript.revision and not await self._send_summary(attendee.device, summary):
            return False
        meeting.settled_at = _now()
        session = attendee.session
        if session is not None:
            if not meeting.transcript.revision:  # the summary of nothing is not worth a letter
                session.send_json(summary)
            for _ in range(meeting.repeats):
                session.send_json(replace(summary, idempotent=True))
        return True

    def _told(self, attendee: Attendee, meeting: Meeting, error: Error | MeetingError) -> bool:
        """Tell the device, if it asked and is there to ask again, that there is no summary."""
        session = attendee.session
        if meeting.because != "asked" or session is None:
            return False
        if isinstance(error, Error):
            session.send_error(error.code, error.message)
        else:
            session.send_json(error)
        return True

    def _failed(self, error: Exception) -> None:
        _log.error("the summarizer failed", exc_info=error)
        failed = TaskFailed(task="summarizer", error=printable(f"{type(error).__name__}: {error}"))
        self._observers.emit(failed)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _summary_of(summarizer: Summarizer, notes: Any, rest: Sequence[Snippet]) -> Summary:
    return summarizer.summarize(summarizer.digest(notes, rest) if rest else notes)
