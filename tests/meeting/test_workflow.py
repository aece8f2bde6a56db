"""Tests of a group's task list."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.config import WorkflowConfig
from gateway.errors import BadMessage
from gateway.meeting import workflow as workflow_module
from gateway.meeting.snapshot import Snapshots
from gateway.meeting.workflow import Workflow
from gateway.observe.events import SnapshotCancelled
from gateway.protocol import limits
from gateway.protocol.messages import encode
from tests.fake_session import FakeSession, Records, say
from tests.virtual_time import timers, virtual_time


class Office:
    """A workflow and its devices."""

    def __init__(self, **config: Any) -> None:
        settings = WorkflowConfig(**config)
        self.records = Records()
        self.workflow = Workflow(settings, self.records.observers, Snapshots(test_mode=settings.test_mode))

    async def enter(self, device: str) -> FakeSession:
        """Let a device come online; its snapshot, if none is to be delayed, has been sent."""
        session = FakeSession(device, self.records)
        self.workflow.on_online(session)
        for _ in range(2):
            await asyncio.sleep(0)
        return session

    def update(self, session: FakeSession, tasks: Any) -> None:
        """Let a device change its group's list."""
        say(self.workflow, session, "workflow", event="update", tasks=tasks)

    def ask(self, session: FakeSession, **fields: Any) -> None:
        """Let a device ask for its group's list."""
        say(self.workflow, session, "workflow", event="snapshot", **fields)


def update(*tasks: Any) -> dict[str, Any]:
    """Return the message that tells a device its group's list."""
    return {"type": "workflow", "event": "update", "tasks": list(tasks)}


@virtual_time
async def test_update_is_told_to_the_group():
    """A change is told to all online members of the group, its author included, 1.5 s later, and to nobody else."""
    office = Office()
    author, member, gone, other = [
        await office.enter(device) for device in ("group-01:a", "group-01:b", "group-01:c", "group-02:d")
    ]
    office.workflow.on_offline(gone)
    office.update(author, [{"id": 1, "title": "写报告"}, "call"])
    assert author.messages == []
    await asyncio.sleep(5)
    expected = [(pytest.approx(1.5), update({"id": 1, "title": "写报告"}, "call"))]
    assert author.sent == expected
    assert member.sent == expected
    assert gone.sent == other.sent == []


@virtual_time
async def test_changes_are_gathered():
    """Changes within 1.5 s of the first go out as one update with the newest list; a stream of them is not held up."""
    office = Office()
    session = await office.enter("group-01:a")
    for n in range(5):
        office.update(session, [str(n)])
        await asyncio.sleep(0.5)
    await asyncio.sleep(5)
    assert session.sent == [(pytest.approx(1.5), update("2")), (pytest.approx(3.0), update("4"))]


@virtual_time
async def test_no_debounce():
    """With a debounce of 0 a change is told at once."""
    office = Office(debounce=0)
    session = await office.enter("group-01:a")
    office.update(session, ["a"])
    await asyncio.sleep(0.001)
    assert session.messages == [update("a")]


@virtual_time
async def test_snapshot_on_register():
    """A device that comes online is sent its group's list, once it was ever set, and an empty one too."""
    office = Office()
    first = await office.enter("group-01:a")
    await asyncio.sleep(1)
    assert first.messages == []
    office.update(first, ["a"])
    second = await office.enter("group-01:b")
    await asyncio.sleep(0.001)
    assert second.messages == [update("a")]
    office.update(first, [])
    third = await office.enter("group-01:c")
    await asyncio.sleep(0.001)
    assert third.messages == [update()]


@virtual_time
async def test_delayed_snapshot_on_register():
    """In test mode the snapshot on register waits for its delay, and shows the list as it then is."""
    office = Office(test_mode=True, snapshot_on_register_delay_ms=3000, debounce=100)
    office.update(await office.enter("group-01:a"), ["old"])
    session = await office.enter("group-01:b")
    await asyncio.sleep(1)
    office.update(session, ["new"])
    await asyncio.sleep(10)
    assert session.sent == [(pytest.approx(3), update("new"))]


@virtual_time
async def test_replacement_gets_its_own():
    """A connection that takes over gets its own snapshot, and the pending one of the older is cancelled."""
    office = Office(test_mode=True, snapshot_on_register_delay_ms=3000)
    office.workflow.restore("group-01", ["a"])
    session = await office.enter("group-01:b")
    await asyncio.sleep(2)
    office.workflow.on_replaced(session)
    await asyncio.sleep(10)
    assert session.sent == [(pytest.approx(5), update("a"))]
    assert [event.why for event in office.records.of(SnapshotCancelled)] == ["replaced"]


@virtual_time
async def test_offline_cancels():
    """Nothing is sent to a device that went before its snapshot was due."""
    office = Office(test_mode=True, snapshot_on_register_delay_ms=3000)
    office.workflow.restore("group-01", ["a"])
    session = await office.enter("group-01:b")
    office.workflow.on_offline(session)
    assert timers() == []
    assert [event.why for event in office.records.of(SnapshotCancelled)] == ["offline"]


@virtual_time
async def test_request():
    """A request is answered at once, with an empty list where none was set; a delay counts only in test mode."""
    office = Office()
    session = await office.enter("group-01:a")
    office.ask(session, delay_ms=5000)
    assert session.messages == [update()]


@pytest.mark.parametrize("delay", ["1", True, [1]])
def test_request_with_a_bad_delay(delay):
    """A delay that is not a number is refused, whether or not delays are honoured."""

    @virtual_time
    async def check():
        office = Office()
        session = await office.enter("group-01:a")
        with pytest.raises(BadMessage) as caught:
            office.ask(session, delay_ms=delay)
        assert caught.value.code == "SCHEMA_INVALID"

    check()


@pytest.mark.parametrize("tasks", [None, {}, "task", [1], [None], [["a"]], [True], ["a"] * 101, ["x" * (7168 - 3)]])
def test_bad_tasks(tasks):
    """Tasks that are not a list of at most 100 objects or strings in 7 KiB are refused, and nothing changes."""

    @virtual_time
    async def check():
        office = Office()
        session = await office.enter("group-01:a")
        with pytest.raises(BadMessage) as caught:
            office.update(session, tasks)
        assert caught.value.code == "SCHEMA_INVALID"
        assert office.workflow.lists() == {}

    check()


@virtual_time
async def test_tasks_at_the_limits():
    """A hundred tasks are taken, and so are exactly 7 KiB; the update fits a frame."""
    office = Office(debounce=0)
    session = await office.enter("group-01:a")
    office.update(session, ["a"] * 100)
    tasks = ["x" * (7168 - 4)]
    assert len(encode(tasks)) == 7168
    office.update(session, tasks)
    await asyncio.sleep(0.001)
    assert session.messages == [update(*tasks)]
    assert len(encode(update(*tasks))) <= limits.DOWNLINK_BYTES


@virtual_time
async def test_groups_are_bounded(monkeypatch):
    """Past the bound the list that has not changed for longest is forgotten, with a record."""
    monkeypatch.setattr(workflow_module, "GROUPS", 2)
    office = Office(debounce=0)
    for group, task in (("group-01", "a"), ("group-02", "b"), ("group-01", "c"), ("group-03", "d")):
        await office.enter(f"{group}:x")
        office.update(FakeSession(f"{group}:y"), [task])
    assert list(office.workflow.lists()) == ["group-01", "group-03"]
    assert [event.why for event in office.records.of(SnapshotCancelled)] == ["too many groups"]
    await asyncio.sleep(1)


@virtual_time
async def test_list_that_was_forgotten_before_it_was_told(monkeypatch):
    """A list that was forgotten within its debounce time is told to nobody."""
    monkeypatch.setattr(workflow_module, "GROUPS", 1)
    office = Office()
    first, second = await office.enter("group-01:a"), await office.enter("group-02:a")
    office.update(first, ["a"])
    office.update(second, ["b"])
    await asyncio.sleep(2)
    assert first.messages == []
    assert second.messages == [update("b")]


@virtual_time
async def test_members_are_forgotten():
    """Of a device that is offline, and of a group without online members, nothing is held but the list."""
    office = Office()
    one, two = await office.enter("group-01:a"), await office.enter("group-01:b")
    office.workflow.on_offline(one)
    office.workflow.on_offline(two)
    assert office.workflow._members == {}


@virtual_time
async def test_stop():
    """After the stop no timer and no task is left."""
    office = Office()
    session = await office.enter("group-01:a")
    office.update(session, ["a"])
    await asyncio.sleep(1)
    await office.workflow.stop()
    await asyncio.sleep(5)
    assert session.messages == []
    assert timers() == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
