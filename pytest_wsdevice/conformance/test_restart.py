"""A restart: devices come back to where they were, with a new session."""

from __future__ import annotations

import asyncio

import pytest

from harness.device import Message
from pytest_wsdevice.conformance.own_gateways import from_inside, leave_when_told
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway

pytestmark = [pytest.mark.asyncio, pytest.mark.ws_needs("restart")]

TASKS = [{"id": 1, "title": "茶"}, {"id": 2, "title": "tea"}]


async def test_a_device_comes_back_with_a_new_session(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """It is told that the gateway goes, finds it where it was, and is a stranger to no other."""
    device = await ws_devices("device")
    before = device.session_id

    await restart(ws_gateway, device)

    assert device.session_id != before, "a session id lives on after a restart, though its session does not"
    await device.send({"type": "ping"})
    await device.expect("pong")


async def test_a_stop_says_goodbye(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """With 1001: a device need not find out by itself."""
    device = await ws_devices("device")

    _, code = await asyncio.gather(from_inside(ws_gateway).stop(), leave_when_told(device))

    assert code == 1001, f"a device was left with {code} when the gateway stopped, not told so with 1001"


async def test_mail_is_there_after_a_restart(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """What was enqueued is redelivered, in order, and its sender hears of it."""
    sender = await ws_devices("sender")
    target = await ws_devices("target", online=False)
    for text in ("one", "two", "three"):
        await sender.send({"type": "peer", "to": [target.device_id], "payload": {"text": text}})
        await sender.expect("peer", status="done", enqueued=[target.device_id])

    await restart(ws_gateway, sender)
    await target.go_online()

    with or_else("mail that was enqueued before a restart is lost"):
        texts = [(await target.expect("peer", redelivered=True))["payload"]["text"] for _ in range(3)]
        told = await sender.expect("peer", event="redelivered", to=target.device_id)
    assert texts == ["one", "two", "three"], f"mail is in another order after a restart: {texts}"
    assert told["count"] == 3, f"the sender of mail was told another count after a restart: {told}"


async def test_a_meeting_goes_on_after_a_restart(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Its transcript is there, further snippets join it, and it has one summary."""
    device = await ws_devices("device")
    await device.send(snippet("we begin"))
    await device.expect("meeting", phase="snippet")

    await restart(ws_gateway, device)
    await device.send(snippet("we go on"))
    await device.expect("meeting", phase="snippet")
    await device.send({"type": "meeting", "phase": "snapshot"})
    transcript = await device.expect("meeting", phase="snapshot")

    texts = [line["text"] for line in transcript["items"]]
    assert texts == ["we begin", "we go on"], f"a meeting did not go on after a restart: its transcript is {texts}"


@pytest.mark.ws_gateway_config(adapts=True, workflow={"debounce": 0.05})
async def test_the_task_list_is_there_after_a_restart(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device is sent it as it comes online."""
    device = await ws_devices("device")
    await device.send({"type": "workflow", "event": "update", "tasks": TASKS})
    await device.expect("workflow", tasks=TASKS)

    await restart(ws_gateway, device)

    with or_else("the task list of a group is lost in a restart"):
        await device.expect("workflow", event="update", tasks=TASKS)


# --- the restart --------------------------------------------------------------------------------------------------


async def restart(gateway: Gateway, device: FakeDevice) -> None:
    """Restart the gateway, and have a device come back when it is there."""
    await asyncio.gather(from_inside(gateway).restart(), leave_when_told(device))
    with or_else("a device cannot come back after a restart"):
        await device.go_online()


def snippet(text: str) -> Message:
    """Write a snippet."""
    return {"type": "meeting", "phase": "snippet", "items": [{"tag": "note", "text": text}]}
