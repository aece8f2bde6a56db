"""What meetings and task lists are put away in: one JSON file, written aside and renamed, so that it is never half.

Times in it are ages at the moment it was written, since the loop's time does not survive a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import WorldError
from gateway.feature import Feature
from gateway.identity import DeviceId
from gateway.meeting.attendee import Attendee, Meeting
from gateway.meeting.meeting import Meetings
from gateway.meeting.transcript import Snippet, Transcript
from gateway.meeting.workflow import Workflow
from gateway.observe.clock import WallClock, wall_clock
from gateway.protocol.messages import MeetingSummary
from gateway.tasks import Tasks

_log = logging.getLogger(__name__)

FILE = "checkpoint.json"
EVERY = 60.0  # what a kill of the process may cost; and no file is older, so that no old meeting is resumed after one


class SavedMeeting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A meeting as it is put away; see `gateway.meeting.attendee.Meeting`."""

    id: str | None
    title: str
    began_ago: float
    ended_ago: float | None
    revision: int
    because: str = ""
    items: list[Snippet] = []
    pending: list[Snippet] = []
    notes: Any = None
    summary: MeetingSummary | None = None
    settled: bool = False


class SavedAttendee(msgspec.Struct, frozen=True):
    """A device's meetings as they are put away."""

    device: DeviceId
    left_ago: float
    running: SavedMeeting | None
    ended: list[SavedMeeting]


class SavedTasks(msgspec.Struct, frozen=True):
    """A group's task list as it is put away."""

    group: str
    tasks: list[msgspec.Raw]


class Saved(msgspec.Struct, frozen=True):
    """The whole file; ``saved`` is when it was written, in seconds since 1970."""

    saved: float
    meetings: list[SavedAttendee]
    tasks: list[SavedTasks]
    version: int = 1


# --- to and fro -----------------------------------------------------------------------------------------------


def saved_attendee(attendee: Attendee, now: float) -> SavedAttendee:
    """Return a device's meetings as they are put away at loop time ``now``."""
    return SavedAttendee(
        device=attendee.device,
        left_ago=0.0 if attendee.session is not None else now - attendee.left,
        running=None if attendee.running is None else _saved(attendee.running, now),
        ended=[_saved(meeting, now) for meeting in attendee.ended],
    )


def restored_attendee(saved: SavedAttendee, then: float, wall_ms: int) -> Attendee:
    """Return a device's meetings as they were put away; the device is absent.

    Args:
        saved: what was put away.
        then: when, in this loop's time (negative, where the pause was longer than the loop is old).
        wall_ms: the wall clock at that moment, in milliseconds since 1970.
    """
    attendee = Attendee(saved.device)
    attendee.left = then - saved.left_ago
    attendee.ended = [_restored(meeting, then) for meeting in saved.ended]
    if saved.running is not None:
        attendee.running = _restored(saved.running, then)
        attendee.running.transcript.remember(then, wall_ms)
    return attendee


def _saved(meeting: Meeting, now: float) -> SavedMeeting:
    return SavedMeeting(
        id=meeting.id,
        title=meeting.title,
        began_ago=now - meeting.began,
        ended_ago=None if meeting.ended is None else now - meeting.ended,
        revision=meeting.transcript.revision,
        because=meeting.because,
        items=list(meeting.transcript.items),
        pending=list(meeting.transcript.pending),
        notes=meeting.notes,
        summary=meeting.summary,
        settled=meeting.settled_at is not None,
    )


def _restored(saved: SavedMeeting, then: float) -> Meeting:
    meeting = Meeting(saved.id, then - saved.began_ago, Transcript(saved.items, saved.pending, saved.revision))
    meeting.title = saved.title
    meeting.ended = None if saved.ended_ago is None else then - saved.ended_ago
    meeting.because = saved.because
    meeting.notes = saved.notes
    meeting.summary = saved.summary
    meeting.settled_at = then if saved.settled else None
    return meeting


# --- the file -------------------------------------------------------------------------------------------------


def write(path: Path, saved: Saved) -> None:
    """Write the file; when it returns, it survives a loss of power. Blocking.

    Raises:
        OSError: it could not be written; what was there before still is.
        TypeError, ValueError, RecursionError, msgspec.MsgspecError: the notes of a summarizer are not JSON.
    """
    data = msgspec.json.encode(saved)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    # for the owner alone: it has what people said
    with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> Saved | None:
    """Read the file, None where there is none; one that cannot be read is kept aside as ``.bad``. Blocking."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _log.error(
            "%s cannot be read and is kept as .bad; meetings and task lists in it are not resumed", path, exc_info=error
        )
    try:
        path.replace(path.with_suffix(".json.bad"))
    except OSError as error:
        _log.error("%s could not be renamed", path, exc_info=error)
    return None


class Checkpoint(Feature):
    """Meetings and task lists over a restart.

    It should stop after both, so that nothing of them is still under way when it writes: as features are stopped in
    the order opposite to their start, it comes before them in the list.

    Written once a minute when something has changed, and at the stop. A meeting that ended less than a minute before
    the process was killed may be summarized a second time.

    Args:
        directory: where the file is; made if it is not there.
        meetings: whose meetings.
        workflow: whose task lists.
        wall: tells how long the gateway was down.
        executor: reads and writes the file; None: the loop's own.
    """

    def __init__(
        self,
        directory: Path,
        meetings: Meetings,
        workflow: Workflow,
        wall: WallClock = wall_clock,
        executor: Executor | None = None,
    ) -> None:
        self._path = directory / FILE
        self._meetings = meetings
        self._workflow = workflow
        self._wall = wall
        self._executor = executor
        self._tasks = Tasks("checkpoint")
        self._stopping = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what was put away; a file that cannot be read is logged and does not keep the gateway from starting."""
        saved = await asyncio.get_running_loop().run_in_executor(self._executor, read, self._path)
        if saved is not None:
            self._restore(saved)
        self._keeping = self._tasks.spawn(self._keep(), "once a minute")

    async def stop(self) -> None:
        """Write a last time; nothing, where `start` has not been called and so nothing was read.

        Raises:
            WorldError: it could not be written, so that the stop was not clean; what was there before still is.
        """
        if self._keeping is None:
            return
        self._stopping.set()
        await self._keeping  # which may be writing
        await self._write()

    async def _keep(self) -> None:
        written = self._changes
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._stopping.wait()
                    return
            if self._changes != written:
                written = self._changes
                try:
                    await self._write()
                except WorldError as error:
                    _log.error("%s", error, exc_info=error.__cause__)

    @property
    def _changes(self) -> tuple[int, int]:
        return self._meetings.changes, self._workflow.changes

    async def _write(self) -> None:
        """Write the file.

        Raises:
            WorldError: it could not be written; the sentence and the cause say why.
        """
        now = asyncio.get_running_loop().time()
        saved = Saved(
            saved=self._wall(),
            meetings=[saved_attendee(attendee, now) for attendee in self._meetings.attendees()],
            tasks=[SavedTasks(group, list(tasks)) for group, tasks in self._workflow.lists().items()],
        )
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, write, self._path, saved)
        except (OSError, TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise WorldError(f"the checkpoint could not be written to {self._path}: {error}") from error

    def _restore(self, saved: Saved) -> None:
        down = max(0.0, self._wall() - saved.saved)
        then = asyncio.get_running_loop().time() - down
        for attendee in saved.meetings:
            self._meetings.restore(restored_attendee(attendee, then, int(saved.saved * 1000)))
        for group in saved.tasks:
            # copies, since a Raw holds on to the whole file
            self._workflow.restore(group.group, [task.copy() for task in group.tasks])
