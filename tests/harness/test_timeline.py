"""One record of what happened, for people and for programs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Close, Opcode

from gateway.observe.events import DeviceOffline, DeviceOnline, PongSent
from harness.errors import ExpectationFailed, FirmwareWouldFail
from harness.records import ConsoleSaid, FramePassed, Happened
from harness.simulation.loop import SimulatedLoop, run
from harness.timeline import KEPT, PAYLOAD_BYTES, SHOWN_ENTRIES, Timeline

ONLINE = DeviceOnline(device="aa", session="s1", replaced=False, because="hello")


def frame(payload: bytes, *, sent: bool = True, opcode: Opcode = Opcode.TEXT, at: float = 0.0) -> FramePassed:
    """One frame of the kitchen."""
    return FramePassed(at, "kitchen", sent, opcode, payload)


def simulated(test: Any) -> Any:
    """Run an async test on a simulated loop, whose time begins at 0."""

    def wrapped(**fixtures: Any) -> None:
        async def main(loop: SimulatedLoop) -> None:
            await test(loop, **fixtures)

        run(main)

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


async def filled(loop: SimulatedLoop) -> Timeline:
    """A timeline of two seconds with one entry of each kind."""
    timeline = Timeline()
    timeline.name("aa", "kitchen")
    timeline.record(Happened(loop.time(), "kitchen", "connects"))
    timeline.event(ONLINE)
    await wait(loop, 1.5)
    timeline.record(frame(b'{"type":"ping"}', at=loop.time()))
    timeline.record(frame(b'{"type":"pong"}', at=loop.time(), sent=False))
    await wait(loop, 0.5)
    timeline.record(Happened(loop.time(), "kitchen", "vanishes", fault=True))
    timeline.note("now look")
    return timeline


async def wait(loop: SimulatedLoop, seconds: float) -> None:
    """Let time pass."""
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


@simulated
async def _listing(loop: SimulatedLoop) -> None:
    timeline = await filled(loop)
    assert timeline.listing(seconds=5).splitlines() == [
        "  -2.000 s  kitchen             connects",
        "  -2.000 s  gateway :  kitchen  DeviceOnline replaced=False because=hello",
        '  -0.500 s  kitchen -> gateway  {"type":"ping"}',
        '  -0.500 s  gateway -> kitchen  {"type":"pong"}',
        "  +0.000 s  kitchen             vanishes",
        "  +0.000 s  test                now look",
        "(6 entries in all)",
    ]
    assert timeline.listing(seconds=1).splitlines()[0].startswith("  -0.500 s")
    assert len(timeline.listing(seconds=1, until=1.0).splitlines()) == 2 + 1  # of the first second


def test_listing():
    """Entries stand in columns: when, relative to the end, who to whom, what; those that are too old are left out."""
    _listing()


@simulated
async def _width(loop: SimulatedLoop) -> None:
    timeline = Timeline()
    timeline.record(frame(b'{"text":"' + b"x" * 500 + b'"}', at=loop.time()))
    (line, _) = timeline.listing(columns=80).splitlines()
    assert (len(line), line[-3:]) == (80, "...")


def test_width():
    """A line is as wide as it was told, and ends in dots where something is left out."""
    _width()


@simulated
async def _most(loop: SimulatedLoop) -> None:
    timeline = Timeline()
    for number in range(SHOWN_ENTRIES + 5):
        timeline.note(f"note {number}")
    lines = timeline.listing(seconds=5).splitlines()
    assert len(lines) == SHOWN_ENTRIES + 1
    assert lines[0].endswith("note 5")
    assert lines[-1] == f"(5 more in these 5 s, {SHOWN_ENTRIES + 5} entries in all)"


def test_most():
    """A listing has a terminal's worth of lines, the last ones."""
    _most()


@simulated
async def _bound(loop: SimulatedLoop) -> None:
    timeline = Timeline()
    for _ in range(KEPT + 3):
        timeline.event(PongSent(device="aa", session="s"))
    assert (len(timeline), timeline.dropped) == (KEPT, 3)


def test_bound():
    """Past its bound the oldest entries are dropped and counted."""
    _bound()


@simulated
async def _rows(loop: SimulatedLoop, tmp_path: Path) -> None:
    timeline = await filled(loop)
    timeline.record(frame(b"\x00\x01", opcode=Opcode.BINARY, at=loop.time()))
    timeline.record(frame(Close(4001, "replaced").serialize(), opcode=Opcode.CLOSE, at=loop.time(), sent=False))
    timeline.record(frame(b"x" * (PAYLOAD_BYTES + 7), at=loop.time()))
    timeline.write(tmp_path / "t.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert rows == list(timeline.rows())
    assert rows[1] == {
        "at": 0.0,
        "kind": "event",
        "source": "gateway",
        "target": "kitchen",
        "event": "DeviceOnline",
        "device": "aa",
        "session": "s1",
        "replaced": False,
        "because": "hello",
    }
    assert rows[2]["text"] == '{"type":"ping"}'
    assert [row["kind"] for row in rows[:6]] == ["lifecycle", "event", "frame", "frame", "fault", "note"]
    assert (rows[6]["base64"], rows[6]["bytes"]) == ("AAE=", 2)
    assert (rows[7]["code"], rows[7]["reason"]) == (4001, "replaced")
    assert (len(rows[8]["text"]), rows[8]["left_out_bytes"]) == (PAYLOAD_BYTES, 7)


def test_rows(tmp_path: Path):
    """The file has everything, one JSON object a line, in order."""
    _rows(tmp_path=tmp_path)


@simulated
async def _secrets(loop: SimulatedLoop, tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.redactor.add("correct horse")
    timeline.record(frame(b'{"type":"x","token":"hunter2","text":"correct horse"}', at=loop.time()))
    timeline.note("Authorization: Bearer hunter2")
    timeline.write(tmp_path / "t.jsonl")
    for text in (timeline.listing(), (tmp_path / "t.jsonl").read_text(), str(list(timeline.rows()))):
        assert "hunter2" not in text
        assert "horse" not in text
        assert text.count("***") >= 3


def test_secrets(tmp_path: Path):
    """Tokens, and what is known to be secret, are masked in the listing and in the file."""
    _secrets(tmp_path=tmp_path)


@simulated
async def _questions(loop: SimulatedLoop) -> None:
    timeline = await filled(loop)
    assert timeline.events(DeviceOnline, because="hello") == [ONLINE]
    assert timeline.events(DeviceOnline, because="open") == []
    assert [one.payload for one in timeline.frames("kitchen", sent=True)] == [b'{"type":"ping"}']
    assert timeline.frames("hallway") == []
    loop.call_later(2, timeline.event, PongSent(device="aa", session="s"))
    assert (await timeline.expect_event(PongSent, 3, device="aa")).session == "s"
    with pytest.raises(ExpectationFailed, match=r"PongSent with device='bb', but after 1\.0 s") as failure:
        await timeline.expect_event(PongSent, 1, device="bb")
    assert failure.value.arrived == ({"event": "PongSent", "device": "aa", "session": "s"},)


def test_questions():
    """Frames and events are found by what they are; an event that does not come is a failure that shows the others."""
    _questions()


async def test_who_waits_for_what_will_not_happen_is_told_why():
    """A crash ends every wait at once, those that begin later too; what has happened is still found."""
    timeline = Timeline()
    timeline.event(ONLINE)
    waiting = asyncio.create_task(timeline.expect_event(DeviceOffline, timeout=20))
    await asyncio.sleep(0)

    timeline.spoil(FirmwareWouldFail("it crashed"))

    with pytest.raises(FirmwareWouldFail, match="it crashed"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(FirmwareWouldFail):
        await timeline.expect_event(DeviceOffline, timeout=20)
    assert await timeline.expect_event(DeviceOnline)


async def test_what_a_board_prints_is_told(tmp_path: Path):
    """A line of a console is listed behind a bar, and is written as a line."""
    timeline = Timeline()

    timeline.record(ConsoleSaid(asyncio.get_running_loop().time(), "board", "I (312) main: up"))

    assert "| I (312) main: up" in timeline.listing()
    (row,) = timeline.rows()
    assert (row["kind"], row["source"], row["line"]) == ("console", "board", "I (312) main: up")
