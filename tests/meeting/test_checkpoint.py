"""Tests of what survives a restart, and of the file it is in."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from gateway.errors import WorldError
from gateway.meeting import checkpoint as checkpoint_module
from gateway.meeting.checkpoint import FILE, Saved, read, write
from tests.fake_session import FakeSession, say
from tests.meeting.houses import House
from tests.virtual_time import EPOCH, VirtualTimeLoop, virtual_time


@virtual_time
async def test_meeting_goes_on(tmp_path):
    """A meeting in progress goes on after a restart: transcript, revision, notes, pending, what is known, its age."""
    house = await House(tmp_path).start()
    session = house.enter()
    house.snippet(session, "one", title="standup", meeting_id="m1")
    await asyncio.sleep(13)
    house.snippet(session, "two")
    house.leave(session)
    await house.stop()

    house = await House(tmp_path, later=30).start()
    await asyncio.sleep(50)
    back = house.enter()
    house.ask(back, "snapshot")
    assert [item["text"] for item in back.messages[-1]["items"]] == ["one", "two"]
    house.snippet(back, "three")
    house.ask(back, "snapshot")
    assert back.messages[-1]["revision"] == 3
    house.ask(back, "finalize", meeting_id="m1")
    await asyncio.sleep(1)
    summary = back.messages[-1]
    assert summary["bullets"] == ["one", "two", "three"]
    assert (summary["title"], summary["duration"]) == ("standup", 13 + 30 + 50)
    await house.stop()


@virtual_time
async def test_texts_stay_known(tmp_path):
    """A snippet that is repeated after the restart is still known for the rest of its minute."""
    house = await House(tmp_path).start()
    session = house.enter()
    house.snippet(session, "one")
    await asyncio.sleep(10)
    house.leave(session)
    await house.stop()

    house = await House(tmp_path, later=20).start()
    back = house.enter()
    house.snippet(back, "one")
    await asyncio.sleep(29)
    house.snippet(back, "one")
    house.ask(back, "snapshot")
    assert back.messages[-1]["revision"] == 1
    await asyncio.sleep(1.5)
    house.snippet(back, "one")
    house.ask(back, "snapshot")
    assert back.messages[-1]["revision"] == 2
    await house.stop()


@virtual_time
async def test_absent_after_a_restart(tmp_path):
    """A device has its 60 s from the start; then its meeting, which ended when it went, is finalized and mailed."""
    house = await House(tmp_path).start()
    session = house.enter()
    house.snippet(session, "one")
    await asyncio.sleep(40)
    house.leave(session)
    await asyncio.sleep(50)
    await house.stop()

    house = await House(tmp_path, later=86_400).start()
    await asyncio.sleep(59)
    assert house.mail == []
    await asyncio.sleep(2)
    assert [(device, summary.duration) for device, summary in house.mail] == [("dev-0001", 40)]
    await house.stop()


@virtual_time
async def test_present_at_the_stop(tmp_path):
    """A meeting whose device is present when it is put away ended then, should the device not come back."""
    house = await House(tmp_path).start()
    house.snippet(house.enter(), "one")
    await asyncio.sleep(40)
    await house.stop()

    house = await House(tmp_path, later=500).start()
    await asyncio.sleep(61)
    assert [summary.duration for _, summary in house.mail] == [40]
    await house.stop()


@virtual_time
async def test_unfinished_summary(tmp_path):
    """A finalize that was acknowledged but whose summary was not out is concluded after the start, into the mailbox."""
    house = await House(tmp_path).start()
    house.pool_seconds = 100
    session = house.enter()
    house.snippet(session, "one")
    house.ask(session, "finalize")
    await asyncio.sleep(1)
    await house.stop()

    house = await House(tmp_path).start()
    await asyncio.sleep(1)
    assert [summary.bullets for _, summary in house.mail] == [["one"]]
    await house.stop()


@virtual_time
async def test_finalize_stays_idempotent(tmp_path):
    """A finalize repeated after the restart gets the same summary; nothing is mailed again."""
    house = await House(tmp_path).start()
    session = house.enter()
    house.snippet(session, "one", meeting_id="m1")
    house.ask(session, "finalize")
    await asyncio.sleep(1)
    summary = session.messages[-1]
    await house.stop()

    house = await House(tmp_path).start()
    back = house.enter()
    house.ask(back, "finalize", meeting_id="m1")
    assert back.messages[-1] == {**summary, "idempotent": True}
    assert house.mail == []
    await house.stop()


@virtual_time
async def test_task_lists(tmp_path):
    """Task lists are there after a restart, in the order in which they changed."""
    house = await House(tmp_path).start()
    for device, tasks in (("group-02:a", ["二"]), ("group-01:a", [{"id": 1}]), ("group-03:a", [])):
        say(house.workflow, FakeSession(device), "workflow", event="update", tasks=tasks)
    await house.stop()

    house = await House(tmp_path).start()
    assert list(house.workflow.lists()) == ["group-02", "group-01", "group-03"]
    session = FakeSession("group-01:b")
    house.workflow.on_online(session)
    await asyncio.sleep(0.1)
    assert session.messages == [{"type": "workflow", "event": "update", "tasks": [{"id": 1}]}]
    house.workflow.on_offline(session)
    await house.stop()


@virtual_time
async def test_killed(tmp_path):
    """Without a stop, at most the last minute is lost; and what ended long before it does not come again."""
    house = await House(tmp_path).start()
    session, other = house.enter("dev-1"), house.enter("dev-2")
    house.snippet(session, "one")
    house.snippet(other, "two")
    await asyncio.sleep(61)
    assert len(read(tmp_path / FILE).meetings) == 2
    house.ask(other, "finalize")
    await asyncio.sleep(60)

    after = await House(tmp_path).start()
    await asyncio.sleep(61)
    assert [device for device, _ in after.mail] == ["dev-1"]
    for feature in (*house.features, *after.features):
        await feature.stop()


@virtual_time
async def test_unchanged_is_not_written(tmp_path):
    """While nothing changes, nothing is written."""
    house = await House(tmp_path).start()
    await asyncio.sleep(600)
    assert not (tmp_path / FILE).exists()
    await house.stop()
    assert (tmp_path / FILE).exists()


@virtual_time
async def test_never_started(tmp_path):
    """A gateway that failed to start does not overwrite what the last one put away."""
    write(tmp_path / FILE, Saved(EPOCH - 5, [], []))
    before = (tmp_path / FILE).read_bytes()
    await House(tmp_path).stop()
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b"\xff", b'{"saved":"x","meetings":[],"tasks":[]}', b"[" * 100_000]
)
def test_bad_file(data, tmp_path, caplog):
    """A file that cannot be read is kept aside and logged, and the start goes on."""

    @virtual_time
    async def check():
        (tmp_path / FILE).write_bytes(data)
        house = await House(tmp_path).start()
        assert house.meetings.attendees() == ()
        await house.stop()

    with caplog.at_level(logging.ERROR):
        check()
    assert (tmp_path / "checkpoint.json.bad").read_bytes() == data
    assert "kept as .bad" in caplog.text


@virtual_time
async def test_directory_that_cannot_be_written(tmp_path, caplog):
    """Where the checkpoint cannot be written the minute's try is logged, and the stop is not clean."""
    (tmp_path / "state").write_text("a file, not a directory")
    house = await House(tmp_path / "state").start()
    session = house.enter()
    house.snippet(session, "one")
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(61)
    assert caplog.text.count("could not be written") == 1
    house.leave(session)
    with pytest.raises(WorldError, match=r"could not be written to .*checkpoint\.json: .*File exists"):
        await house.stop()


def test_file(tmp_path):
    """The file is JSON, for its owner alone, in a directory that is made, with nothing left beside it."""
    path = tmp_path / "deep" / "state" / FILE
    write(path, Saved(1.5, [], []))
    write(path, Saved(2.5, [], []))
    assert json.loads(path.read_bytes()) == {"saved": 2.5, "meetings": [], "tasks": [], "version": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [FILE]
    assert read(path) == Saved(2.5, [], [])
    assert read(tmp_path / "none.json") is None


def test_interrupted_write(tmp_path, monkeypatch):
    """A write that fails half way leaves what was there before."""
    path = tmp_path / FILE
    write(path, Saved(1.0, [], []))

    def no_sync(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.os, "fsync", no_sync)
    with pytest.raises(OSError, match="No space"):
        write(path, Saved(2.0, [], []))
    assert read(path) == Saved(1.0, [], [])


def test_notes_that_are_not_json(tmp_path):
    """Notes that cannot be put away cost the checkpoint, and the stop is not clean."""

    class Odd:
        def digest(self, notes: Any, batch: Any) -> Any:
            return object()

        def summarize(self, notes: Any) -> Any:
            raise AssertionError

    async def check() -> None:
        house = await House(tmp_path, summarizer=Odd()).start()
        house.snippet(house.enter(), "one")
        await asyncio.sleep(13)
        with pytest.raises(WorldError, match="could not be written"):
            await house.stop()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(check())
