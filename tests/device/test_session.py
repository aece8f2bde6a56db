"""Tests of the session: sending, and the handlers that run as its tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from gateway.config import Config, LimitsConfig
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.errors import BadMessage, Misuse, PoolBusy
from gateway.feature import Handler
from gateway.identity import DeviceId
from gateway.observe.events import MessageRejected, TaskFailed
from tests.simulated import IN_MEMORY, House, simulated, turns
from tests.virtual_time import virtual_time


class Job(msgspec.Struct, tag="job"):
    """An application's message."""

    number: int = 0
    id: str = ""


def runs(work: Callable[[Session, Job], Awaitable[None]]) -> dict[str, Any]:
    """Settings of a gateway with one coroutine handler, of which two run at once."""
    config = Config(mailbox=IN_MEMORY, limits=LimitsConfig(handlers_at_once=2))
    return {"config": config, "handlers": [Handler(Job, work)]}


def session_of(house: House, device: str = "aa") -> Session:
    """The session of a device that is present."""
    session = house.gateway.registry.get(DeviceId(device))
    assert session is not None
    return session


# --- what it is ---------------------------------------------------------------------------------------------------


@virtual_time
async def test_identity():
    """A session has an id of its own, of 128 bits; it stays the same over a handover, and begins with the device."""
    async with simulated() as house:
        await asyncio.sleep(3)
        peer = await house.device("aa")
        session = session_of(house)
        assert peer.messages[0]["session_id"] == session.id
        assert len(session.id) == 32
        assert session.online_since == 3
        assert repr(session) == f"<Session aa {session.id[:8]}>"
        await asyncio.sleep(1)
        await house.device("aa")

        assert session_of(house) is session
        assert session.online_since == 3
        other = await house.device("bb")
        assert other.messages[0]["session_id"] != session.id


@pytest.mark.parametrize(
    ("said", "offers"), [(True, True), (False, False), (None, False), (1, False), ("true", False), ({}, False)]
)
def test_offers(said: Any, offers: bool):
    """A device offers a feature when it said ``true`` to it, and nothing that merely looks so."""

    @virtual_time
    async def offering() -> None:
        async with simulated() as house:
            await house.device("aa", features={"lamp": said})
            assert session_of(house).offers("lamp") is offers
            assert session_of(house).offers("other") is False

    offering()


@virtual_time
async def test_sends_to_the_present_connection():
    """What is sent goes to the connection that owns the route, in the order of the calls; its result is told."""
    async with simulated() as house:
        old = await house.device("aa")
        session = session_of(house)
        assert session.send_json({"type": "custom", "payload": 1}) is Sent.WRITTEN
        new = await house.device("aa")
        assert session.send_json({"type": "custom", "payload": 2}) is Sent.WRITTEN
        assert session.send_audio(b"opus") is Sent.WRITTEN
        assert session.send_error("BUSY", "no room", "x") is Sent.WRITTEN
        await turns()
        assert [message.get("payload") for message in old.of("custom")] == [1]
        assert [message.get("payload") for message in new.of("custom")] == [2]
        assert new.messages[-1] == {"type": "error", "code": "BUSY", "message": "no room", "ref": "x"}
        new.cut()
        await turns()

        assert session.send_json({"type": "custom", "payload": 3}) is Sent.FAILED
        assert session.send_audio(b"opus") is Sent.FAILED
        assert session.send_error("BUSY", "no room") is Sent.FAILED


# --- coroutine handlers -------------------------------------------------------------------------------------------


@virtual_time
async def test_handlers_run_side_by_side():
    """Coroutine handlers begin in order of arrival and run side by side; other messages do not wait for them."""
    began: list[tuple[int, float]] = []

    async def work(session: Session, job: Job) -> None:
        began.append((job.number, asyncio.get_running_loop().time()))
        await asyncio.sleep(1)
        session.send_json({"type": "custom", "payload": job.number})

    async with simulated(**runs(work)) as house:
        peer = await house.device("aa")
        peer.say({"type": "job", "number": 1})
        peer.say({"type": "job", "number": 2})
        peer.say({"type": "ping"})
        await turns()
        assert began == [(1, 0), (2, 0)]
        assert [message["type"] for message in peer.messages] == ["hello", "pong"]
        await asyncio.sleep(1.1)
        assert [message["payload"] for message in peer.of("custom")] == [1, 2]


@virtual_time
async def test_limit():
    """At most as many as configured run at once: the next one is answered BUSY; when one ends there is room again."""

    async def work(session: Session, job: Job) -> None:
        await asyncio.sleep(1)

    async with simulated(**runs(work)) as house:
        peer = await house.device("aa")
        for _ in range(2):
            peer.say({"type": "job"})
        await turns()
        assert peer.of("error") == []
        peer.say({"type": "job"})
        await turns()
        assert [error["code"] for error in peer.of("error")] == ["BUSY"]
        await asyncio.sleep(1.1)
        assert session_of(house).running_handlers == 0
        peer.say({"type": "job"})
        await turns()
        assert len(peer.of("error")) == 1
        assert session_of(house).running_handlers == 1


@virtual_time
async def test_limit_is_each_devices_own():
    """A device that has as many running as it may does not keep another from having its own."""

    async def work(session: Session, job: Job) -> None:
        await asyncio.sleep(1)

    async with simulated(**runs(work)) as house:
        one, other = await house.device("aa"), await house.device("bb")
        for _ in range(3):
            one.say({"type": "job"})
        other.say({"type": "job"})
        await turns()

        assert len(one.of("error")) == 1
        assert other.of("error") == []


@virtual_time
async def test_bad_message():
    """A handler that finds a fault in a message answers with its error, its reference included; nothing is logged."""

    async def work(session: Session, job: Job) -> None:
        await asyncio.sleep(0)
        raise BadMessage("NO_SUCH_JOB", "expected a job that there is", job.id)

    async with simulated(**runs(work)) as house:
        peer = await house.device("aa")
        peer.say({"type": "job", "id": "j1"})
        await turns()

        expected = {"type": "error", "code": "NO_SUCH_JOB", "message": "expected a job that there is", "ref": "j1"}
        assert peer.of("error") == [expected]
        assert [one.code for one in house.records.of(MessageRejected)] == ["NO_SUCH_JOB"]
        assert house.records.of(TaskFailed) == []


def test_exception(caplog: pytest.LogCaptureFixture):
    """A handler that breaks is logged with its traceback; the device hears INTERNAL_ERROR without any of it."""

    async def work(session: Session, job: Job) -> None:
        await asyncio.sleep(0)
        raise RuntimeError("the secret of the house")

    @virtual_time
    async def breaking() -> None:
        async with simulated(**runs(work)) as house:
            peer = await house.device("aa")
            peer.say({"type": "job"})
            await turns()
            assert [error["code"] for error in peer.of("error")] == ["INTERNAL_ERROR"]
            assert "secret" not in str(peer.messages)
            peer.say({"type": "ping"})
            await turns()
            assert peer.messages[-1] == {"type": "pong"}
            assert session_of(house).running_handlers == 0

    with caplog.at_level(logging.ERROR):
        breaking()

    assert [record.message for record in caplog.records] == ["the handler of 'job' failed for aa"]
    assert caplog.records[0].exc_info is not None


def test_pool_busy(caplog: pytest.LogCaptureFixture):
    """A handler for whose work the pool has no room is answered BUSY, which is no fault and not logged."""

    async def work(session: Session, job: Job) -> None:
        raise PoolBusy("2 worker threads are busy")

    @virtual_time
    async def busy() -> None:
        async with simulated(**runs(work)) as house:
            peer = await house.device("aa")
            peer.say({"type": "job"})
            await turns()
            assert [error["code"] for error in peer.of("error")] == ["BUSY"]

    busy()

    assert not caplog.records


def test_work_of_a_handler_that_was_cancelled(caplog: pytest.LogCaptureFixture):
    """A handler whose own work was cancelled, by whomever but the session, has failed: the device gets its error."""

    async def waits(session: Session, job: Job) -> None:
        work = asyncio.create_task(asyncio.sleep(3600))
        asyncio.get_running_loop().call_soon(work.cancel)
        await work

    def plain(session: Session, job: Job) -> None:
        work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work.cancel()
        work.result()

    @virtual_time
    async def cancelled() -> None:
        for handle in (waits, plain):
            async with simulated(config=Config(mailbox=IN_MEMORY), handlers=[Handler(Job, handle)]) as house:
                peer = await house.device("aa")
                peer.say({"type": "job"})
                await turns()
                assert [error["code"] for error in peer.of("error")] == ["INTERNAL_ERROR"]
                assert session_of(house).running_handlers == 0
                assert peer.gone_at is None

    with caplog.at_level(logging.ERROR):
        cancelled()

    assert [record.message for record in caplog.records] == ["the handler of 'job' failed for aa"] * 2


@virtual_time
async def test_cancelled_with_the_session():
    """When the device goes its handlers are cancelled and may clean up; nothing is sent, nothing counts as failed."""
    ended: list[str] = []

    async def work(session: Session, job: Job) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
            ended.append(session.device)
            raise

    async with simulated(**runs(work)) as house:
        peer = await house.device("aa")
        peer.say({"type": "job"})
        await turns()
        session = session_of(house)
        peer.cut()
        await asyncio.sleep(1)

        assert ended == ["aa"]
        assert len(session.tasks) == 0
        assert session.running_handlers == 0
        assert house.records.of(TaskFailed) == house.records.of(MessageRejected) == []


@virtual_time
async def test_cancelled_before_it_began():
    """A handler whose device goes in the very turn of its message never begins; its coroutine is not left behind."""
    began: list[int] = []

    async def work(session: Session, job: Job) -> None:
        began.append(job.number)

    async with simulated(**runs(work)) as house:
        peer = await house.device("aa")
        peer.say({"type": "job"})
        session_of(house).tasks.cancel()
        await turns()

        assert began == []


@virtual_time
async def test_goes_on_over_a_handover():
    """A handler that runs while its device reconnects goes on, and answers on the newer connection."""

    async def work(session: Session, job: Job) -> None:
        await asyncio.sleep(1)
        session.send_json({"type": "custom", "payload": "done"})

    async with simulated(**runs(work)) as house:
        old = await house.device("aa")
        old.say({"type": "job"})
        await turns()
        new = await house.device("aa")
        await asyncio.sleep(1.1)

        assert old.of("custom") == []
        assert [message["payload"] for message in new.of("custom")] == ["done"]


@virtual_time
async def test_after_the_end():
    """A session that has ended runs no handler and raises nothing: a replaced connection may still deliver to it."""
    began: list[int] = []

    async def work(session: Session, job: Job) -> None:
        began.append(job.number)

    handler = Handler(Job, work)
    async with simulated() as house:
        peer = await house.device("aa")
        session = session_of(house)
        peer.cut()
        await turns()
        session.run_handler(handler, Job(), 2, session.channel)
        await turns()

        assert began == []
        assert session.running_handlers == 0
        with pytest.raises(Misuse):
            session.tasks.spawn(asyncio.sleep(0), "too late")


@virtual_time
async def test_a_callable_object():
    """An object whose call is a coroutine function is a handler like any other."""

    class Worker:
        async def __call__(self, session: Session, job: Job) -> None:
            await asyncio.sleep(1)
            session.send_json({"type": "custom", "payload": job.number})

    async with simulated(**runs(Worker())) as house:
        peer = await house.device("aa")
        peer.say({"type": "job", "number": 3})
        await asyncio.sleep(1.1)

        assert [message["payload"] for message in peer.of("custom")] == [3]


# --- its other tasks ----------------------------------------------------------------------------------------------


def test_a_task_that_fails(caplog: pytest.LogCaptureFixture):
    """A background task that breaks is logged and recorded, printable, and takes neither siblings nor device along."""

    async def broken() -> None:
        raise ValueError("a\x1b[31mb")

    @virtual_time
    async def failing() -> None:
        async with simulated() as house:
            peer = await house.device("aa")
            session = session_of(house)
            session.tasks.spawn(broken(), "work")
            sibling = session.tasks.spawn(asyncio.sleep(3600), "sibling")
            await turns()

            failed = house.records.of(TaskFailed)
            assert [(one.device, one.session, one.task) for one in failed] == [
                ("aa", session.id, "session of aa: work")
            ]
            assert failed[0].error == "ValueError: a\\x1b[31mb"
            assert not sibling.done()
            assert peer.gone_at is None

    with caplog.at_level(logging.ERROR):
        failing()

    assert len(caplog.records) == 1
