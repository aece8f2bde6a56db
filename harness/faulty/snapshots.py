"""Defects of snapshots: when they come, what is in them, whose they are."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from gateway.meeting.snapshot import Kind, Read, Snapshots
from gateway.meeting.workflow import Workflow
from harness.faulty.twins import defect

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gateway.device.session import Session

# --- the field's own --------------------------------------------------------------------------------------------


@defect(
    "A delayed snapshot is a task that nobody holds or cancels: it fires whatever has become of its connection.",
    found_by=(
        "test_delayed_snapshots.py::test_a_newer_request_replaces_the_pending_one",
        "test_delayed_snapshots.py::test_a_newer_request_may_come_sooner",
        "test_delayed_snapshots.py::test_a_pending_snapshot_ends_with_its_device",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection",
        "test_delayed_snapshots.py::test_a_replacing_connection_gets_a_snapshot_of_its_own",
    ),
    message="ms before its time|after a newer request|fires after the disconnect|replaced connection",
    pain_point=4,
)
@contextmanager
def snapshot_fires_and_is_forgotten() -> Iterator[None]:
    def schedule(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        asyncio.get_running_loop().call_later(delay, self._send, session, kind, delay, read)

    with patch.object(Snapshots, "_schedule", schedule), patch.object(Snapshots, "cancel", lambda *_: None):
        yield


@defect(
    "A delayed snapshot that fires after the disconnect is sent to whoever has the device's id by then.",
    found_by=(
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_next_connection",
        "test_delayed_snapshots.py::test_a_pending_snapshot_ends_with_its_device",
    ),
    message="sent to the next one|fires after the disconnect",
    pain_point=4,
    hole=True,
)
@contextmanager
def snapshot_follows_its_device() -> Iterator[None]:
    cancel, send, register = Snapshots.cancel, Snapshots._send, Snapshots.on_register
    newest: dict[str, Session] = {}

    def remember(self: Snapshots, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:
        newest[session.device] = session
        register(self, session, kind, delay_ms, read)

    def cancel_unless_offline(self: Snapshots, session: Session, kind: Kind, why: str) -> None:
        if why != "offline":
            cancel(self, session, kind, why)

    def send_to_newest(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        send(self, newest[session.device], kind, delay, read)

    with ExitStack() as planted:
        for name, replacement in (
            ("on_register", remember),
            ("cancel", cancel_unless_offline),
            ("_send", send_to_newest),
        ):
            planted.enter_context(patch.object(Snapshots, name, replacement))
        yield


@defect(
    "The task of a delayed snapshot is kept nowhere: it is collected as garbage before its time.",
    found_by=(
        "test_delayed_snapshots.py::test_the_snapshot_on_register_comes_at_its_time",
        "test_delayed_snapshots.py::test_the_snapshot_on_register_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_requested_snapshot_comes_at_its_time",
        "test_delayed_snapshots.py::test_a_requested_snapshot_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_newer_request_replaces_the_pending_one",
        "test_delayed_snapshots.py::test_each_kind_has_a_pending_snapshot_of_its_own",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_next_connection[tasks]",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[tasks]",
        "test_delayed_snapshots.py::test_a_replacing_connection_gets_a_snapshot_of_its_own",
    ),
    message="snapshot (that was due |of the tasks )?did not come",
    pain_point=4,
    hole=True,
)
def snapshot_is_collected() -> AbstractContextManager[object]:
    class Task:
        def __init__(self, fire: Any) -> None:
            self.fire = fire

    def fire(task: weakref.ref[Task]) -> None:
        if (kept := task()) is not None:
            kept.fire()

    original = Snapshots._schedule

    def schedule(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        if not delay:
            original(self, session, kind, delay, read)
            return
        task = Task(lambda: self._send(session, kind, delay, read))
        timer = asyncio.get_running_loop().call_later(delay, fire, weakref.ref(task))
        self._pending[session.id, kind] = timer

    return patch.object(Snapshots, "_schedule", schedule)


@defect(
    "A snapshot whose content has changed meanwhile raises when it is written, and the error is swallowed.",
    found_by=(
        "test_delayed_snapshots.py::test_the_snapshot_on_register_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_requested_snapshot_has_what_holds_when_it_is_sent",
    ),
    message="a snapshot that was due did not come",
    pain_point=4,
    hole=True,
)
def snapshot_hides_its_errors() -> AbstractContextManager[object]:
    original = Snapshots._schedule

    def schedule(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        known = read()

        def read_or_nothing() -> Any:
            try:
                if known != read():
                    raise RuntimeError("list changed during iteration")
            except RuntimeError:
                return None
            return known

        original(self, session, kind, delay, read_or_nothing)

    return patch.object(Snapshots, "_schedule", schedule)


@defect(
    "What a delayed snapshot says is read when it is scheduled, not when it is sent.",
    found_by=(
        "test_delayed_snapshots.py::test_the_snapshot_on_register_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_requested_snapshot_has_what_holds_when_it_is_sent",
    ),
    message="the snapshot has what held when it was (scheduled|asked for)",
    pain_point=4,
    hole=True,
)
def snapshot_is_read_when_scheduled() -> AbstractContextManager[object]:
    original = Snapshots._schedule

    def schedule(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        message = read()
        original(self, session, kind, delay, lambda: message)

    return patch.object(Snapshots, "_schedule", schedule)


# --- time -------------------------------------------------------------------------------------------------------


@defect(
    "The snapshot on register is sent at once, whatever its delay.",
    found_by=(
        "test_delayed_snapshots.py::test_the_snapshot_on_register_comes_at_its_time",
        "test_delayed_snapshots.py::test_the_snapshot_on_register_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_next_connection[tasks]",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[tasks]",
        "test_delayed_snapshots.py::test_a_replacing_connection_gets_a_snapshot_of_its_own",
    ),
    message="ms before its time|what held when it was scheduled",
)
def snapshot_on_register_is_not_delayed() -> AbstractContextManager[object]:
    original = Snapshots.on_register

    def on_register(self: Snapshots, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:  # noqa: ARG001
        original(self, session, kind, 0, read)

    return patch.object(Snapshots, "on_register", on_register)


@defect(
    "A delay in milliseconds is waited for in seconds.",
    found_by=(
        "test_delayed_snapshots.py::test_the_snapshot_on_register_comes_at_its_time",
        "test_delayed_snapshots.py::test_the_snapshot_on_register_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_requested_snapshot_comes_at_its_time",
        "test_delayed_snapshots.py::test_a_requested_snapshot_has_what_holds_when_it_is_sent",
        "test_delayed_snapshots.py::test_a_newer_request_replaces_the_pending_one",
        "test_delayed_snapshots.py::test_each_kind_has_a_pending_snapshot_of_its_own",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_next_connection[tasks]",
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[tasks]",
        "test_delayed_snapshots.py::test_a_replacing_connection_gets_a_snapshot_of_its_own",
    ),
    message="snapshot (that was due |of the tasks )?did not come",
)
def snapshot_delay_taken_for_seconds() -> AbstractContextManager[object]:
    original = Snapshots._seconds
    return patch.object(Snapshots, "_seconds", lambda self, delay_ms: original(self, delay_ms * 1000))


@defect(
    "Delays are honoured outside of test mode, so that any device can have the gateway wait.",
    found_by=(
        "test_delayed_snapshots.py::test_without_test_mode_the_snapshot_on_register_is_immediate",
        "test_delayed_snapshots.py::test_without_test_mode_a_requested_snapshot_is_immediate",
    ),
    message="though the gateway is not in test mode",
)
def snapshot_delayed_without_test_mode() -> AbstractContextManager[object]:
    original = Snapshots.__init__
    return patch.object(Snapshots, "__init__", lambda self, *, test_mode: original(self, test_mode=True))  # noqa: ARG005


@defect(
    "A negative delay is taken for a positive one.",
    found_by="test_delayed_snapshots.py::test_a_negative_delay_is_none",
    message="with a negative delay did not come at once",
)
def snapshot_delay_without_its_sign() -> AbstractContextManager[object]:
    original = Snapshots._seconds
    return patch.object(Snapshots, "_seconds", lambda self, delay_ms: original(self, abs(delay_ms)))


@defect(
    "A delay that is no number is taken for none.",
    found_by="test_delayed_snapshots.py::test_a_delay_that_is_no_number_is_refused",
    message="was not refused as SCHEMA_INVALID",
)
@contextmanager
def snapshot_delay_of_any_kind() -> Iterator[None]:
    def delay(value: Any) -> float:
        return value if type(value) is int or type(value) is float else 0

    with (
        patch("gateway.meeting.workflow.requested_delay_ms", delay),
        patch("gateway.meeting.meeting.requested_delay_ms", delay),
    ):
        yield


# --- whose, and how many ----------------------------------------------------------------------------------------


@defect(
    "One snapshot is pending per device, not per device and kind: a request for the one kind replaces the other.",
    found_by="test_delayed_snapshots.py::test_each_kind_has_a_pending_snapshot_of_its_own",
    message="the snapshot of the tasks did not come, when one of the transcript was asked for",
)
def snapshot_kinds_share_a_place() -> AbstractContextManager[object]:
    original = Snapshots.request

    def request(self: Snapshots, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:
        self.cancel(session, "transcript" if kind == "tasks" else "tasks", "newer request")
        original(self, session, kind, delay_ms, read)

    return patch.object(Snapshots, "request", request)


@defect(
    "A request is ignored while an older one is pending.",
    found_by="test_delayed_snapshots.py::test_a_newer_request_replaces_the_pending_one",
    message="ms before its time|because another is pending",
)
def snapshot_request_ignored_while_one_is_pending() -> AbstractContextManager[object]:
    original = Snapshots.request

    def request(self: Snapshots, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:
        if (session.id, kind) not in self._pending:
            original(self, session, kind, delay_ms, read)

    return patch.object(Snapshots, "request", request)


@defect(
    "A snapshot that is pending when a connection is replaced goes to the new one.",
    found_by="test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[transcript]",
    message="that the replaced connection had asked for was sent to the new one",
)
def snapshot_survives_a_replacement() -> AbstractContextManager[object]:
    original = Snapshots.cancel

    def cancel(self: Snapshots, session: Session, kind: Kind, why: str) -> None:
        if why != "replaced":
            original(self, session, kind, why)

    return patch.object(Snapshots, "cancel", cancel)


@defect(
    "A connection that replaces another is sent no snapshot of its own.",
    found_by=(
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[tasks]",
        "test_delayed_snapshots.py::test_a_replacing_connection_gets_a_snapshot_of_its_own",
    ),
    message="a snapshot did not come",
)
def snapshot_missing_after_a_replacement() -> AbstractContextManager[object]:
    def on_replaced(self: Workflow, session: Session) -> None:
        self._snapshots.cancel(session, "tasks", "replaced")

    return patch.object(Workflow, "on_replaced", on_replaced)
