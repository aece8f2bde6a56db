"""Delayed snapshots: at their time, with what holds at that time, for the connection that is to have them, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.observe.events import SnapshotCancelled
from harness.errors import ExpectationFailed
from pytest_wsdevice.types import Devices, FakeDevice, Timeline

DELAY_MS = 100
LONGER_MS = 300
"""Where something has to happen before, on a busy machine."""
LATE = 3.0
"""Seconds after its time at which a snapshot is late, however busy the machine is."""
EARLY = 0.01
"""Seconds that clocks and timers may differ."""

pytestmark = [
    pytest.mark.asyncio,
    # the debounce: a change is told to the whole group in the shape of a snapshot; not while a test looks for these
    pytest.mark.ws_gateway_config(
        workflow={"test_mode": True, "snapshot_on_register_delay_ms": DELAY_MS, "debounce": 60.0}
    ),
]
each_kind = pytest.mark.parametrize("kind", ["tasks", "transcript"])


# --- on register ------------------------------------------------------------------------------------------------


async def test_the_snapshot_on_register_comes_at_its_time(ws_devices: Devices) -> None:
    """A device that comes online is sent its group's tasks, ``snapshot_on_register_delay_ms`` later."""
    author, device = await ws_devices("author"), await ws_devices("device", online=False)
    await change(author, "tasks", "water the plants")

    began = now()
    await device.go_online()

    snapshot = await at_its_time(device, "tasks", began, DELAY_MS)
    assert told_in(snapshot) == ["water the plants"], f"the snapshot has other tasks than the group: {snapshot}"


@pytest.mark.ws_gateway_config(workflow={"snapshot_on_register_delay_ms": LONGER_MS})
async def test_the_snapshot_on_register_has_what_holds_when_it_is_sent(ws_devices: Devices) -> None:
    """A change between the arrival of a device and its snapshot is in the snapshot."""
    author, device = await ws_devices("author"), await ws_devices("device", online=False)
    await change(author, "tasks", "before")
    await device.go_online()

    await change(author, "tasks", "after")

    snapshot = await comes(device, "tasks")
    assert told_in(snapshot) == ["after"], f"the snapshot has what held when it was scheduled: {snapshot}"


@pytest.mark.ws_gateway_config(workflow={"test_mode": False, "snapshot_on_register_delay_ms": 60_000})
async def test_without_test_mode_the_snapshot_on_register_is_immediate(ws_devices: Devices) -> None:
    """Delays are for tests: without ``workflow.test_mode`` there are none."""
    author, device = await ws_devices("author"), await ws_devices("device", online=False)
    await change(author, "tasks", "water the plants")

    await device.go_online()

    await comes(device, "tasks", "the snapshot on register was delayed, though the gateway is not in test mode")


# --- on request -------------------------------------------------------------------------------------------------


@each_kind
async def test_a_requested_snapshot_comes_at_its_time(ws_devices: Devices, kind: str) -> None:
    """``delay_ms`` after the request, with what there is."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")

    began = now()
    await ask(device, kind, DELAY_MS)

    snapshot = await at_its_time(device, kind, began, DELAY_MS)
    assert told_in(snapshot) == ["water the plants"], f"the snapshot has something else in it: {snapshot}"


@each_kind
async def test_a_requested_snapshot_has_what_holds_when_it_is_sent(ws_devices: Devices, kind: str) -> None:
    """A change between the request and its answer is in the answer."""
    device = await ws_devices("device")
    await change(device, kind, "before")
    await ask(device, kind, DELAY_MS)

    await change(device, kind, "after", confirmed=False)

    snapshot = await comes(device, kind)
    assert told_in(snapshot)[-1] == "after", f"the snapshot has what held when it was asked for: {snapshot}"


@each_kind
async def test_a_newer_request_replaces_the_pending_one(ws_devices: Devices, kind: str) -> None:
    """One snapshot is pending per device and kind: two requests are answered once, at the time of the second."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")
    await ask(device, kind, DELAY_MS)

    began = now()
    await ask(device, kind, 2 * DELAY_MS)

    await at_its_time(device, kind, began, 2 * DELAY_MS)
    await no_more(device, kind, "two requests were answered with two snapshots")


@each_kind
async def test_a_newer_request_may_come_sooner(ws_devices: Devices, kind: str) -> None:
    """A request without delay is answered at once, though one with a delay is pending, and instead of it."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")
    began = now()
    await ask(device, kind, DELAY_MS)

    await ask(device, kind, None)

    await comes(device, kind, "a request without delay was not answered, because another is pending")
    await asyncio.sleep(max(0.0, began + DELAY_MS / 1000 - now()))
    await no_more(device, kind, "a pending snapshot was sent after a newer request had been answered")


async def test_each_kind_has_a_pending_snapshot_of_its_own(ws_devices: Devices) -> None:
    """A request for the transcript does not replace that for the tasks."""
    device = await ws_devices("device")
    await change(device, "tasks", "water the plants")
    await change(device, "transcript", "they are dry")
    await ask(device, "tasks", DELAY_MS)

    await ask(device, "transcript", DELAY_MS)

    await comes(device, "tasks", "the snapshot of the tasks did not come, when one of the transcript was asked for")
    await comes(device, "transcript")


@each_kind
async def test_a_negative_delay_is_none(ws_devices: Devices, kind: str) -> None:
    """Delays are brought into 0 to 60000 ms."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")

    await ask(device, kind, -60_000)

    await comes(device, kind, "a snapshot with a negative delay did not come at once")


@each_kind
@pytest.mark.ws_gateway_config(workflow={"snapshot_on_register_delay_ms": 0})
async def test_a_delay_that_is_no_number_is_refused(ws_devices: Devices, kind: str) -> None:
    """SCHEMA_INVALID, and no snapshot."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")

    for delay in ("200", True, [200], {"ms": 200}):
        await ask(device, kind, delay)

        try:
            await device.expect(lambda message: message.get("code") == "SCHEMA_INVALID", 2.0)
        except ExpectationFailed as error:
            raise AssertionError(f"the delay {delay!r} was not refused as SCHEMA_INVALID\n{error}") from None
    await no_more(device, kind, "a request that was refused was answered with a snapshot")


@each_kind
@pytest.mark.ws_gateway_config(workflow={"test_mode": False, "snapshot_on_register_delay_ms": 0})
async def test_without_test_mode_a_requested_snapshot_is_immediate(ws_devices: Devices, kind: str) -> None:
    """A device in the field cannot have the gateway wait."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")

    await ask(device, kind, 60_000)

    await comes(device, kind, "a requested snapshot was delayed, though the gateway is not in test mode")


# --- whose they are ---------------------------------------------------------------------------------------------


@each_kind
async def test_a_pending_snapshot_is_not_sent_to_the_next_connection(ws_devices: Devices, kind: str) -> None:
    """The device asks, is lost and comes back: what it had asked for does not come, only what it is due anyway."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")
    await ask(device, kind, 2 * DELAY_MS)
    await lose(device)

    began = now()
    await device.go_online()

    if kind == "tasks":
        await at_its_time(device, kind, began, DELAY_MS)
    await asyncio.sleep(max(0.0, began + 2 * DELAY_MS / 1000 - now()))
    await no_more(device, kind, "a snapshot that a lost connection had asked for was sent to the next one")


@each_kind
@pytest.mark.ws_needs("events")
async def test_a_pending_snapshot_ends_with_its_device(ws_devices: Devices, ws_timeline: Timeline, kind: str) -> None:
    """Nothing is left to fire for a device that is gone."""
    device = await ws_devices("device")
    await change(device, kind, "water the plants")
    await ask(device, kind, 60_000)
    await device.send({"type": "ping"})
    await device.expect("pong")

    await lose(device)

    cancelled = await ws_timeline.until(
        lambda: ws_timeline.events(SnapshotCancelled, device=device.device_id, kind=kind, why="offline"), 2.0
    )
    assert cancelled, "the pending snapshot of a device that is gone was not cancelled: it fires after the disconnect"


@each_kind
async def test_a_pending_snapshot_is_not_sent_to_the_replacing_connection(ws_devices: Devices, kind: str) -> None:
    """What the older connection had asked for is not sent to the newer one, nor to the older one."""
    old = await ws_devices("old")
    await change(old, kind, "water the plants")
    await ask(old, kind, LONGER_MS)

    began = now()
    new = await ws_devices("new", like=old)

    if kind == "tasks":
        await at_its_time(new, kind, began, DELAY_MS)
    await asyncio.sleep(max(0.0, began + LONGER_MS / 1000 - now()))
    await asyncio.gather(
        no_more(new, kind, "a snapshot that the replaced connection had asked for was sent to the new one"),
        no_more(old, kind, "a snapshot was sent to a connection that had been replaced"),
    )


@pytest.mark.ws_gateway_config(workflow={"snapshot_on_register_delay_ms": LONGER_MS})
async def test_a_replacing_connection_gets_a_snapshot_of_its_own(ws_devices: Devices) -> None:
    """That of the replaced connection is cancelled; the new one's comes at its own time, once."""
    author, old = await ws_devices("author"), await ws_devices("old", online=False)
    await change(author, "tasks", "water the plants")
    await old.go_online()
    await asyncio.sleep(0.1)

    began = now()
    new = await ws_devices("new", like=old)

    await at_its_time(new, "tasks", began, LONGER_MS)
    await no_more(new, "tasks", "the replacing connection was sent the snapshot of the replaced one, too")


# --- what is said and looked for --------------------------------------------------------------------------------


def now() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()


async def lose(device: FakeDevice) -> None:
    """Cut the connection of a device and wait until it is gone."""
    device.cut()
    await device.closed.wait()


async def ask(device: FakeDevice, kind: str, delay_ms: Any) -> None:
    """Ask for a snapshot."""
    delay = {} if delay_ms is None else {"delay_ms": delay_ms}
    asked = {"type": "workflow", "event": "snapshot"} if kind == "tasks" else {"type": "meeting", "phase": "snapshot"}
    await device.send({**asked, **delay})


async def change(device: FakeDevice, kind: str, text: str, *, confirmed: bool = True) -> None:
    """Change what snapshots are of; ``confirmed``: and see, by a snapshot, that it is so."""
    if kind == "tasks":
        await device.send({"type": "workflow", "event": "update", "tasks": [{"text": text}]})
    else:
        await device.send({"type": "meeting", "phase": "snippet", "items": [{"tag": "note", "text": text}]})
    if confirmed:
        await ask(device, kind, None)
        await device.expect(is_snapshot(kind))


def is_snapshot(kind: str) -> Callable[[dict[str, Any]], bool]:
    """Make a test of the snapshots of one kind."""

    def is_of_kind(message: dict[str, Any]) -> bool:
        if kind == "tasks":
            return message.get("type") == "workflow" and message.get("event") == "update"
        return message.get("type") == "meeting" and message.get("phase") == "snapshot" and "items" in message

    is_of_kind.__qualname__ = f"a snapshot of the {kind}"
    return is_of_kind


def told_in(snapshot: dict[str, Any]) -> list[str]:
    """Return what a snapshot has in it."""
    return [item["text"] for item in snapshot["tasks" if "tasks" in snapshot else "items"]]


async def comes(
    device: FakeDevice, kind: str, otherwise: str = "a snapshot that was due did not come", timeout: float = LATE
) -> dict[str, Any]:
    """Take a snapshot; where none comes, ``otherwise`` says what is wrong."""
    try:
        return await device.expect(is_snapshot(kind), timeout)
    except ExpectationFailed as error:
        raise AssertionError(f"{otherwise}\n{error}") from None


async def at_its_time(device: FakeDevice, kind: str, began: float, delay_ms: float) -> dict[str, Any]:
    """Take a snapshot that has to come ``delay_ms`` after ``began``, at the earliest, and not late."""
    due = began + delay_ms / 1000
    late = f"a snapshot did not come {delay_ms} ms after it was due to be scheduled, nor {LATE:g} s later"
    snapshot = await comes(device, kind, late, max(0.0, due - now()) + LATE)
    early = due - now()
    assert early <= EARLY, f"a snapshot came {early * 1000:.0f} ms before its time ({delay_ms} ms)"
    return snapshot


async def no_more(device: FakeDevice, kind: str, otherwise: str) -> None:
    """See that no snapshot comes, within a moment; where one does, ``otherwise`` says what is wrong."""
    try:
        await device.expect_nothing(is_snapshot(kind), 0.1)
    except ExpectationFailed as error:
        raise AssertionError(f"{otherwise}\n{error}") from None
