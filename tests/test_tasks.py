"""Tests of `gateway.tasks`."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Misuse
from gateway.tasks import Tasks, is_being_cancelled
from tests.virtual_time import virtual_time


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def _stubborn(let_go: asyncio.Event) -> None:
    """Ignore being cancelled until let go."""
    while not let_go.is_set():
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            continue


async def test_task_is_held_until_it_ends():
    """A task counts while it runs, gives its result to who waits for it, and is then forgotten."""
    tasks = Tasks("test")

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    task = tasks.spawn(work(), "work")
    assert len(tasks) == 1
    assert task.get_name() == "test: work"

    assert await task == 7
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_failure_is_logged_and_told_and_harms_nobody(caplog):
    """A task that fails leaves its traceback in the log; its siblings and its owner go on."""
    failures: list[tuple[str, BaseException]] = []
    tasks = Tasks("test", lambda name, error: failures.append((name, error)))
    sibling = tasks.spawn(_for_ever(), "sibling")

    async def fail() -> None:
        raise ValueError("no luck")

    failing = tasks.spawn(fail(), "failing")
    await asyncio.wait([failing])
    await asyncio.sleep(0)

    assert [(name, str(error)) for name, error in failures] == [("test: failing", "no luck")]
    (record,) = caplog.records
    assert record.getMessage() == "task 'test: failing' failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is failures[0][1]
    assert not sibling.done()
    assert not tasks.closed
    assert await tasks.close(1)


async def test_cancelled_task_is_no_failure(caplog):
    """What was cancelled is neither logged nor told."""
    failures: list[str] = []
    tasks = Tasks("test", lambda name, _error: failures.append(name))
    tasks.spawn(_for_ever(), "waiting")
    await asyncio.sleep(0)

    assert await tasks.close(1)

    assert (failures, caplog.records, len(tasks)) == ([], [], 0)


async def test_tasks_are_cancelled_in_the_order_they_were_added():
    """The order is the same in every run."""
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await _for_ever()
        finally:
            ended.append(number)

    tasks = Tasks("test")
    for number in range(20):
        tasks.spawn(wait(number), str(number))
    await asyncio.sleep(0)

    assert await tasks.close(1)

    assert ended == list(range(20))


async def test_closed_owner_takes_no_task():
    """After `cancel`, a coroutine is refused, and closed so that nothing warns of it."""
    tasks = Tasks("test")
    assert not tasks.closed
    tasks.cancel()
    tasks.cancel()
    late = _for_ever()

    with pytest.raises(Misuse, match="expected a live owner for task 'late', but test has ended"):
        tasks.spawn(late, "late")

    assert tasks.closed
    assert late.cr_frame is None


async def test_task_that_had_no_turn_is_cancelled_too():
    """A task cancelled before its first step never runs, and is forgotten."""
    ran: list[int] = []

    async def work() -> None:
        ran.append(1)

    tasks = Tasks("test")
    tasks.spawn(work(), "work")

    assert await tasks.close(1)

    assert (ran, len(tasks)) == ([], 0)


async def test_closing_without_tasks_is_done_at_once():
    """There is nothing to wait for, the first time and the second."""
    tasks = Tasks("test")

    assert await tasks.close(0)
    assert await tasks.close(0)


async def test_closing_waits_for_what_tasks_put_away():
    """A task may take turns to clean up; closing returns after it."""
    done: list[str] = []

    async def work() -> None:
        try:
            await _for_ever()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            done.append("clean")

    tasks = Tasks("test")
    tasks.spawn(work(), "work")
    await asyncio.sleep(0)

    assert await tasks.close(1)

    assert done == ["clean"]


@virtual_time
async def test_task_that_does_not_end_is_named_and_held(caplog):
    """Closing waits no longer than it was told to, and says who did not end; a later look finds it still there."""
    let_go = asyncio.Event()
    tasks = Tasks("test")
    tasks.spawn(_stubborn(let_go), "stubborn")
    tasks.spawn(_for_ever(), "willing")
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()

    assert not await tasks.close(5)

    assert asyncio.get_running_loop().time() - began == pytest.approx(5)
    assert [record.getMessage() for record in caplog.records] == [
        "task 'test: stubborn' did not end within 5.0 s of being cancelled"
    ]
    assert len(tasks) == 1
    let_go.set()
    assert await tasks.close(5)
    assert len(tasks) == 0


async def test_task_that_closes_its_own_owner_does_not_wait_for_itself():
    """It is cancelled with its siblings, instead of waiting for its own end for ever."""
    tasks = Tasks("test")
    sibling = tasks.spawn(_for_ever(), "sibling")

    task = tasks.spawn(tasks.close(60), "closer")
    await asyncio.wait([task], timeout=5)

    assert sibling.cancelled()
    assert task.cancelled()


async def test_task_that_is_alone_may_close_its_owner():
    """With nobody else to wait for, the task gets its answer before it is cancelled."""
    closed: list[bool] = []
    tasks = Tasks("test")

    async def closer() -> None:
        closed.append(await tasks.close(60))

    await asyncio.wait([tasks.spawn(closer(), "closer")], timeout=5)

    assert closed == [True]


@virtual_time
async def test_finishing_waits_without_cancelling():
    """Tasks that end in time are waited for; those that do not go on."""
    tasks = Tasks("test")
    assert await tasks.finish(0)
    tasks.spawn(asyncio.sleep(3), "three seconds")
    assert await tasks.finish(5)
    slow = tasks.spawn(asyncio.sleep(30), "thirty seconds")

    assert not await tasks.finish(5)

    assert not slow.done()
    assert not tasks.closed
    assert await tasks.close(1)


async def test_cancelling_who_waits_does_not_lose_the_tasks():
    """A cancelled `close` has cancelled the tasks; they are still held until they end."""
    let_go = asyncio.Event()
    tasks = Tasks("test")
    tasks.spawn(_stubborn(let_go), "stubborn")
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(tasks.close(60))
    await asyncio.sleep(0)

    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert len(tasks) == 1
    let_go.set()
    assert await tasks.close(1)


async def test_whose_cancellation_it_is():
    """A task knows whether it was told to end, or what it awaited was; outside of any task nobody is told anything."""
    found: list[bool] = []

    async def work(awaited: asyncio.Future[None]) -> None:
        try:
            await awaited
        except asyncio.CancelledError:
            found.append(is_being_cancelled())

    for who in ("awaited", "task"):
        awaited = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(work(awaited))
        await asyncio.sleep(0)
        (awaited if who == "awaited" else task).cancel()
        await task
    asyncio.get_running_loop().call_soon(lambda: found.append(is_being_cancelled()))
    await asyncio.sleep(0)

    assert found == [False, True, False]
