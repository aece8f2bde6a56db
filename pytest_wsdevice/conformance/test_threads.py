"""Threads: as many as configured, however many devices there are; what happens in one is answered, and seen."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import config_file
from gateway.device.session import Session
from gateway.errors import LoopNotRunning
from gateway.feature import Handler
from gateway.observe.events import TaskFailed
from gateway.tasks import Tasks
from gateway.workers import Workers
from pytest_wsdevice.conformance.own_gateways import device_of, from_inside
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Gateways, OwnGateway, Timeline

pytestmark = pytest.mark.asyncio

PATIENCE = 2.0  # seconds in a thread for what takes milliseconds
NONSENSE = ['"many"', '"8"', "true", "-1", "0", "2.5", "1000000"]
"""As they are written in gateway.toml."""

# --- how many ---------------------------------------------------------------------------------------------------


@pytest.mark.ws_needs("events", "tcp")
async def test_idle_devices_cost_no_threads(ws_devices: Devices) -> None:
    """A gateway with many devices has as many threads as one with a single one."""
    await greet(await ws_devices("first"))
    before = threading.active_count()

    for number in range(12):
        await greet(await ws_devices(f"device-{number}"))

    more = threading.active_count() - before
    assert more < 6, f"each device costs threads: 12 idle ones more have {more} threads more"


@pytest.mark.ws_needs("config", "tcp")
@pytest.mark.parametrize("size", [1, 3])
async def test_the_pool_has_the_threads_that_are_configured(ws_gateways: Gateways, size: int) -> None:
    """So many calls run at once, and no more: ``meeting.threadpool_max_workers``."""
    gateway = await ws_gateways(meeting={"threadpool_max_workers": size})

    most = await most_at_once(gateway.gateway.workers, size)

    assert most == size, f"threadpool_max_workers = {size} is not heeded: {most} calls ran at once"


@pytest.mark.ws_needs("config", "tcp")
@pytest.mark.parametrize("written", NONSENSE)
async def test_a_pool_size_that_makes_no_sense_becomes_2(ws_gateways: Gateways, tmp_path: Path, written: str) -> None:
    """Everything but an integer from 1 to 64, with one warning that names the setting."""
    toml = tmp_path / "gateway.toml"
    toml.write_text(f"[meeting]\nthreadpool_max_workers = {written}\n")

    loaded = config_file.load(toml, {})

    meeting = loaded.config.meeting
    assert meeting.threadpool_max_workers == 2, (
        f"threadpool_max_workers = {written} was taken for {meeting.threadpool_max_workers!r}, not for 2"
    )
    named = [warning for warning in loaded.warnings if "threadpool_max_workers" in warning]
    assert len(named) == 1, f"threadpool_max_workers = {written} was not mended with one warning: {loaded.warnings}"
    gateway = await ws_gateways(meeting=msgspec.structs.asdict(meeting))
    assert await most_at_once(gateway.gateway.workers, 2) == 2, "the pool has not the 2 threads that were announced"


@pytest.mark.ws_needs("config", "tcp")
async def test_work_over_the_queue_is_answered_with_busy(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """What waits for a thread is bounded; past it a device is told at once, and the rest is done."""
    may_end = threading.Event()

    async def wait(workers: Workers, session: Session) -> None:
        await workers.run(may_end.wait, PATIENCE)
        session.send_json({"type": "custom", "payload": {}})

    gateway = await with_work(ws_gateways, wait, meeting={"threadpool_max_workers": 1, "threadpool_queue": 1})
    device = await device_of(gateway, ws_devices, "device")

    for _ in range(3):
        await device.send({"type": "work"})
    with or_else("work for the threads piles up without limit: what is over the queue was not refused"):
        await device.expect("error", PATIENCE / 2, code="BUSY")
    may_end.set()

    with or_else("work within the limits of the pool was not done"):
        for _ in range(2):
            await device.expect("custom")


# --- what becomes of it -----------------------------------------------------------------------------------------


@pytest.mark.ws_needs("config")
async def test_a_failing_job_is_answered(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """With INTERNAL_ERROR: its device does not wait for ever; the connection stays."""

    async def fail(workers: Workers, _: Session) -> None:
        await workers.run(_broken)

    gateway = await with_work(ws_gateways, fail)
    device = await device_of(gateway, ws_devices, "device")

    await device.send({"type": "work"})

    with or_else("the failure of a job in its thread was never answered: the device waits for ever"):
        await device.expect("error", PATIENCE, code="INTERNAL_ERROR")
    await greet(device)


@pytest.mark.ws_needs("config", "tcp")
async def test_a_call_from_a_thread_reaches_the_running_loop(ws_gateways: Gateways, ws_devices: Devices) -> None:
    """It runs in the loop that serves the devices, and its result comes back to the thread."""
    loop = asyncio.get_running_loop()

    async def say(session: Session) -> bool:
        session.send_json({"type": "custom", "payload": {"from": "a thread"}})
        return asyncio.get_running_loop() is loop

    async def work(workers: Workers, session: Session) -> None:
        def in_a_thread() -> bool:
            return workers.call_from_thread(say(session), session.tasks).result(PATIENCE)

        is_ours = await workers.run(in_a_thread)
        session.send_json({"type": "custom", "payload": {"ours": is_ours}})

    gateway = await with_work(ws_gateways, work)
    device = await device_of(gateway, ws_devices, "device")

    await device.send({"type": "work"})

    with or_else("a call from a thread did not reach the running loop, or its result did not come back"):
        first = await device.expect("custom", 2 * PATIENCE)
        second = await device.expect("custom", 2 * PATIENCE)
    assert (first["payload"], second["payload"]) == ({"from": "a thread"}, {"ours": True}), (
        f"a call from a thread did not run in the running loop: {first}, {second}"
    )


@pytest.mark.ws_needs("config", "events", "tcp")
async def test_a_failing_call_from_a_thread_is_seen(
    ws_gateways: Gateways, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """Though nobody looks at its result."""

    async def fail() -> None:
        _broken()

    async def work(workers: Workers, session: Session) -> None:
        await workers.run(lambda: _forget(workers.call_from_thread(fail(), session.tasks)))

    gateway = await with_work(ws_gateways, work)
    device = await device_of(gateway, ws_devices, "device")

    await device.send({"type": "work"})

    seen = await ws_timeline.until(lambda: ws_timeline.events(TaskFailed, device=device.device_id), PATIENCE)
    assert seen, "the exception of a call from a thread, of which nobody awaits the result, was never seen"


@pytest.mark.ws_needs("restart", "tcp")
async def test_a_call_from_a_thread_without_a_running_loop_fails(ws_gateway: Gateway) -> None:
    """At once, in the thread: after the stop there is no loop, and none is guessed."""
    own = from_inside(ws_gateway)
    workers = own.gateway.workers
    began: list[bool] = []
    owner = Tasks("a test")

    async def begin() -> None:
        began.append(True)

    def call() -> str:
        try:
            workers.call_from_thread(begin(), owner)
        except LoopNotRunning:
            return "failed"
        return "was taken"

    await own.stop()
    outcome = await asyncio.to_thread(call)

    assert outcome == "failed", f"a call from a thread after the stop {outcome}: its failure is hidden from the thread"
    assert not began, "a call from a thread after the stop was run in a loop that was guessed"


# --- work of an application ---------------------------------------------------------------------------------------


class Work(msgspec.Struct, tag="work"):
    """A message of an application that has something done in a thread."""


async def with_work(
    gateways: Gateways, work: Callable[[Workers, Session], Awaitable[None]], **sections: dict[str, Any]
) -> OwnGateway:
    """Start a gateway that handles ``work``."""
    made: list[Workers] = []

    async def handle(session: Session, _: Work) -> None:
        await work(made[0], session)

    gateway = await gateways({"handlers": [Handler(Work, handle)]}, **sections)
    made.append(gateway.gateway.workers)
    return gateway


async def most_at_once(workers: Workers, expected: int) -> int:
    """Give a pool two calls more than should run at once, and count how many do."""
    changed = threading.Condition()
    running, most = 0, 0

    def stay() -> None:
        nonlocal running, most
        with changed:
            running += 1
            most = max(most, running)
            changed.notify_all()
            changed.wait_for(lambda: most >= expected, PATIENCE)
        time.sleep(0.05)  # one too many would come now
        with changed:
            running -= 1

    await asyncio.gather(*(workers.run(stay) for _ in range(expected + 2)))
    return most


async def greet(device: FakeDevice) -> None:
    """Have a device say something, and be answered."""
    await device.send({"type": "ping"})
    await device.expect("pong")


def _broken() -> None:
    raise RuntimeError("broken")


def _forget(_: object) -> None:
    """Nobody looks at it."""
