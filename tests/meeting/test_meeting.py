"""Tests of meetings: messages, pushes, batches, the end, and what a lost connection does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.config import MeetingConfig
from gateway.meeting import conclusion as conclusion_module
from gateway.meeting import meeting as meeting_module
from gateway.meeting.summary import Summary
from gateway.observe.events import (
    MeetingFinalized,
    MessageRejected,
    SnapshotCancelled,
    SnapshotSent,
    SnippetsTaken,
    TaskFailed,
)
from tests.meeting.rooms import Room
from tests.virtual_time import EPOCH, timers, virtual_time

OK = {"type": "meeting", "status": "ok", "phase": "snippet"}
ACK = {"type": "meeting", "status": "ok", "phase": "finalize"}


def summaries(session: Any) -> list[dict[str, Any]]:
    """Return the summaries that a session was sent."""
    return [message for message in session.messages if message.get("phase") == "summary"]


def pushes(session: Any) -> list[tuple[float, int]]:
    """Return the time and the revision of each push that a session was sent."""
    return [(time, sent["revision"]) for time, sent in session.sent if sent.get("phase") == "transcript"]


# --- snippets -------------------------------------------------------------------------------------------------


@virtual_time
async def test_snippet_answer():
    """A snippet is answered with exactly the seed's payload."""
    room = Room()
    session = room.enter()
    room.ask(session, "snippet", items=[{"tag": "t", "text": "大家好", "speakerId": "s1"}])
    assert session.take() == [OK]
    assert room.records.of(SnippetsTaken)[0].taken == 1
    assert room.meetings.is_in_meeting(session.device)


@virtual_time
async def test_running_meetings_are_counted():
    """Meetings that run are counted, those of absent devices included, and not those that ended."""
    room = Room()
    for n in range(3):
        room.snippet(room.enter(f"dev-{n}"), "hello")
    here, away, ended = (attendee.session for attendee in room.meetings.attendees())
    room.leave(away)
    room.ask(ended, "finalize")
    assert len(room.meetings) == 2
    assert room.meetings.is_in_meeting(here.device)


@virtual_time
async def test_ignored_snippets_are_counted():
    """Snippets over ten a second are answered ok, with how many were ignored; a repeated text is not among them."""
    room = Room()
    session = room.enter()
    assert room.snippet(session, *map(str, range(12)), "3") == {**OK, "ignored": 2}
    assert (room.records.of(SnippetsTaken)[0].taken, room.records.of(SnippetsTaken)[0].ignored) == (10, 2)


@virtual_time
async def test_200_pending_are_ignored():
    """While the pool is busy batches stay pending, and past 200 snippets are ignored."""
    room = Room()
    room.pool_busy = True
    session = room.enter()
    for n in range(200):
        assert room.snippet(session, f"text {n}") == OK
        await asyncio.sleep(0.11)
    assert room.snippet(session, "one more") == {**OK, "ignored": 1}
    room.pool_busy = False
    await asyncio.sleep(12)
    assert room.snippet(session, "one more") == OK


@virtual_time
async def test_empty_items_begin_no_meeting():
    """A message without snippets is ok and begins nothing."""
    room = Room()
    session = room.enter()
    assert room.snippet(session) == OK
    assert not room.meetings.is_in_meeting(session.device)
    room.leave(session)
    assert timers() == []


@pytest.mark.parametrize(
    "fields",
    [
        {"phase": "snippet"},
        {"phase": "snippet", "items": {"text": "a"}},
        {"phase": "snippet", "items": [{"tag": "x"}]},
        {"phase": "snippet", "items": [], "meeting_id": 5},
        {"phase": "snippet", "items": [], "title": []},
        {"phase": "finalize", "meeting_id": "m" * 129},
        {"phase": "snapshot", "delay_ms": "5"},
        {"phase": "snapshot", "delay_ms": True},
        {"phase": "transcript"},
        {"phase": ["snippet"]},
        {},
    ],
)
def test_bad_messages(fields):
    """A step that cannot be taken is answered SCHEMA_INVALID, and changes nothing."""

    @virtual_time
    async def check():
        room = Room()
        session = room.enter()
        room.ask(session, fields.get("phase"), **{name: value for name, value in fields.items() if name != "phase"})
        (answer,) = session.messages
        assert (answer["type"], answer["status"], answer["code"]) == ("meeting", "error", "SCHEMA_INVALID")
        assert room.records.of(MessageRejected)
        assert not room.meetings.is_in_meeting(session.device)
        assert timers() == []

    check()


# --- pushes ---------------------------------------------------------------------------------------------------


@virtual_time
async def test_push_while_it_changes():
    """The transcript is pushed every five seconds while it changes, and not when it does not."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    await asyncio.sleep(4)
    room.snippet(session, "two")
    await asyncio.sleep(20)
    room.snippet(session, "three")
    await asyncio.sleep(20)
    assert pushes(session) == [(pytest.approx(5), 2), (pytest.approx(29), 3)]
    push = next(message for message in session.messages if message.get("phase") == "transcript")
    assert push == {
        "type": "meeting",
        "phase": "transcript",
        "items": [{"ts": int(EPOCH * 1000), "text": "one"}, {"ts": int(EPOCH * 1000) + 4000, "text": "two"}],
        "revision": 2,
    }


@pytest.mark.parametrize(("configured", "seconds"), [(0, 3), (-5, 3), (3000, 3), (7000, 7), (15_001, 15)])
def test_push_interval_is_clamped(configured, seconds):
    """The push interval is brought into 3 to 15 seconds."""

    @virtual_time
    async def check():
        room = Room(MeetingConfig(transcript_push_interval_ms=configured))
        session = room.enter()
        room.snippet(session, "one")
        await asyncio.sleep(20)
        assert pushes(session) == [(pytest.approx(seconds), 1)]

    check()


@virtual_time
async def test_no_push_after_the_end():
    """Nothing is pushed after finalize, and no timer is left."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    await asyncio.sleep(30)
    assert pushes(session) == []
    assert timers() == []


@virtual_time
async def test_push_that_failed_is_made_up_for():
    """A push that a dying connection did not take goes to the connection that replaces it."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    session.broken = True
    await asyncio.sleep(6)
    session.broken = False
    room.meetings.on_replaced(session)
    await asyncio.sleep(6)
    assert pushes(session) == [(pytest.approx(11), 1)]


# --- batches --------------------------------------------------------------------------------------------------


class Scribe:
    """A summarizer that writes down what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.fails = False

    def digest(self, notes: Any, batch: Any) -> Any:
        """Write down a batch."""
        if self.fails:
            raise ValueError("no ink")
        self.batches.append([snippet.text for snippet in batch])
        return [*(notes or []), *(snippet.text for snippet in batch)]

    def summarize(self, notes: Any) -> Summary:
        """Read out what was said."""
        if self.fails:
            raise ValueError("no ink")
        return Summary(title="minutes", bullets=list(notes or []))


@virtual_time
async def test_batches_every_12_seconds():
    """Pending snippets go to the summarizer every 12 s, in order, each once; the rest goes with the summary."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    session = room.enter()
    for n in range(15):
        room.snippet(session, str(n))
        await asyncio.sleep(2.1)
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert scribe.batches == [["0", "1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10", "11"], ["12", "13", "14"]]
    assert summaries(session)[0]["bullets"] == [str(n) for n in range(15)]
    assert summaries(session)[0]["title"] == "minutes"


@virtual_time
async def test_finalize_during_a_batch():
    """A summary that is asked for while a batch is being digested has the batch in it, once."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    room.pool_seconds = 5
    session = room.enter()
    room.snippet(session, "one")
    await asyncio.sleep(13)
    room.snippet(session, "two")
    room.ask(session, "finalize")
    assert session.messages[-1] == ACK
    await asyncio.sleep(10)
    assert summaries(session)[0]["bullets"] == ["one", "two"]
    assert room.at_once == 1


@virtual_time
async def test_finalize_before_a_batch_that_waits():
    """A batch that still waits for the one before it is not digested for its own sake: the device waits."""
    room = Room(summarizer=Scribe())
    room.pool_seconds = 20
    session = room.enter()
    room.snippet(session, "one")
    await asyncio.sleep(13)
    room.snippet(session, "two")
    await asyncio.sleep(13)
    room.ask(session, "finalize")
    await asyncio.sleep(60)
    assert summaries(session)[0]["bullets"] == ["one", "two"]
    assert room.calls == ["digest", "_summary_of"]


@virtual_time
async def test_summarizer_that_fails_on_a_batch():
    """A batch that the summarizer fails on is given up, reported, and the meeting goes on."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    session = room.enter()
    room.snippet(session, "one")
    scribe.fails = True
    await asyncio.sleep(13)
    scribe.fails = False
    room.snippet(session, "two")
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert summaries(session)[0]["bullets"] == ["two"]
    assert "no ink" in room.records.of(TaskFailed)[0].error


# --- finalize -------------------------------------------------------------------------------------------------


@virtual_time
async def test_finalize():
    """Finalize is acknowledged at once, then the summary comes, with the time from the first snippet to the end."""
    room = Room()
    session = room.enter()
    room.snippet(session, "我们决定周五上线。")
    await asyncio.sleep(90)
    session.take()
    room.ask(session, "finalize", title="例会")
    assert session.take() == [ACK]
    await asyncio.sleep(0.1)
    (summary,) = session.take()
    assert summary == {
        "type": "meeting",
        "phase": "summary",
        "title": "例会",
        "duration": 90,
        "bullets": ["我们决定周五上线"],
        "decisions": ["我们决定周五上线"],
        "actions": [],
        "risks": [],
        "nextSteps": [],
    }
    assert not room.meetings.is_in_meeting(session.device)
    (finalized,) = room.records.of(MeetingFinalized)
    assert (finalized.because, finalized.seconds, finalized.snippets) == ("asked", 90, 1)


@virtual_time
async def test_repeated_finalize():
    """A repeat gives the same summary with idempotent true, made once."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    await asyncio.sleep(100)
    room.ask(session, "finalize")
    first, second = summaries(session)
    assert second == {**first, "idempotent": True}
    assert room.calls.count("_summary_of") == 1
    assert len(room.records.of(MeetingFinalized)) == 1


@virtual_time
async def test_concurrent_finalize():
    """Those who ask while the summary is being made get it too, marked; at most ten of them."""
    room = Room()
    room.pool_seconds = 3
    session = room.enter()
    room.snippet(session, "one")
    for _ in range(20):
        room.ask(session, "finalize")
    assert room.meetings.is_busy(session)
    await asyncio.sleep(4)
    first, *others = summaries(session)
    assert "idempotent" not in first
    assert others == [{**first, "idempotent": True}] * 10
    assert room.calls == ["_summary_of"]
    assert not room.meetings.is_busy(session)


@virtual_time
async def test_snippet_after_finalize_is_ignored():
    """A snippet after finalize is ok and ignored, with the meeting's id and, for a minute, without one."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one", meeting_id="m1")
    room.ask(session, "finalize")
    assert room.snippet(session, "two", "three") == {**OK, "ignored": 2}
    await asyncio.sleep(59)
    assert room.snippet(session, "two") == {**OK, "ignored": 1}
    await asyncio.sleep(2)
    assert room.snippet(session, "two", meeting_id="m1") == {**OK, "ignored": 1}
    assert room.snippet(session, "two") == OK
    assert room.snippet(session, "three", meeting_id="m1") == {**OK, "ignored": 1}


@virtual_time
async def test_mode_start_begins_another():
    """After the meeting mode was started, snippets without an id begin another meeting at once."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    room.meetings.on_mode_start(session, "coding")
    assert room.snippet(session, "two") == {**OK, "ignored": 1}
    room.meetings.on_mode_start(session, "meeting")
    assert room.snippet(session, "two") == OK
    await asyncio.sleep(1)
    session.take()
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert [summary["bullets"] for summary in summaries(session)] == [["two"]]


@virtual_time
async def test_mode_start_within_a_meeting_changes_nothing():
    """Starting the mode again while the meeting runs does not end it."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.meetings.on_mode_start(session, "meeting")
    room.snippet(session, "two")
    room.ask(session, "finalize")
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert [summary["bullets"] for summary in summaries(session)] == [["one", "two"]] * 2


@virtual_time
async def test_another_meeting_id_begins_another():
    """A message with another id ends the running meeting, whose summary is sent, and begins another."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one", meeting_id="m1")
    room.snippet(session, "two", meeting_id="m2")
    await asyncio.sleep(1)
    assert [summary["bullets"] for summary in summaries(session)] == [["one"]]
    assert room.records.of(MeetingFinalized)[0].because == "next"
    assert room.snippet(session, "late", meeting_id="m1") == {**OK, "ignored": 1}
    room.ask(session, "finalize", meeting_id="m1")
    room.ask(session, "finalize", meeting_id="m2")
    await asyncio.sleep(1)
    _, again, second = summaries(session)
    assert (again["bullets"], again["idempotent"]) == (["one"], True)
    assert (second["bullets"], "idempotent" in second) == (["two"], False)


def hold(room: Room, session: Any, id_: str) -> None:
    """Let a device have a meeting of one snippet, and finalize it."""
    room.snippet(session, f"about {id_}", meeting_id=id_)
    room.ask(session, "finalize", meeting_id=id_)


@virtual_time
async def test_earlier_meetings_are_known():
    """Finalize of a meeting before the last one gives its summary again, and a late snippet of it is ignored."""
    room = Room()
    session = room.enter()
    for id_ in ("m1", "m2"):
        hold(room, session, id_)
        await asyncio.sleep(1)
    room.ask(session, "finalize", meeting_id="m1")
    await asyncio.sleep(1)
    first, second, again = summaries(session)
    assert (first["bullets"], second["bullets"]) == (["about m1"], ["about m2"])
    assert again == {**first, "idempotent": True}
    assert room.snippet(session, "late", meeting_id="m1") == {**OK, "ignored": 1}
    assert room.snippet(session, "three", meeting_id="m3") == OK
    assert room.snippet(session, "late", meeting_id="m1") == {**OK, "ignored": 1}
    assert room.meetings.is_in_meeting(session.device)


@virtual_time
async def test_the_last_eight_are_known():
    """Of more meetings than eight the first is forgotten: its id begins another."""
    room = Room()
    session = room.enter()
    for number in range(9):
        hold(room, session, f"m{number}")
        await asyncio.sleep(1)
    session.take()
    assert room.snippet(session, "late", meeting_id="m1") == {**OK, "ignored": 1}
    for number in (1, 0):
        room.ask(session, "finalize", meeting_id=f"m{number}")
        await asyncio.sleep(1)
    again, empty = summaries(session)
    assert (again["bullets"], again["idempotent"]) == (["about m1"], True)
    assert (empty["bullets"], "idempotent" in empty) == ([], False)


@virtual_time
async def test_an_id_may_be_used_again():
    """Ten minutes after its summary a meeting is not known any more, as a device may begin anew to count them."""
    room = Room()
    session = room.enter()
    hold(room, session, "m1")
    await asyncio.sleep(300)
    hold(room, session, "m2")
    await asyncio.sleep(299)
    assert room.snippet(session, "late", meeting_id="m1") == {**OK, "ignored": 1}
    await asyncio.sleep(2)
    assert room.snippet(session, "late", meeting_id="m2") == {**OK, "ignored": 1}
    hold(room, session, "m1")
    await asyncio.sleep(1)
    assert ["idempotent" in summary for summary in summaries(session)] == [False, False, False]
    assert summaries(session)[2]["bullets"] == ["about m1"]
    assert [len(attendee.ended) for attendee in room.meetings.attendees()] == [2]


@virtual_time
async def test_a_meeting_that_waits_for_its_summary_is_not_forgotten():
    """However long it takes until the summary is out, the meeting is known until ten minutes after that."""
    room = Room()
    session = room.enter()
    room.pool_busy = True
    room.snippet(session, "one", meeting_id="m1")
    room.snippet(session, "two", meeting_id="m2")
    await asyncio.sleep(700)
    room.pool_busy = False
    await asyncio.sleep(10)
    room.ask(session, "finalize", meeting_id="m1")
    first, again = summaries(session)
    assert again == {**first, "idempotent": True}


@virtual_time
async def test_a_meeting_takes_the_first_id():
    """A meeting that began without an id takes the first that is named, so that its repeats are known."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize", meeting_id="m1")
    await asyncio.sleep(1)
    room.ask(session, "finalize", meeting_id="m1")
    assert [summary["bullets"] for summary in summaries(session)] == [["one"], ["one"]]
    assert summaries(session)[1]["idempotent"]


@virtual_time
async def test_finalize_of_nothing():
    """Finalize without a meeting gives an empty summary, repeats included, and stands in no snippet's way."""
    room = Room()
    session = room.enter()
    for _ in range(2):
        room.ask(session, "finalize")
        await asyncio.sleep(1)
    first, second = summaries(session)
    assert (first["duration"], first["bullets"]) == (0, [])
    assert second == {**first, "idempotent": True}
    assert room.snippet(session, "one") == OK
    assert room.calls == []
    assert len(room.records.of(MeetingFinalized)) == 0


@virtual_time
async def test_finalize_of_an_unknown_id_leaves_the_running_meeting():
    """Finalize with an id that is not known ends no meeting with another one."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one", meeting_id="m1")
    room.ask(session, "finalize", meeting_id="m0")
    await asyncio.sleep(1)
    assert [summary["bullets"] for summary in summaries(session)] == [[]]
    assert room.meetings.is_in_meeting(session.device)
    assert room.snippet(session, "two", meeting_id="m0") == {**OK, "ignored": 1}


@virtual_time
async def test_busy_pool():
    """With the pool busy the device is told BUSY after the acknowledgement, and may finalize again."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.pool_busy = True
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert session.messages[-2:] == [ACK, {"type": "error", "code": "BUSY", "message": session.messages[-1]["message"]}]
    assert room.snippet(session, "two") == {**OK, "ignored": 1}
    room.pool_busy = False
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert [(summary["bullets"], "idempotent" in summary) for summary in summaries(session)] == [(["one"], False)]


@virtual_time
async def test_busy_pool_and_the_device_goes():
    """A device that was told BUSY and went away finds its summary in the mailbox."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.pool_busy = True
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    room.leave(session)
    await asyncio.sleep(70)
    assert room.mail == []
    room.pool_busy = False
    await asyncio.sleep(5)
    assert [summary.bullets for _, summary in room.mail] == [["one"]]


@virtual_time
async def test_summarizer_that_fails():
    """A device whose summary cannot be made is told so, and may ask again."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    session = room.enter()
    room.snippet(session, "one")
    scribe.fails = True
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert session.messages[-1]["code"] == "INTERNAL_ERROR"
    scribe.fails = False
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert summaries(session)[0]["bullets"] == ["one"]


@virtual_time
async def test_too_many_unsettled_meetings():
    """With four meetings that wait for their summary a further one cannot begin; it can when they are out."""
    room = Room()
    room.pool_busy = True
    session = room.enter()
    for n in range(5):
        assert room.snippet(session, "hello", meeting_id=f"m{n}") == OK
    assert room.snippet(session, "hello", meeting_id="m5") == {**OK, "ignored": 1}
    room.pool_busy = False
    await asyncio.sleep(6)
    assert len(summaries(session)) == 4
    assert room.snippet(session, "hello", meeting_id="m5") == OK


# --- connections ----------------------------------------------------------------------------------------------


@virtual_time
async def test_resumed_meeting():
    """A device that is back within 60 s goes on with its meeting: nothing is finalized, revision and texts go on."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    await asyncio.sleep(1)
    room.leave(session)
    await asyncio.sleep(58.9)
    back = room.enter()
    room.snippet(back, "one", "two")
    await asyncio.sleep(120)
    assert pushes(back)[-1][1] == 2
    assert room.meetings.is_in_meeting(back.device)
    assert room.records.of(MeetingFinalized) == []
    assert room.mail == []


@virtual_time
async def test_absent_device():
    """A device that does not come back has its meeting finalized after 60 s, and the summary in its mailbox."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one", title="standup")
    await asyncio.sleep(30)
    room.leave(session)
    await asyncio.sleep(59.9)
    assert room.meetings.is_in_meeting(session.device)
    await asyncio.sleep(0.2)
    ((device, summary),) = room.mail
    assert (device, summary.title, summary.duration, summary.bullets) == ("dev-0001", "standup", 30, ["one"])
    (finalized,) = room.records.of(MeetingFinalized)
    assert (finalized.because, finalized.session) == ("absent", "")


@virtual_time
async def test_back_after_the_end():
    """After an absent end a repeated finalize gets the summary, and snippets without an id begin another meeting."""
    room = Room()
    room.snippet(room.enter(), "one", meeting_id="m1")
    room.leave(room.meetings.attendees()[0].session)
    await asyncio.sleep(120)
    back = room.enter()
    room.ask(back, "finalize")
    assert summaries(back)[0]["idempotent"]
    assert room.snippet(back, "two") == OK
    assert room.snippet(back, "two", meeting_id="m1") == {**OK, "ignored": 1}


@virtual_time
async def test_forgotten_in_the_end():
    """Ten minutes after its end, nothing of an absent device's meeting is left."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.leave(session)
    await asyncio.sleep(60 + 600 + 1)
    assert room.meetings.attendees() == ()
    assert timers() == []


@virtual_time
async def test_batches_go_on_while_absent():
    """What a device said before it went is digested while it is away, but nothing is pushed."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    session = room.enter()
    room.snippet(session, "one")
    room.leave(session)
    await asyncio.sleep(13)
    assert scribe.batches == [["one"]]
    assert pushes(session) == []


@virtual_time
async def test_gone_while_the_summary_is_made():
    """A device that asks and goes finds the summary in its mailbox, one that came back gets it directly."""
    room = Room()
    room.pool_seconds = 3
    session = room.enter("dev-gone")
    room.snippet(session, "one")
    room.ask(session, "finalize")
    other = room.enter("dev-back")
    room.snippet(other, "two")
    room.ask(other, "finalize")
    await asyncio.sleep(1)
    room.leave(session)
    room.leave(other)
    back = room.enter("dev-back")
    await asyncio.sleep(3)
    assert [device for device, _ in room.mail] == ["dev-gone"]
    assert summaries(back)[0]["bullets"] == ["two"]


@virtual_time
async def test_summary_that_could_not_be_sent():
    """A summary that the connection did not take goes into the mailbox."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    session.broken = True
    await asyncio.sleep(1)
    assert len(room.mail) == 1


@virtual_time
async def test_busy_until_the_summary_has_arrived():
    """While the summary is on its way the device counts as busy; who asks meanwhile has it again at once."""
    arrived = asyncio.Event()

    async def send_summary(device: Any, summary: Any) -> bool:
        session.send_json(summary)
        await arrived.wait()
        return True

    room = Room(send_summary=send_summary)
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    await asyncio.sleep(1)
    assert room.meetings.is_busy(session)
    room.ask(session, "finalize")
    assert [summary.get("idempotent") for summary in summaries(session)] == [None, True]
    arrived.set()
    await asyncio.sleep(1)
    assert not room.meetings.is_busy(session)
    assert len(summaries(session)) == 2


@virtual_time
async def test_a_summary_on_its_way_at_the_stop():
    """What the courier has taken and is bringing to the mailbox is not put away, too, to be sent once more."""

    async def send_summary(device: Any, summary: Any) -> bool:
        await asyncio.sleep(1)
        return True

    room = Room(send_summary=send_summary)
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "finalize")
    await asyncio.sleep(0.5)
    await room.meetings.stop()
    assert [attendee.is_settled for attendee in room.meetings.attendees()] == [True]


@virtual_time
async def test_mailbox_that_fails():
    """A summary that the mailbox does not take is tried again until it does, or until the device is back."""
    room = Room()
    room.mail_fails = True
    session = room.enter()
    room.snippet(session, "one")
    room.leave(session)
    await asyncio.sleep(80)
    assert room.mail == []
    room.mail_fails = False
    await asyncio.sleep(5)
    assert len(room.mail) == 1
    await asyncio.sleep(50)
    assert len(room.mail) == 1


@virtual_time
async def test_summarizer_that_fails_with_nobody_there():
    """A summary that cannot be made for an absent device is given up, with a record, and forgotten in time."""
    scribe = Scribe()
    room = Room(summarizer=scribe)
    session = room.enter()
    room.snippet(session, "one")
    scribe.fails = True
    room.leave(session)
    await asyncio.sleep(700)
    assert room.records.of(TaskFailed)
    assert room.mail == []
    assert room.meetings.attendees() == ()


@virtual_time
async def test_resume_time_is_configured():
    """The time to come back is ``meeting.resume``."""
    room = Room(MeetingConfig(resume=5))
    session = room.enter()
    room.snippet(session, "one")
    room.leave(session)
    await asyncio.sleep(5.1)
    assert len(room.mail) == 1


@virtual_time
async def test_back_just_after_the_end():
    """What a device says that comes back just too late is not taken for late: it never asked for the end."""
    room = Room(MeetingConfig(resume=5))
    session = room.enter()
    room.snippet(session, "one")
    room.leave(session)
    await asyncio.sleep(6)
    assert room.snippet(room.enter(), "two") == OK


@virtual_time
async def test_too_many_absent_devices(monkeypatch):
    """Past the bound, the meeting of the device that went first is finalized early, and its summary mailed."""
    monkeypatch.setattr(meeting_module, "ABSENT", 3)
    room = Room()
    for n in range(4):
        session = room.enter(f"dev-{n}")
        room.snippet(session, "hello")
        room.leave(session)
    await asyncio.sleep(1)
    assert [device for device, _ in room.mail] == ["dev-0"]
    assert [event.because for event in room.records.of(MeetingFinalized)] == ["crowded"]
    assert [attendee.device for attendee in room.meetings.attendees()] == ["dev-1", "dev-2", "dev-3"]


@virtual_time
async def test_too_many_conclusions(monkeypatch, caplog):
    """Past the bound of summaries under way, who asks is told BUSY, and the meeting of an absent device is lost."""
    monkeypatch.setattr(conclusion_module, "CONCLUSIONS", 1)
    room = Room()
    room.pool_busy = True
    for n in range(2):
        session = room.enter(f"dev-{n}")
        room.snippet(session, "hello")
        room.leave(session)
        await asyncio.sleep(0.1)
    asking = room.enter("dev-9")
    room.snippet(asking, "hello")
    await asyncio.sleep(61)
    room.ask(asking, "finalize")
    assert asking.messages[-1]["code"] == "BUSY"
    assert "a meeting of dev-1 is lost" in caplog.text
    room.pool_busy = False
    await asyncio.sleep(5)
    assert [device for device, _ in room.mail] == ["dev-0"]
    room.ask(asking, "finalize")
    await asyncio.sleep(1)
    assert summaries(asking)[0]["bullets"] == ["hello"]


@virtual_time
async def test_stale_session_does_not_end_the_newer_one():
    """The end of a session that is not the device's present one changes nothing."""
    room = Room()
    old = room.enter()
    room.snippet(old, "one")
    new = room.enter()
    room.meetings.on_offline(old)
    await asyncio.sleep(100)
    assert room.meetings.is_in_meeting(new.device)


# --- snapshots ------------------------------------------------------------------------------------------------


@virtual_time
async def test_snapshot():
    """The transcript of the running meeting is sent on request, at once; without a meeting it is empty."""
    room = Room()
    session = room.enter()
    room.ask(session, "snapshot")
    room.snippet(session, "one")
    session.take()
    room.ask(session, "snapshot")
    assert session.take() == [
        {
            "type": "meeting",
            "status": "ok",
            "phase": "snapshot",
            "revision": 1,
            "items": [{"ts": int(EPOCH * 1000), "text": "one"}],
        }
    ]
    room.ask(session, "finalize")
    room.ask(session, "snapshot")
    assert session.messages[-1]["items"] == []


@virtual_time
async def test_delayed_snapshot_is_read_when_it_fires():
    """A delayed snapshot shows the transcript as it is when it is sent."""
    room = Room()
    session = room.enter()
    room.snippet(session, "one")
    room.ask(session, "snapshot", delay_ms=2000)
    await asyncio.sleep(1)
    room.snippet(session, "two")
    session.take()
    await asyncio.sleep(1.1)
    (snapshot,) = session.take()
    assert (snapshot["revision"], len(snapshot["items"])) == (2, 2)
    assert room.records.of(SnapshotSent)[0].delay_ms == 2000


@pytest.mark.parametrize(("end", "why"), [("on_replaced", "replaced"), ("on_offline", "offline")])
def test_pending_snapshot_is_cancelled(end, why):
    """A pending snapshot does not outlive the connection that asked for it."""

    @virtual_time
    async def check():
        room = Room()
        session = room.enter()
        room.ask(session, "snapshot", delay_ms=2000)
        getattr(room.meetings, end)(session)
        await asyncio.sleep(3)
        assert session.messages == []
        assert [event.why for event in room.records.of(SnapshotCancelled)] == [why]

    check()


# --- stop -----------------------------------------------------------------------------------------------------


@virtual_time
async def test_stop_leaves_nothing_behind():
    """After the stop no timer and no task is left, whatever was going on."""
    room = Room()
    room.pool_seconds = 100
    for n, phase in enumerate(("snippet", "finalize", "absent")):
        session = room.enter(f"dev-{n}")
        room.snippet(session, "one")
        if phase == "finalize":
            room.ask(session, "finalize")
        elif phase == "absent":
            room.leave(session)
    await asyncio.sleep(12.5)
    await room.meetings.stop()
    assert timers() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [len(attendee.unsettled) for attendee in room.meetings.attendees()] == [0, 1, 0]
    assert [len(attendee.running.transcript.pending) for attendee in room.meetings.attendees() if attendee.running] == [
        1,
        1,
    ]
