"""Group commit: operations of many callers made durable by one sync of the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Generic, TypeVar, cast

from gateway.errors import MailboxFailed, WorldError

_log = logging.getLogger(__name__)

WAITING_MAX = 10_000  # operations; at 30,000 a second a third of a second behind the disk

T = TypeVar("T")
S = TypeVar("S")


class Operation(Generic[S]):
    """One caller's work: done on a store of type ``S``, in the executor; there its result or error is set."""

    __slots__ = ("error", "future", "result", "work")

    def __init__(self, work: Callable[[S], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        """Tell the caller; one that has been cancelled waits no longer."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class GroupCommit(Generic[S]):
    """Runs operations in an executor, one batch at a time, in the order of the calls.

    A batch is what gathered while the one before was being made durable; nothing waits for a batch to fill. An idle
    queue begins a batch at the end of the loop's present turn, so that callers of one turn share a commit.

    Args:
        commit: does a batch in the executor: sets the result or error of each operation, and returns whether that
            proves that the disk can be written. When it raises, every operation of the batch fails with it.
        executor: where; None for the loop's own.
        waiting_max: operations that may wait; a further one fails.
    """

    def __init__(
        self, commit: Callable[[list[Operation[S]]], bool], executor: Executor | None, waiting_max: int = WAITING_MAX
    ) -> None:
        self.failed: str | None = None
        """Why the last batch failed; None again once one has written."""
        self._commit = commit
        self._executor = executor
        self._waiting_max = waiting_max
        self._waiting: list[Operation[S]] = []
        self._busy = False  # a batch is under way, or is about to be
        self._last: Callable[[], None] | None = None
        self._closed: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[S], T]) -> T:
        """Have work done in the next batch and return what it returns, once that is durable.

        Cancelling the call does not take the work out of the batch.

        Raises:
            MailboxFailed: the batch failed, or too many operations wait, or the queue is closed.
        """
        if self._closed is not None:
            raise MailboxFailed("the mailbox is closed")
        if len(self._waiting) >= self._waiting_max:
            raise MailboxFailed(f"the mailbox is busy: {self._waiting_max} operations are waiting for the disk")
        operation = Operation[S](work, asyncio.get_running_loop().create_future())
        self._waiting.append(operation)
        self._wake()
        return cast("T", await operation.future)

    async def close(self, last: Callable[[], None]) -> None:
        """Let everything that waits be done, then call ``last`` in the executor; idempotent.

        Cancelling the call does not stop the closing; a further call waits for its end.
        """
        if self._closed is None:
            self._closed = asyncio.get_running_loop().create_future()
            self._last = last
            self._wake()
        await asyncio.shield(self._closed)

    def _wake(self) -> None:
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            self._in_executor(partial(self._commit, batch)).add_done_callback(partial(self._done, batch))
        else:
            assert self._last is not None
            self._in_executor(self._last).add_done_callback(self._ended)

    def _in_executor(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        try:
            return loop.run_in_executor(self._executor, work)
        except (RuntimeError, WorldError) as error:  # it is shut down, or its queue is full
            future = loop.create_future()
            future.set_exception(_NotTaken(str(error)))
            return future

    def _done(self, batch: list[Operation[S]], future: asyncio.Future[bool]) -> None:
        error = _error_of(future)
        if error is not None:
            self._fail(batch, error)
        elif future.result():
            if self.failed is not None:
                _log.info("the mailbox stores again")
            self.failed = None
        for operation in batch:
            operation.resolve()
        self._busy = False
        # after the callers, whose wake-ups are in the loop already: what they ask for next is in the next batch
        if self._waiting or self._last is not None:
            self._wake()

    def _fail(self, batch: list[Operation[S]], error: BaseException) -> None:
        if not isinstance(error, MailboxFailed):
            _log.error("a batch of the mailbox failed for a reason that is not the disk's", exc_info=error)
        elif self.failed is None:  # once: while the disk is full, every batch fails
            _log.error("the mailbox does not store: %s", error)
        self.failed = str(error) or type(error).__name__
        for operation in batch:
            # one each: an exception that many callers raise would gather all their tracebacks
            operation.error = MailboxFailed(self.failed)
            operation.error.__cause__ = error.__cause__ if isinstance(error, MailboxFailed) else error

    def _ended(self, future: asyncio.Future[None]) -> None:
        assert self._closed is not None
        assert self._last is not None
        error = _error_of(future)
        if isinstance(error, _NotTaken):
            # here, then: it blocks the loop for a moment, but a file left open would keep its lock
            try:
                self._last()
                error = None
            except Exception as failure:  # noqa: BLE001 - handed to whoever closes
                error = failure
        if error is None:
            self._closed.set_result(None)
        else:
            self._closed.set_exception(error)


class _NotTaken(MailboxFailed):
    """The executor did not do the work."""


def _error_of(future: asyncio.Future[Any]) -> BaseException | None:
    return _NotTaken("the executor was shut down") if future.cancelled() else future.exception()
