"""Snapshots: what a device is sent to know where things stand. One mechanism for both kinds, at once or delayed.

The kinds are the group's task list (``tasks``, see `gateway.meeting.workflow`) and the transcript of the running
meeting (``transcript``, see `gateway.meeting.meeting`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from gateway.device.outbox import Sent
from gateway.errors import BadMessage
from gateway.observe.events import SnapshotCancelled, SnapshotSent
from gateway.protocol import limits

if TYPE_CHECKING:
    from gateway.device.session import Session

Kind: TypeAlias = Literal["tasks", "transcript"]
Read: TypeAlias = Callable[[], Any]
"""Returns the message of a snapshot as things stand now, or None when there is nothing to send."""


def requested_delay_ms(value: Any) -> float:
    """Return the ``delay_ms`` of a request; 0 where it names none.

    Raises:
        BadMessage: SCHEMA_INVALID, it is not a number.
    """
    if value is None:
        return 0
    if type(value) is not int and type(value) is not float:
        raise BadMessage("SCHEMA_INVALID", "expected 'delay_ms' to be a number")
    return value


class Snapshots:
    """Sends snapshots; at most one per session and kind is pending, a newer request replaces it.

    What is sent is read when it is sent. A pending snapshot must be cancelled when its session ends or moves to
    another connection: whoever asks for snapshots of a kind does that, in its ``on_replaced`` and ``on_offline``.

    Args:
        test_mode: delays are honoured, brought into 0 to 60,000 ms; without it there are none.
    """

    def __init__(self, *, test_mode: bool) -> None:
        self._test_mode = test_mode
        self._pending: dict[tuple[str, Kind], asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """How many are pending."""
        return len(self._pending)

    def request(self, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:
        """Answer a request: now, before this returns, or after the delay."""
        self.cancel(session, kind, "newer request")
        delay = self._seconds(delay_ms)
        if delay:
            self._schedule(session, kind, delay, read)
        else:
            self._send(session, kind, delay, read)

    def on_register(self, session: Session, kind: Kind, delay_ms: float, read: Read) -> None:
        """Send the snapshot of a connection that has just come alive, after the delay.

        Never before this turn of the loop is over, in which the connection's hello may still have to be answered.
        """
        self.cancel(session, kind, "newer request")
        self._schedule(session, kind, self._seconds(delay_ms), read)

    def cancel(self, session: Session, kind: Kind, why: str) -> None:
        """Cancel the pending snapshot of this kind, if there is one."""
        timer = self._pending.pop((session.id, kind), None)
        if timer is not None:
            timer.cancel()
            session.observers.emit(SnapshotCancelled(device=session.device, session=session.id, kind=kind, why=why))

    def _seconds(self, delay_ms: float) -> float:
        if not self._test_mode:
            return 0.0
        return min(max(delay_ms, 0), limits.SNAPSHOT_DELAY_MS_MAX) / 1000

    def _schedule(self, session: Session, kind: Kind, delay: float, read: Read) -> None:
        timer = asyncio.get_running_loop().call_later(delay, self._fire, session, kind, delay, read)
        self._pending[session.id, kind] = timer

    def _fire(self, session: Session, kind: Kind, delay: float, read: Read) -> None:
        del self._pending[session.id, kind]
        self._send(session, kind, delay, read)

    def _send(self, session: Session, kind: Kind, delay: float, read: Read) -> None:
        message = read()
        if message is None or session.send_json(message) is Sent.FAILED:
            return
        delay_ms = round(delay * 1000)
        session.observers.emit(SnapshotSent(device=session.device, session=session.id, kind=kind, delay_ms=delay_ms))
