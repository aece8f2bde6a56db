"""Meetings: snippets in, transcript and summary out; the meeting survives its device's connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.meeting.summary import Summary
from gateway.meeting.transcript import Snippet
from gateway.observe.events import MeetingFinalized, TaskFailed
from harness.device import Message
from pytest_wsdevice.conformance.own_gateways import device_of
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Gateways, Timeline

pytestmark = pytest.mark.asyncio

SNIPPET_BYTES = 2048
SNIPPETS_PER_SECOND = 10
UNTIL_MADE = 0.3
"""Seconds for a summary to be made while nobody is there: one that is not yet would be sent live, and prove less."""
SUMMARY = {
    "title": str,
    "duration": int,
    "bullets": list,
    "decisions": list,
    "actions": list,
    "risks": list,
    "nextSteps": list,
}
"""Fields of a summary, and what they are."""
BAD_MESSAGES: dict[str, dict[str, Any]] = {
    "no items": {"phase": "snippet"},
    "items are no list": {"phase": "snippet", "items": "we begin"},
    "an item is no object": {"phase": "snippet", "items": ["we begin"]},
    "an item without text": {"phase": "snippet", "items": [{"tag": "note"}]},
    "a text that is no string": {"phase": "snippet", "items": [{"tag": "note", "text": 7}]},
    "one bad item of two": {"phase": "snippet", "items": [{"tag": "note", "text": "good"}, {"text": None}]},
    "unknown phase": {"phase": "pause"},
}

# --- while it runs ----------------------------------------------------------------------------------------------


async def test_a_snippet_is_acknowledged(ws_devices: Devices) -> None:
    """With exactly ``{"type":"meeting","status":"ok","phase":"snippet"}``."""
    device = await ws_devices("device")

    answer = await say(device, "we begin")

    assert answer == {"type": "meeting", "status": "ok", "phase": "snippet"}, (
        f"a snippet was not acknowledged as the protocol has it: {answer}"
    )


@pytest.mark.parametrize("message", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_a_bad_step_is_answered_with_schema_invalid(ws_devices: Devices, message: dict[str, Any]) -> None:
    """In the shape of meetings; nothing of it is taken, not even its good items."""
    device = await ws_devices("device")

    await device.send({"type": "meeting", **message})

    with or_else("a bad step of a meeting was not answered"):
        answer = await device.expect("meeting")
    assert (answer.get("status"), answer.get("code")) == ("error", "SCHEMA_INVALID"), (
        f"a bad step of a meeting was not answered with SCHEMA_INVALID: {answer}"
    )
    items = (await transcript_of(device))["items"]
    assert items == [], f"something of a bad step was taken into the meeting: {items}"


async def test_the_same_text_is_taken_once(ws_devices: Devices) -> None:
    """Within 60 s: a device that repeats itself after a bad link does not fill the transcript."""
    device = await ws_devices("device")

    for text in ("we begin", "we go on", "we begin"):
        await say(device, text)

    texts = texts_of(await transcript_of(device))
    assert texts == ["we begin", "we go on"], f"a text that was repeated stands twice in the transcript: {texts}"


async def test_snippets_over_the_rate_are_ignored_and_counted(ws_devices: Devices) -> None:
    """Ten in a second are taken; the answer says ``ok``, and how many were ignored."""
    device = await ws_devices("device")
    texts = [f"sentence {number}" for number in range(SNIPPETS_PER_SECOND + 5)]

    answer = await say(device, *texts)

    assert (answer.get("status"), answer.get("ignored")) == ("ok", 5), (
        f"snippets over the rate of {SNIPPETS_PER_SECOND} a second were not ignored and counted: {answer}"
    )
    kept = texts_of(await transcript_of(device))
    assert kept == texts[:SNIPPETS_PER_SECOND], f"others than the first snippets of a message were taken: {kept}"


async def test_a_long_text_is_cut_between_characters(ws_devices: Devices) -> None:
    """To 2 KB at most, and never within a character of several bytes."""
    device = await ws_devices("device")
    text = "x" + "会" * SNIPPET_BYTES

    await say(device, text)

    (kept,) = texts_of(await transcript_of(device))
    assert len(kept.encode()) <= SNIPPET_BYTES, f"a snippet of {len(kept.encode())} bytes was kept, 2048 are allowed"
    assert text.startswith(kept), f"a snippet was cut within a character: it ends with {kept[-3:]!r}"
    assert len(kept.encode()) > SNIPPET_BYTES - 3, f"a snippet was cut to {len(kept.encode())} bytes, 2048 are allowed"


@pytest.mark.ws_gateway_config(adapts=True, meeting={"transcript_push_interval_ms": 3000})
async def test_the_transcript_is_pushed_while_the_meeting_runs(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Once per interval, with the last lines: when, who and what."""
    device = await ws_devices("device")
    interval = min(max(ws_gateway.config.meeting.transcript_push_interval_ms, 3000), 15_000) / 1000

    await say(device, "we begin", speaker="anna")
    await say(device, "we go on", speaker="ben")

    with or_else("the transcript of a running meeting was not pushed"):
        push = await device.expect("meeting", interval + 3, phase="transcript")
    lines = [(line.get("text"), line.get("speakerId")) for line in push["items"]]
    assert lines == [("we begin", "anna"), ("we go on", "ben")], f"the transcript is not what was said: {lines}"
    assert all(type(line.get("ts")) is int for line in push["items"]), f"a line of the transcript has no time: {push}"


# --- its end ----------------------------------------------------------------------------------------------------


async def test_finalize_is_acknowledged_before_the_summary(ws_devices: Devices) -> None:
    """At once; the summary follows, with every field of it."""
    device = await ws_devices("device")
    await say(device, "we decided to ship", "ben takes care of the cable")

    await device.send({"type": "meeting", "phase": "finalize"})

    with or_else("finalize was not acknowledged, or has no summary"):
        await device.expect("meeting", phase="finalize")
        summary = await device.expect("meeting", phase="summary")
    phases = [message["phase"] for message in device.received if message["type"] == "meeting"]
    assert phases == ["snippet", "finalize", "summary"], (
        f"finalize was not acknowledged before its summary: {' '.join(phases)}"
    )
    wrong = [name for name, kind in SUMMARY.items() if type(summary.get(name)) is not kind]
    assert not wrong, f"the summary has not all its fields, or of another type: {', '.join(wrong)} in {summary}"


async def test_a_repeated_finalize_gets_the_same_summary(ws_devices: Devices) -> None:
    """It is acknowledged, and says ``idempotent``."""
    device = await ws_devices("device")
    await say(device, "we decided to ship")
    first = await finalize(device)

    again = await finalize(device)

    assert again.get("idempotent") is True, f"the summary of a repeated finalize does not say idempotent: {again}"
    differing = [name for name in SUMMARY if again.get(name) != first.get(name)]
    assert not differing, f"a repeated finalize got another summary: {', '.join(differing)} in {again}, not {first}"


async def test_a_snippet_after_finalize_is_ignored(ws_devices: Devices) -> None:
    """It was under way when the meeting ended: the answer says ``ok`` and how many were ignored."""
    device = await ws_devices("device")
    await say(device, "we begin")
    await finalize(device)

    answer = await say(device, "one more thing")

    assert (answer.get("status"), answer.get("ignored")) == ("ok", 1), (
        f"a snippet that came after finalize was not ignored: {answer}"
    )


@pytest.mark.ws_needs("config", "tcp")
async def test_nobody_waits_for_a_summary_to_be_made(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """It is made in a thread: heartbeats are answered while the summarizer works, and its result arrives."""
    summarizer = _Unhurried()
    gateway = await ws_gateways({"summarizer": summarizer})
    device = await device_of(gateway, ws_devices, "device")
    neighbour = await device_of(gateway, ws_devices, "neighbour")
    await say(device, "we begin")

    await device.send({"type": "meeting", "phase": "finalize"})
    await asyncio.to_thread(summarizer.has_begun.wait, 5)
    await neighbour.send({"type": "ping"})
    await neighbour.expect("pong")
    waited = any(message.get("phase") == "summary" for message in device.received)
    summarizer.may_end.set()

    assert not waited, "a summary was made in the loop: a neighbour's ping was not answered until it was there"
    with or_else("the result of a worker thread never came: there is no summary"):
        await device.expect("meeting", phase="summary", title="unhurried")


@pytest.mark.ws_needs("config", "events")
async def test_a_summarizer_that_fails_is_answered_and_seen(
    ws_gateways: Gateways, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """With INTERNAL_ERROR in the shape of meetings, and a record; the device may ask again."""
    gateway = await ws_gateways({"summarizer": _FailingOnce()})
    device = await device_of(gateway, ws_devices, "device")
    await say(device, "we begin")

    await device.send({"type": "meeting", "phase": "finalize"})

    with or_else("the failure of a summarizer in its thread was never answered: the device waits for ever"):
        await device.expect("meeting", 2, status="error", code="INTERNAL_ERROR")
    seen = [failed.error for failed in ws_timeline.events(TaskFailed)]
    assert "out of words" in " ".join(seen), f"nobody was told why a summarizer failed: {seen}"
    with or_else("after a summarizer has failed once, a meeting has no summary any more"):
        await finalize(device)


# --- over connections -------------------------------------------------------------------------------------------


async def test_a_disconnect_does_not_finalize(ws_devices: Devices) -> None:
    """The meeting goes on where it was when its device is back."""
    device = await ws_devices("device")
    await say(device, "we begin")

    device.cut()
    await device.closed.wait()
    await device.go_online()

    texts = texts_of(await transcript_of(device))
    assert texts == ["we begin"], f"a disconnect ended the meeting: of its transcript there is {texts}"
    await say(device, "we go on")
    texts = texts_of(await transcript_of(device))
    assert texts == ["we begin", "we go on"], f"the meeting did not go on after a disconnect: {texts}"


@pytest.mark.ws_needs("config", "events")
@pytest.mark.ws_gateway_config(meeting={"resume": 0.2})
async def test_the_summary_of_a_device_that_stays_away_waits_for_it(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """After its time to resume a meeting is finalized without its device, and the summary is in the mailbox."""
    device = await ws_devices("device")
    await say(device, "we decided to ship")
    device.cut()
    await device.closed.wait()
    await ws_timeline.expect_event(MeetingFinalized)
    await asyncio.sleep(UNTIL_MADE)

    await device.go_online()

    with or_else("the summary of a meeting whose device stayed away is lost"):
        await device.expect("meeting", phase="summary")


# --- what is said -----------------------------------------------------------------------------------------------


async def say(device: FakeDevice, *texts: str, speaker: str = "anna") -> Message:
    """Send snippets, and return the answer."""
    items = [{"tag": "note", "text": text, "speakerId": speaker} for text in texts]
    await device.send({"type": "meeting", "phase": "snippet", "items": items})
    with or_else("a snippet was not answered"):
        return await device.expect("meeting", phase="snippet")


async def finalize(device: FakeDevice) -> Message:
    """End the meeting, and return the summary."""
    await device.send({"type": "meeting", "phase": "finalize"})
    with or_else("finalize was not acknowledged, or has no summary"):
        await device.expect("meeting", phase="finalize")
        return await device.expect("meeting", phase="summary")


async def transcript_of(device: FakeDevice) -> Message:
    """Ask for the transcript of the running meeting."""
    await device.send({"type": "meeting", "phase": "snapshot"})
    with or_else("a transcript that was asked for did not come"):
        return await device.expect("meeting", phase="snapshot")


def texts_of(transcript: Message) -> list[str]:
    """Return what was said."""
    return [line["text"] for line in transcript["items"]]


# --- summarizers ------------------------------------------------------------------------------------------------


class _Unhurried:
    """Takes until it may end, as a language model on another machine does; but no longer than two seconds."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.may_end = threading.Event()

    def digest(self, notes: Any, batch: Sequence[Snippet]) -> Any:  # noqa: ARG002 - the interface
        return None

    def summarize(self, notes: Any) -> Summary:  # noqa: ARG002 - the interface
        self.has_begun.set()
        self.may_end.wait(2)
        return Summary("unhurried")


class _FailingOnce:
    """Works at the second attempt."""

    def __init__(self) -> None:
        self.has_failed = False

    def digest(self, notes: Any, batch: Sequence[Snippet]) -> Any:  # noqa: ARG002 - the interface
        return None

    def summarize(self, notes: Any) -> Summary:  # noqa: ARG002 - the interface
        if not self.has_failed:
            self.has_failed = True
            raise RuntimeError("out of words")
        return Summary("at last")
