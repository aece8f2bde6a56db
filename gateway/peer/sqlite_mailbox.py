"""The durable mailbox: an SQLite file in WAL mode with full syncs, written by group commit.

Why SQLite and why like this: ``docs/decisions/0003-sqlite-group-commit.md``. What survives what: ``docs/mailbox.md``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.clock import WallClock
from gateway.peer.group_commit import GroupCommit, Operation
from gateway.peer.letters_table import LettersTable
from gateway.peer.mailbox import Depth, Letter, Mailbox, Notice, Stored, check_event, check_letters
from gateway.peer.mailbox_file import MailboxFile, open_for_writing
from gateway.protocol import limits

T = TypeVar("T")

# Errors of SQLite that say something about one statement and its values, not about the file and its disk.
_OF_THE_STATEMENT = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_OF_A_VALUE = (*_OF_THE_STATEMENT, OverflowError, UnicodeError)  # the last two where it cannot even be handed over


class SqliteMailbox(Mailbox):
    """Letters in an SQLite file; every promise of `Mailbox`.

    All work on the file is done in the executor, one batch at a time; reads wait in the same queue as writes. A batch
    is one transaction: when the disk is full, or fails, or another program holds the file, all operations of the
    batch raise `MailboxFailed`, and later ones are tried anew. So does an operation alone whose values cannot be kept.

    Args:
        path: of the file; made with its directory if it is not there.
        per_device: letters with a sender that may wait for one device.
        total: letters that may wait or be set aside in all; as many events, and as many settled names.
        dedupe: seconds for which a settled letter is remembered.
        wall_clock: seconds since 1970.
        executor: where the file is used; None for the loop's own. One thread is enough, and best its own: a batch
            would wait behind other work.
        per_sender: letters of one sender that may wait, for all devices together.
    """

    def __init__(
        self,
        path: str,
        *,
        per_device: int,
        total: int,
        dedupe: float,
        wall_clock: WallClock,
        executor: Executor | None,
        per_sender: int = limits.MAILBOX_PER_SENDER,
    ) -> None:
        self._path = path
        self._new_table = partial(
            LettersTable, per_device=per_device, per_sender=per_sender, total=total, dedupe=dedupe
        )
        self._wall_clock = wall_clock
        self._executor = executor
        self._batches = GroupCommit[LettersTable](self._commit, executor)
        self._file: MailboxFile | None = None
        self._table: LettersTable | None = None

    @property
    def failed(self) -> str | None:
        """Why the last batch failed; None again once one has written."""
        return self._batches.failed

    async def open(self) -> None:
        """Lock, check and open the file; see `gateway.peer.mailbox_file.open_for_writing` for what is refused."""
        if self._file is not None:
            return
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(self._executor, open_for_writing, self._path)
        try:
            self._file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._close_unwanted)
            raise
        self._table = self._new_table(self._file.connection)

    async def close(self) -> None:
        """Finish what was called before, write the WAL back, close the file, let its lock go; idempotent."""
        if self._file is not None:
            await self._batches.close(self._file.close)

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        """See `Mailbox.store`."""
        check_letters(letters)
        kept, now = tuple(letters), self._wall_clock()
        return await self._run(lambda table: table.store(kept, now))

    async def add_event(self, letter: Letter, *, sent: bool = False) -> None:
        """See `Mailbox.add_event`."""
        check_event(letter)
        now = self._wall_clock()
        await self._run(lambda table: table.add_event(letter, now, sent=sent))

    async def waiting(self, recipient: DeviceId, limit: int) -> list[Letter]:
        """See `Mailbox.waiting`."""
        now = self._wall_clock()
        return await self._run(lambda table: table.waiting(recipient, limit, now))

    async def settle(self, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        """See `Mailbox.settle`."""
        names, now = tuple(letters), self._wall_clock()
        return await self._run(lambda table: table.settle(recipient, names, now))

    async def set_aside(
        self,
        recipient: DeviceId,
        sender: str,
        id: str,  # noqa: A002 - the wire's word
        notice: Letter | None = None,
    ) -> bool:
        """See `Mailbox.set_aside`."""
        if notice is not None:
            check_event(notice)
        now = self._wall_clock()
        return await self._run(lambda table: table.set_aside(recipient, sender, id, notice, now))

    async def take_expired(self, limit: int, notice: Notice | None = None) -> list[Letter]:
        """See `Mailbox.take_expired`; ``notice`` is called in the executor."""
        now = self._wall_clock()
        return await self._run(lambda table: table.take_expired(limit, notice, now))

    async def purge(self, recipient: DeviceId) -> int:
        """See `Mailbox.purge`."""
        return await self._run(lambda table: table.purge(recipient))

    async def depth(self) -> Depth:
        """See `Mailbox.depth`."""
        now = self._wall_clock()
        return await self._run(lambda table: table.depth(now))

    async def note_acknowledger(self, device: DeviceId, *, acknowledges: bool) -> None:
        """See `Mailbox.note_acknowledger`."""
        await self._run(lambda table: table.acknowledgers.note(device, acknowledges=acknowledges))

    async def acknowledgers(self) -> list[DeviceId]:
        """See `Mailbox.acknowledgers`."""
        return await self._run(lambda table: table.acknowledgers.all())

    async def _run(self, work: Callable[[LettersTable], T]) -> T:
        if self._table is None:
            raise MailboxFailed("the mailbox is not open")
        return await self._batches.run(work)

    def _close_unwanted(self, opening: asyncio.Future[MailboxFile]) -> None:
        # the caller of open() went away meanwhile; the lock must not stay
        if not opening.cancelled() and opening.exception() is None:
            asyncio.get_running_loop().run_in_executor(self._executor, opening.result().close)

    # --- in the executor --------------------------------------------------------------------------------------------

    def _commit(self, batch: list[Operation[LettersTable]]) -> bool:
        assert self._table is not None
        table = self._table
        left = list(batch)
        while (faulty := _attempt(table, left)) is not None:
            left.remove(faulty)
        # A batch that only read says nothing about the disk; without a try of its own, a gateway that gets no
        # devices for want of readiness would never learn that the disk has room again.
        return table.wrote or (self.failed is not None and _can_write(table))


def _attempt(table: LettersTable, operations: list[Operation[LettersTable]]) -> Operation[LettersTable] | None:
    """Do operations in one transaction.

    Returns:
        None when they are durable. An operation that failed by itself, with its error set: nothing is done, and the
        others are to be done without it.

    Raises:
        MailboxFailed: the file or its disk failed; nothing is done.
    """
    operation = None
    try:
        table.begin()
        for operation in operations:
            operation.result = operation.work(table)
        operation = None
        table.commit()
    except Exception as error:
        # all of them, since this is a rim: a caller's bad value must not take the others' letters with it
        table.rollback()
        if operation is None or _is_of_the_disk(error):
            raise _failure(error) from error
        operation.error = _failure(error) if isinstance(error, _OF_A_VALUE) else error
    return operation


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error | OSError | MemoryError) and not isinstance(error, _OF_THE_STATEMENT)


def _failure(error: Exception) -> MailboxFailed:
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    failure = MailboxFailed(f"{error} ({name})")
    failure.__cause__ = error
    return failure


def _can_write(table: LettersTable) -> bool:
    try:
        for step in (table.write_probe, table.delete_probe):
            table.begin()
            step()
            table.commit()
    except sqlite3.Error:
        table.rollback()
        return False
    return True
