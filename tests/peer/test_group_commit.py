"""Group commit: batches, their order, their failures, their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from gateway.errors import MailboxFailed, PoolBusy
from gateway.peer.group_commit import GroupCommit, Operation

Log = list[Any]
"""What operations work on here: a list that they append to."""


class _ManualExecutor(Executor):
    """Does work when it is told to, in the loop's thread."""

    def __init__(self) -> None:
        self.given: list[tuple[Callable[[], Any], Future[Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        self.given.append((fn, done))
        return done

    def work(self) -> None:
        fn, done = self.given.pop(0)
        try:
            done.set_result(fn())
        except Exception as error:  # noqa: BLE001 - what an executor does
            done.set_exception(error)


class _Batches:
    """A group commit on a list, with every batch's size on record."""

    def __init__(self, waiting_max: int = 10) -> None:
        self.executor = _ManualExecutor()
        self.log: Log = []
        self.sizes: list[int] = []
        self.error: BaseException | None = None
        self.wrote = True
        self.group = GroupCommit[Log](self.commit, self.executor, waiting_max)

    def commit(self, batch: list[Operation[Log]]) -> bool:
        self.sizes.append(len(batch))
        if self.error is not None:
            raise self.error
        for operation in batch:
            operation.result = operation.work(self.log)
        return self.wrote

    def call(self, value: Any) -> asyncio.Task[int]:
        def work(log: Log) -> int:
            log.append(value)
            return len(log)

        return asyncio.create_task(self.group.run(work))


@pytest.fixture
def batches() -> _Batches:
    """A group commit whose executor is worked by hand."""
    return _Batches()


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_calls_of_one_turn_share_a_batch(batches: _Batches) -> None:
    """Each gets its own result, and they took effect in the order of the calls."""
    calls = [batches.call(n) for n in range(5)]
    await _turns()
    batches.executor.work()

    assert await asyncio.gather(*calls) == [1, 2, 3, 4, 5]
    assert batches.sizes == [5]
    assert batches.log == [0, 1, 2, 3, 4]


async def test_batch_is_what_gathered_during_the_one_before(batches: _Batches) -> None:
    """One batch at a time; what is called meanwhile is in the next one, all of it."""
    first = batches.call(0)
    await _turns()
    rest = []
    for n in range(1, 4):
        rest.append(batches.call(n))
        await _turns()
    assert len(batches.executor.given) == 1, "a second batch must not begin before the first has ended"
    batches.executor.work()
    await first
    await _turns()
    batches.executor.work()
    await asyncio.gather(*rest)

    assert batches.sizes == [1, 3]
    assert batches.log == [0, 1, 2, 3]


async def test_callers_that_come_back_share_the_next_batch(batches: _Batches) -> None:
    """What callers ask for on being answered is not torn into a batch of its own."""

    async def twice(n: int) -> None:
        await batches.group.run(lambda log: log.append(n))
        await batches.group.run(lambda log: log.append(n))

    callers = [asyncio.create_task(twice(n)) for n in range(4)]
    await _turns()
    late = batches.call("late")
    await _turns()
    batches.executor.work()
    await _turns()
    batches.executor.work()
    await asyncio.gather(late, *callers)

    assert batches.sizes == [4, 5]
    assert batches.log == [0, 1, 2, 3, "late", 0, 1, 2, 3]


async def test_failed_batch_fails_for_each_of_its_callers(batches: _Batches) -> None:
    """Each gets an exception of its own with the cause; later batches are tried anew."""
    batches.error = OSError(28, "No space left on device")
    calls = [batches.call(n) for n in range(3)]
    await _turns()
    batches.executor.work()
    errors = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(error) for error in errors} == {MailboxFailed}
    assert len(set(map(id, errors))) == 3
    assert all(isinstance(error, MailboxFailed) and error.__cause__ is batches.error for error in errors)
    assert batches.group.failed is not None
    assert "No space left" in batches.group.failed
    batches.error = None
    call = batches.call("later")
    await _turns()
    batches.executor.work()
    assert await call == 1
    assert batches.group.failed is None


async def test_failure_ends_only_with_a_proof(batches: _Batches) -> None:
    """A batch that proves nothing about the disk leaves the reason standing."""
    batches.group.failed = "disk full"
    for wrote, failed in ((False, "disk full"), (True, None)):
        batches.wrote = wrote
        call = batches.call(1)
        await _turns()
        batches.executor.work()
        await call
        assert batches.group.failed == failed


async def test_full_disk_is_told_once(batches: _Batches, caplog: pytest.LogCaptureFixture) -> None:
    """One line with the reason when it begins, one when it is over, however many batches there are."""
    caplog.set_level(logging.INFO)
    full = MailboxFailed("database or disk is full (SQLITE_FULL)")
    for batches.error in (None, full, full, full, None, None):
        call = batches.call(1)
        await _turns()
        batches.executor.work()
        await asyncio.gather(call, return_exceptions=True)

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "the mailbox does not store: database or disk is full (SQLITE_FULL)"),
        ("INFO", "the mailbox stores again"),
    ]


async def test_unexpected_failure_is_logged(batches: _Batches, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is not silent: its traceback is in the log, and no caller hangs."""
    batches.error = KeyError("a bug")
    call = batches.call(1)
    await _turns()
    batches.executor.work()

    with pytest.raises(MailboxFailed):
        await call
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_operation_may_fail_alone(batches: _Batches) -> None:
    """An error set on one operation is its caller's, as it is."""

    def commit(batch: list[Operation[Log]]) -> bool:
        batch[0].error = ZeroDivisionError("mine")
        batch[1].result = "fine"
        return True

    group = GroupCommit[Log](commit, None)
    answers = await asyncio.gather(group.run(len), group.run(len), return_exceptions=True)

    assert isinstance(answers[0], ZeroDivisionError)
    assert answers[1] == "fine"


async def test_cancelled_caller_harms_nobody(batches: _Batches) -> None:
    """Cancelled before or during its batch: the others are answered, and its work is done all the same."""
    waiting, under_way, stays = batches.call("waiting"), batches.call("under way"), batches.call("stays")
    await asyncio.sleep(0)
    waiting.cancel()
    await _turns()
    under_way.cancel()
    await _turns()
    batches.executor.work()

    assert await stays == 3
    assert waiting.cancelled()
    assert under_way.cancelled()
    assert batches.log == ["waiting", "under way", "stays"]


async def test_too_many_operations_are_refused(batches: _Batches) -> None:
    """As many as the limit may wait, one more fails at once; those that wait are not harmed."""
    first = batches.call("first")
    await _turns()
    calls = [batches.call(n) for n in range(10)]
    await _turns()
    with pytest.raises(MailboxFailed, match="busy"):
        await batches.call("one more")
    batches.executor.work()
    await first
    await _turns()
    batches.executor.work()

    assert len(await asyncio.gather(*calls)) == 10
    assert "one more" not in batches.log


async def test_close_finishes_what_was_called_before(batches: _Batches) -> None:
    """What waits is done, then the last thing, once; what is called later fails."""
    last: list[str] = []
    first = batches.call(1)
    await _turns()
    second = batches.call(2)
    await _turns()
    closing = [asyncio.create_task(batches.group.close(lambda: last.append("closed"))) for _ in range(2)]
    await _turns()
    with pytest.raises(MailboxFailed, match="closed"):
        await batches.call(3)
    closing[0].cancel()
    for done in (False, False, True):
        assert bool(last) is False
        assert closing[1].done() is False
        batches.executor.work()
        await _turns()
        assert bool(last) is done

    assert (await first, await second) == (1, 2)
    await closing[1]
    await batches.group.close(lambda: last.append("again"))
    assert last == ["closed"]
    assert batches.log == [1, 2]


async def test_close_of_an_idle_queue(batches: _Batches) -> None:
    """Nothing waits, so only the last thing is done."""
    closing = asyncio.create_task(batches.group.close(lambda: batches.log.append("closed")))
    await _turns()
    batches.executor.work()
    await closing

    assert batches.log == ["closed"]


async def test_failure_to_close_is_told(batches: _Batches) -> None:
    """What the last thing raises comes out of close."""
    closing = asyncio.create_task(batches.group.close(lambda: 1 // 0))  # type: ignore[arg-type]
    await _turns()
    batches.executor.work()

    with pytest.raises(ZeroDivisionError):
        await closing


@pytest.mark.parametrize("error", [RuntimeError("cannot schedule new futures after shutdown"), PoolBusy("full")])
async def test_executor_that_takes_nothing(batches: _Batches, error: Exception) -> None:
    """Its refusal fails the batch, and the queue stays usable."""

    def refuse(*_: Any) -> Future[Any]:
        raise error

    taking = batches.executor.submit
    batches.executor.submit = refuse  # type: ignore[method-assign]
    with pytest.raises(MailboxFailed, match=str(error)):
        await batches.call(1)
    batches.executor.submit = taking  # type: ignore[method-assign]
    call = batches.call(2)
    await _turns()
    batches.executor.work()
    assert await call == 1
    batches.executor.submit = refuse  # type: ignore[method-assign]
    await batches.group.close(lambda: batches.log.append("closed"))

    assert batches.log == [2, "closed"]


async def test_failure_to_close_without_executor_is_told(batches: _Batches) -> None:
    """What the last thing raises comes out of close, also when no executor takes it."""

    def refuse(*_: Any) -> Future[Any]:
        raise RuntimeError("cannot schedule new futures after shutdown")

    batches.executor.submit = refuse  # type: ignore[method-assign]

    with pytest.raises(ZeroDivisionError):
        await batches.group.close(lambda: 1 // 0)  # type: ignore[arg-type]


async def test_executor_that_drops_its_work(batches: _Batches) -> None:
    """Work that is cancelled in the executor leaves no caller waiting; the last thing is done all the same."""
    call = batches.call(1)
    await _turns()
    batches.executor.given.pop()[1].cancel()
    with pytest.raises(MailboxFailed, match="shut down"):
        await call
    closing = asyncio.create_task(batches.group.close(lambda: batches.log.append("closed")))
    await _turns()
    batches.executor.given.pop()[1].cancel()
    await closing

    assert batches.log == ["closed"]


async def test_threads_see_each_others_work() -> None:
    """With real threads, of which each batch may have another, nothing is lost or torn."""
    log: Log = []

    def commit(batch: list[Operation[Log]]) -> bool:
        for operation in batch:
            operation.result = operation.work(log)
        return True

    with ThreadPoolExecutor(4) as executor:
        group = GroupCommit[Log](commit, executor)

        async def caller(n: int) -> list[int]:
            def work(log: Log) -> int:
                log.append(n)
                return len(log)

            return [await group.run(work) for _ in range(20)]

        places = await asyncio.gather(*(caller(n) for n in range(20)))
        await group.close(lambda: None)

    assert sorted(place for one in places for place in one) == list(range(1, 401))
