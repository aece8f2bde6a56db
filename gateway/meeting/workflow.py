"""The task list of a group: whoever changes it, all members that are online see the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from gateway.config import WorkflowConfig
from gateway.errors import BadMessage
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId, group_of
from gateway.meeting.snapshot import Snapshots, requested_delay_ms
from gateway.observe.events import Observers, SnapshotCancelled
from gateway.presence.broadcast import broadcast
from gateway.protocol.messages import Workflow as WorkflowMessage
from gateway.protocol.messages import WorkflowUpdate, encode
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.device.session import Session

TASKS = 100  # of one list: more do not fit a frame, unless they are nearly empty
TASKS_BYTES = 7 * 1024  # of one list, so that its update fits the 8 KiB frame a device can take
GROUPS = 10_000  # as many as devices; past it the list that has not changed for longest is forgotten
CLOSE_TIMEOUT = 2.0  # for cancelled tasks, which only have to unwind

TaskList: TypeAlias = list[Any]
"""Tasks as `msgspec.Raw` JSON: nobody here looks into them, and they are a fifth of the size."""


def read_tasks(tasks: Any) -> TaskList:
    """Read the ``tasks`` of an update.

    Raises:
        BadMessage: SCHEMA_INVALID; not a list, over 100 tasks or 7 KiB, or a task is neither an object nor a string.
    """
    if type(tasks) is not list or not all(type(task) is dict or type(task) is str for task in tasks):
        raise BadMessage("SCHEMA_INVALID", "expected 'tasks' to be a list of objects or strings")
    if len(tasks) > TASKS:
        raise BadMessage("SCHEMA_INVALID", f"expected at most {TASKS} tasks")
    read = [msgspec.Raw(encode(task)) for task in tasks]
    if len(encode(read)) > TASKS_BYTES:
        raise BadMessage("SCHEMA_INVALID", f"expected 'tasks' of at most {TASKS_BYTES} bytes")
    return read


class Workflow(Feature):
    """The task lists of all groups.

    A device that comes online is sent the list of its group, if one was ever set (it may be empty by now); one that
    asks is answered in any case. A change is told to all online members, its author included, once per
    ``workflow.debounce`` seconds: what was changed meanwhile goes out as one update with the newest list.

    Args:
        config: the ``workflow`` section.
        observers: where records go.
        snapshots: shared with the other kind of snapshot.
    """

    def __init__(self, config: WorkflowConfig, observers: Observers, snapshots: Snapshots) -> None:
        self._debounce = config.debounce
        self._register_delay_ms = config.snapshot_on_register_delay_ms
        self._observers = observers
        self._snapshots = snapshots
        self._lists: dict[str, TaskList] = {}  # in the order in which they changed
        self._members: dict[str, dict[DeviceId, Session]] = {}
        self._telling: dict[str, asyncio.TimerHandle] = {}
        self._tasks = Tasks("workflow")
        self.changes = 0
        """Grows with everything that a checkpoint should have."""

    def handlers(self) -> Iterable[Handler[Any]]:
        """The ``workflow`` message."""
        return (Handler(WorkflowMessage, self._handle),)

    def _handle(self, session: Session, message: WorkflowMessage) -> None:
        group = group_of(session.device)
        if message.event == "update":
            self._change(group, read_tasks(message.tasks))
            return
        delay_ms = requested_delay_ms(message.delay_ms)
        self._snapshots.request(session, "tasks", delay_ms, lambda: WorkflowUpdate(self._lists.get(group, [])))

    # --- presence -------------------------------------------------------------------------------------------------

    def on_online(self, session: Session) -> None:
        """The device gets the list of its group."""
        self._members.setdefault(group_of(session.device), {})[session.device] = session
        self._welcome(session)

    def on_replaced(self, session: Session) -> None:
        """What was pending for the older connection is not sent to the newer one, which gets its own."""
        self._snapshots.cancel(session, "tasks", "replaced")
        self._welcome(session)

    def on_offline(self, session: Session) -> None:
        """The device is not a member that can be told any more."""
        self._snapshots.cancel(session, "tasks", "offline")
        group = group_of(session.device)
        members = self._members.get(group, {})
        members.pop(session.device, None)
        if not members:
            self._members.pop(group, None)

    def _welcome(self, session: Session) -> None:
        group = group_of(session.device)

        def read() -> WorkflowUpdate | None:
            tasks = self._lists.get(group)
            return None if tasks is None else WorkflowUpdate(tasks)

        self._snapshots.on_register(session, "tasks", self._register_delay_ms, read)

    # --- changes --------------------------------------------------------------------------------------------------

    def _change(self, group: str, tasks: TaskList) -> None:
        self._put(group, tasks)
        if group not in self._telling:
            self._telling[group] = asyncio.get_running_loop().call_later(self._debounce, self._tell, group)

    def _put(self, group: str, tasks: TaskList) -> None:
        self._lists.pop(group, None)
        self._lists[group] = tasks
        self.changes += 1
        if len(self._lists) > GROUPS:
            del self._lists[next(iter(self._lists))]
            self._observers.emit(SnapshotCancelled(kind="tasks", why="too many groups"))

    def _tell(self, group: str) -> None:
        del self._telling[group]
        tasks = self._lists.get(group)
        if tasks is None:
            return
        members = self._members.get(group, {})
        told = broadcast(WorkflowUpdate(tasks), members.values(), lambda one: members.get(one.device) is one)
        self._tasks.spawn(told, "update of a group")

    # --- start and stop -------------------------------------------------------------------------------------------

    def lists(self) -> Mapping[str, TaskList]:
        """The task lists by group, the one that has not changed for longest first; also after `stop`."""
        return self._lists

    def restore(self, group: str, tasks: TaskList) -> None:
        """Take in a list from before a restart; to be called in the order in which they changed."""
        self._put(group, tasks)

    async def stop(self) -> None:
        """Tell nobody any more."""
        for timer in self._telling.values():
            timer.cancel()
        self._telling.clear()
        await self._tasks.close(CLOSE_TIMEOUT)
