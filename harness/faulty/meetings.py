"""Defects of meetings: what is taken, what is answered, when a meeting ends, and what becomes of its summary."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.identity import DeviceId
from gateway.meeting.attendee import Attendee, Meeting
from gateway.meeting.conclusion import Conclusions, Run
from gateway.meeting.meeting import Meetings
from gateway.meeting.transcript import Snippet, SnippetRate, Transcript, Verdict, read_snippets
from gateway.observe.events import Observers
from gateway.peer.courier import Courier
from gateway.protocol import messages
from gateway.protocol.messages import MeetingAnswer, MeetingError, MeetingSummary, MeetingTranscript
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

# --- while it runs ------------------------------------------------------------------------------------------------


@defect(
    "A snippet is acknowledged with a count of its own, in the place of the status.",
    found_by="test_meetings.py::test_a_snippet_is_acknowledged",
    message="a snippet was not acknowledged as the protocol has it",
)
def snippets_are_counted_to_the_device() -> Planted:
    send = Session.send_json

    def send_json(self: Session, message: Any) -> Sent:
        if isinstance(message, MeetingAnswer) and message.phase == "snippet" and not message.ignored:
            message = MeetingAnswer("snippet", ignored=0)
        return send(self, message)

    return patch.object(Session, "send_json", send_json)


@defect(
    "The good items of a bad message are taken, the others passed over, and the answer is ok.",
    found_by=tuple(
        f"test_meetings.py::test_a_bad_step_is_answered_with_schema_invalid[{bad}]"
        for bad in ("an item is no object", "an item without text", "a text that is no string", "one bad item of two")
    ),
    message="a bad step of a meeting was not answered with SCHEMA_INVALID",
)
def bad_items_are_passed_over() -> Planted:
    def read(items: Any, ts: int) -> list[Snippet]:
        good = (
            [item for item in items if isinstance(item, dict) and isinstance(item.get("text"), str)]
            if (isinstance(items, list))
            else items
        )
        return read_snippets(good, ts)

    return patch("gateway.meeting.meeting.read_snippets", read)


@defect(
    "A bad step of a meeting is logged, and not answered.",
    found_by=(
        "test_meetings.py::test_a_bad_step_is_answered_with_schema_invalid",
        "test_sending.py::test_every_message_is_one_json_text_frame[meeting]",
        "test_delayed_snapshots.py::test_a_delay_that_is_no_number_is_refused[transcript]",
    ),
    message="a bad step of a meeting was not answered|kind meeting was not sent|was not refused as SCHEMA_INVALID",
)
def bad_steps_are_not_answered() -> Planted:
    send = Session.send_error

    def send_error(self: Session, code: str, message: str, ref: str | None = None, answer: Any = None) -> Sent:
        if isinstance(answer, MeetingError):
            return Sent.WRITTEN
        return send(self, code, message, ref, answer)

    return patch.object(Session, "send_error", send_error)


@defect(
    "A text that is sent again is taken again.",
    found_by="test_meetings.py::test_the_same_text_is_taken_once",
    message="a text that was repeated stands twice in the transcript",
)
def repeated_texts_are_taken_again() -> Planted:
    take = Transcript.take

    def take_anew(self: Transcript, snippet: Snippet, now: float, rate: SnippetRate) -> Verdict:
        self._recent.clear()
        return take(self, snippet, now, rate)

    return patch.object(Transcript, "take", take_anew)


@defect(
    "Snippets are taken at any rate.",
    found_by="test_meetings.py::test_snippets_over_the_rate_are_ignored_and_counted",
    message="snippets over the rate of 10 a second were not ignored and counted",
)
def snippets_at_any_rate() -> Planted:
    return patch.object(SnippetRate, "allows", lambda _self, _now: True)


@defect(
    "A text is cut at a byte: half a character is left of it.",
    found_by="test_meetings.py::test_a_long_text_is_cut_between_characters",
    message="a snippet was cut within a character",
)
def texts_are_cut_at_a_byte() -> Planted:
    def cut(text: str, size: int) -> str:
        return text.encode()[: size - 2].decode(errors="replace")

    return patch("gateway.meeting.transcript.cut", cut)


@defect(
    "The transcript is never pushed.",
    found_by="test_meetings.py::test_the_transcript_is_pushed_while_the_meeting_runs",
    message="the transcript of a running meeting was not pushed",
)
def transcripts_are_not_pushed() -> Planted:
    send = Session.send_json

    def send_json(self: Session, message: Any) -> Sent:
        return Sent.WRITTEN if isinstance(message, MeetingTranscript) else send(self, message)

    return patch.object(Session, "send_json", send_json)


# --- its end ------------------------------------------------------------------------------------------------------


@defect(
    "Finalize is acknowledged when its summary is there.",
    found_by="test_meetings.py::test_finalize_is_acknowledged_before_the_summary",
    message="finalize was not acknowledged before its summary",
)
def finalize_waits_for_the_summary() -> Planted:
    send = Session.send_json
    waiting: dict[DeviceId, MeetingAnswer] = {}

    def send_json(self: Session, message: Any) -> Sent:
        if isinstance(message, MeetingAnswer) and message.phase == "finalize":
            waiting[self.device] = message
            return Sent.WRITTEN
        sent = send(self, message)
        if isinstance(message, MeetingSummary | MeetingError) and self.device in waiting:
            send(self, waiting.pop(self.device))
        return sent

    return patch.object(Session, "send_json", send_json)


@defect(
    "The summary is made in the loop: nobody is answered until it is there.",
    found_by="test_meetings.py::test_nobody_waits_for_a_summary_to_be_made",
    message="a summary was made in the loop",
    network="tcp",
)
def summaries_are_made_in_the_loop() -> Planted:
    make = Conclusions.__init__

    async def run(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    def init(self: Conclusions, observers: Observers, _run: Run, *arguments: Any) -> None:
        make(self, observers, run, *arguments)

    return patch.object(Conclusions, "__init__", init)


@defect(
    "A meeting that has ended is forgotten: a repeated finalize is that of another one.",
    found_by="test_meetings.py::test_a_repeated_finalize_gets_the_same_summary",
    message="the summary of a repeated finalize does not say idempotent",
)
def finalize_is_not_idempotent() -> Planted:
    finalize = Attendee.finalize

    def finalize_anew(self: Attendee, id_: str | None, now: float) -> tuple[Meeting, bool]:
        self.ended.clear()
        return finalize(self, id_, now)

    return patch.object(Attendee, "finalize", finalize_anew)


@defect(
    "A snippet that was under way when its meeting ended begins another meeting.",
    found_by="test_meetings.py::test_a_snippet_after_finalize_is_ignored",
    message="a snippet that came after finalize was not ignored",
)
def late_snippets_begin_a_meeting() -> Planted:
    take = Attendee.take

    def take_as_another(self: Attendee, snippets: Any, id_: str | None, now: float) -> Any:
        self.expects_another()
        return take(self, snippets, id_, now)

    return patch.object(Attendee, "take", take_as_another)


# --- over connections -----------------------------------------------------------------------------------------------


@defect(
    "A meeting ends with the connection of its device.",
    found_by=(
        "test_meetings.py::test_a_disconnect_does_not_finalize",
        "test_restart.py::test_a_meeting_goes_on_after_a_restart",
    ),
    message="a disconnect ended the meeting|a meeting did not go on after a restart",
)
def a_disconnect_finalizes() -> Planted:
    offline = Meetings.on_offline

    def on_offline(self: Meetings, session: Session) -> None:
        self._handle(session, messages.Meeting(phase="finalize"))
        offline(self, session)

    return patch.object(Meetings, "on_offline", on_offline)


@defect(
    "The summary of a device that is not there is sent to nobody.",
    found_by="test_meetings.py::test_the_summary_of_a_device_that_stays_away_waits_for_it",
    message="the summary of a meeting whose device stayed away is lost",
)
def summaries_are_not_mailed() -> Planted:
    send = Courier.send_summary

    async def send_summary(self: Courier, device: DeviceId, summary: MeetingSummary) -> bool:
        present = device in self._deliveries
        return await send(self, device, summary) if present else True

    return patch.object(Courier, "send_summary", send_summary)
