"""Defects that only timing reveals: the conformance suite passes, and a seed in some thousand finds them, or in ten."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from gateway.device.channel import Channel
from gateway.device.session import Session
from gateway.identity import DeviceId
from gateway.meeting.snapshot import Kind, Read, Snapshots
from gateway.peer.group_commit import GroupCommit, Operation
from gateway.peer.intake import Intake
from gateway.peer.letters_table import LettersTable
from gateway.peer.receipt import Receipt
from gateway.peer.receipts import Receipts
from gateway.peer.requests import PeerRequest
from gateway.presence.reception import Reception
from harness.faulty.twins import timing_defect

Planted = AbstractContextManager[object]

_LOG_WRITTEN = 0.0015  # seconds


@timing_defect(
    "Of the messages that share a commit, all but the last are acknowledged before it.",
    scenario="kill_after_write",
    message="is kept for .*, which has not got it, nor has the mailbox",
)
def acknowledged_before_the_commit() -> Planted:
    """The callers are told as soon as their statements have run; the transaction is still open."""
    begin = GroupCommit._begin

    def begin_in_two_steps(self: GroupCommit[Any]) -> None:
        if len(self._waiting) < 2:
            begin(self)
            return
        batch, self._waiting = self._waiting, []
        self._in_executor(partial(_run_statements, self, batch)).add_done_callback(partial(acknowledge, self, batch))

    def acknowledge(self: GroupCommit[Any], batch: list[Operation[Any]], statements: asyncio.Future[bool]) -> None:
        if statements.cancelled() or statements.exception() is not None or not statements.result():
            self._in_executor(partial(self._commit, batch)).add_done_callback(partial(self._done, batch))
            return
        for operation in batch[:-1]:
            operation.resolve()
        self._in_executor(partial(_commit, self)).add_done_callback(partial(self._done, batch))

    return patch.object(GroupCommit, "_begin", begin_in_two_steps)


def _table(queue: GroupCommit[Any]) -> LettersTable:
    table: LettersTable = queue._commit.__self__._table  # type: ignore[attr-defined]
    return table


def _run_statements(queue: GroupCommit[Any], batch: list[Operation[Any]]) -> bool:
    table = _table(queue)
    table.begin()
    try:
        for operation in batch:
            operation.result = operation.work(table)
    except Exception:  # noqa: BLE001 - whatever it is, the batch is done anew as it should be
        table.rollback()
        return False
    return True


def _commit(queue: GroupCommit[Any]) -> bool:
    table = _table(queue)
    table.commit()
    return table.wrote


@timing_defect(
    "A receipt that finds its sender gone is forgotten, and the repeat of its message is another message.",
    scenario="everything_at_once",
    message="got message .* twice, as",
)
@contextmanager
def repeated_after_a_lost_receipt() -> Iterator[None]:
    send, send_to = Receipts._send, Intake._send_to
    unheard: set[tuple[str, str]] = set()

    def forgetting(self: Receipts, receipt: Receipt) -> None:
        if receipt.sender not in self._deliveries and receipt.id is not None:
            self.remembered.forget(receipt)
            unheard.add((receipt.sender, receipt.id))
        send(self, receipt)

    def renaming(
        self: Intake, targets: dict[DeviceId, str], request: PeerRequest, wire_id: str, receipt: Receipt
    ) -> Iterator[None]:
        if (receipt.sender, wire_id) in unheard:
            unheard.discard((receipt.sender, wire_id))
            wire_id = secrets.token_hex(8)
        return send_to(self, targets, request, wire_id, receipt)

    with patch.object(Receipts, "_send", forgetting), patch.object(Intake, "_send_to", renaming):
        yield


@timing_defect(
    "The end of a connection is cleaned up after twice, the second time by the id of its device, once it is logged.",
    scenario="flapping",
    message="own",
)
def end_is_cleaned_up_twice() -> Planted:
    """In between a newer connection may have come: it loses the route that it has just got."""
    leave = Reception.leave

    def leave_and_clean_up(self: Reception, channel: Channel) -> None:
        leave(self, channel)
        self._loop.call_later(_LOG_WRITTEN, self._registry._sessions.pop, channel.connect.device, None)

    def leave_unless_replaced(self: Reception, channel: Channel) -> None:
        session = self._registry.get(channel.connect.device)
        owns = session is not None and session.channel is channel
        (leave_and_clean_up if owns else leave)(self, channel)

    return patch.object(Reception, "leave", leave_unless_replaced)


@timing_defect(
    "A delayed snapshot is read when half its delay is over.",
    scenario="handovers",
    message="after (version|revision)",
)
def snapshot_is_read_half_way() -> Planted:
    schedule = Snapshots._schedule

    def early(self: Snapshots, session: Session, kind: Kind, delay: float, read: Read) -> None:
        kept: list[Any] = []
        asyncio.get_running_loop().call_later(delay / 2, lambda: kept.append(read()))
        schedule(self, session, kind, delay, lambda: kept[0] if kept else read())

    return patch.object(Snapshots, "_schedule", early)
