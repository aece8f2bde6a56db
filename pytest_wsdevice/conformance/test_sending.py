"""Sending: every message is one JSON text frame that a device can take, and what cannot be sent is not counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec
import pytest
from websockets.frames import Opcode

from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.feature import Handler
from gateway.observe.events import SendFailed
from harness.records import FramePassed
from pytest_wsdevice.conformance.own_gateways import device_of
from pytest_wsdevice.conformance.peer_mail import is_letter, leave, leave_mail, receipt_of, send, tells_of
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway, Gateways, Timeline

pytestmark = pytest.mark.asyncio

FRAME_BYTES = 8 * 1024
"""The longest message a device has memory for."""
TEXT = '喂 \U0001f35c "quoted" \\ \u2028 \n'
"""What has gone wrong on its way through JSON somewhere."""

Say: TypeAlias = Callable[[FakeDevice, Devices], Awaitable[Any]]
"""Has the gateway send a device a message of some kind."""


# --- each kind ----------------------------------------------------------------------------------------------------


async def _hello(device: FakeDevice, _: Devices) -> None:
    await device.hello()


async def _pong(device: FakeDevice, _: Devices) -> None:
    await device.send({"type": "ping"})
    await device.expect("pong")


async def _error(device: FakeDevice, _: Devices) -> None:
    await device.send({"type": "no such thing"})
    await device.expect("error", code="UNKNOWN_TYPE")


async def _mode(device: FakeDevice, _: Devices) -> None:
    for state in ("start", "end"):
        await device.send({"type": "mode", "state": state, "mode": "coding"})
        await device.expect("mode", state=state, mode="coding", status="ok")


async def _stats(device: FakeDevice, _: Devices) -> None:
    await device.expect("server", event="stats")


async def _peer_message(device: FakeDevice, devices: Devices) -> None:
    sender = await devices("sender")
    payload = {"text": TEXT, "number": 1.5, "list": [1, None, True, {}]}
    await sender.send({"type": "peer", "to": [device.device_id], "payload": payload})
    message = await device.expect(is_letter)
    assert message["payload"] == payload, f"a payload was changed on its way: {message['payload']}, not {payload}"


async def _peer_receipt(device: FakeDevice, devices: Devices) -> None:
    target = await devices("target")
    await send(device, target)
    await receipt_of(device)


async def _peer_error(device: FakeDevice, _: Devices) -> None:
    await device.send({"type": "peer", "to": [], "payload": {}})
    await device.expect("peer", status="error", code="INVALID_REQUEST")


async def _peer_event(device: FakeDevice, devices: Devices) -> None:
    target = await devices("target", online=False)
    await send(device, target)
    await receipt_of(device, enqueued=[target.device_id])
    await target.go_online()
    await device.expect(tells_of("redelivered"), count=1)


async def _workflow(device: FakeDevice, _: Devices) -> None:
    tasks = [{"id": 1, "title": TEXT}]
    await device.send({"type": "workflow", "event": "update", "tasks": tasks})
    await device.send({"type": "workflow", "event": "snapshot"})
    for _time in range(2):  # the snapshot, and what the group is told
        await device.expect("workflow", event="update", tasks=tasks)


async def _meeting(device: FakeDevice, _: Devices) -> None:
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"phase": "snippet", "items": [{"tag": "note", "text": TEXT}]}, {"phase": "snippet"}),
        ({"phase": "snippet", "items": 7}, {"status": "error"}),
        ({"phase": "snapshot"}, {"phase": "snapshot"}),
        ({"phase": "finalize"}, {"phase": "finalize"}),
    ]
    for asked, answered in steps:
        await device.send({"type": "meeting", **asked})
        await device.expect("meeting", **answered)
    await device.expect("meeting", phase="summary")


async def _speech(device: FakeDevice, _: Devices) -> None:
    await device.send({"type": "listen", "state": "detect", "text": TEXT})
    await device.expect("stt")
    for state in ("start", "sentence_start", "stop"):
        await device.expect("tts", state=state)


async def _handover_notice(device: FakeDevice, devices: Devices) -> None:
    await devices("newer", like=device)
    await device.expect("system")


EVERY_KIND = [
    pytest.param(_hello, id="hello"),
    pytest.param(_pong, id="pong"),
    pytest.param(_error, id="error"),
    pytest.param(_mode, id="mode"),
    pytest.param(_stats, id="stats"),
    pytest.param(_peer_message, id="peer message"),
    pytest.param(_peer_receipt, id="peer receipt"),
    pytest.param(_peer_error, id="peer error"),
    pytest.param(_peer_event, id="peer event"),
    pytest.param(_workflow, id="workflow"),
    pytest.param(_meeting, id="meeting"),
    # only our loopback engine is known to answer
    pytest.param(_speech, id="speech", marks=pytest.mark.ws_needs("config")),
    pytest.param(_handover_notice, id="handover notice"),
]


@pytest.mark.parametrize("say", EVERY_KIND)
@pytest.mark.ws_gateway_config(adapts=True, workflow={"debounce": 0.05})
async def test_every_message_is_one_json_text_frame(ws_devices: Devices, ws_timeline: Timeline, say: Say) -> None:
    """An object with a ``type``, in UTF-8, no longer than a device has room for, whoever in the gateway sends it."""
    device = await ws_devices("device", features={"mcp": True, "stats": True})
    said = say.__name__.strip("_").replace("_", " ")

    with or_else(f"a message of the kind {said} was not sent as the protocol has it"):
        await say(device, ws_devices)

    check_frames(ws_timeline.frames(device.name, sent=False))


async def test_no_message_is_longer_than_a_device_can_take(ws_devices: Devices, ws_timeline: Timeline) -> None:
    """A transcript of 20 KB comes without its oldest lines, in 8 KB."""
    device = await ws_devices("device")
    texts = [f"{number} " + "会" * 680 for number in range(10)]
    for text in texts:
        await device.send({"type": "meeting", "phase": "snippet", "items": [{"tag": "note", "text": text}]})
        await device.expect("meeting", phase="snippet")

    await device.send({"type": "meeting", "phase": "snapshot"})
    transcript = await device.expect("meeting", phase="snapshot")

    check_frames(ws_timeline.frames(device.name, sent=False))
    kept = [line["text"] for line in transcript["items"]]
    assert kept == texts[len(texts) - len(kept) :], f"other lines than the oldest were left out: {kept}"


# --- what could not be sent ---------------------------------------------------------------------------------------


async def test_a_message_to_a_device_that_is_being_closed_is_not_delivered(
    ws_gateway: Gateway, ws_devices: Devices
) -> None:
    """Nothing can be sent to it any more: its mail waits until it is back, and its sender is told so."""
    sender = await ws_devices("sender")
    target = await ws_devices("target", acks=False)
    for _ in range(ws_gateway.config.limits.errors + 1):
        await target.send_text("not json")
    with or_else("a device with more errors than it may was not closed"):
        await target.expect_close()

    await send(sender, target, text="tea")

    receipt = await receipt_of(sender)
    assert receipt["enqueued"] == [target.device_id], (
        f"a message that could not be sent to a device which was being closed counts as sent: {receipt}"
    )
    await leave(target)
    await target.go_online()
    with or_else("a message that could not be sent is lost"):
        await target.expect("peer", payload={"text": "tea"})


@pytest.mark.ws_gateway_config(adapts=True, peer={"per_second": 1000.0, "burst": 1000})
async def test_redelivered_counts_what_has_arrived(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Not what was written for a device that does not read; its mail is still there when it does, and counts once."""
    sender = await ws_devices("sender")
    target = await ws_devices("target", acks=False, online=False)
    texts = [f"{number} " + "x" * 7900 for number in range(45)]  # more than all buffers on the way
    await leave_mail(ws_gateway, sender, target, *texts)
    told = tells_of("redelivered")

    await target.connect()
    await target.send({"type": "mode", "state": "end", "mode": "coding"})  # so it is present, and does not acknowledge
    target.vanish()  # it reads nothing of its mail
    with or_else("mail counts as redelivered that a device has never read"):
        await sender.expect_nothing(told, ws_gateway.config.handshake.alive_after + 0.5)
    await target.go_online()

    with or_else("mail is lost of which a first attempt has failed, or its sender was not told"):
        for text in texts:
            await target.expect("peer", 10, payload={"text": text})
        event = await sender.expect(told, 10)
    letters = [message for message in target.received if message["type"] == "peer"]
    assert [letter["payload"]["text"] for letter in letters] == texts, (
        f"{len(texts)} messages came as {len(letters)}, or in another order, after a first attempt had failed"
    )
    assert event["count"] == len(texts), f"redelivered says {event['count']}, {len(texts)} messages have arrived"


@pytest.mark.ws_needs("config", "events")
async def test_what_is_no_json_is_not_counted_as_sent(
    ws_gateways: Gateways, ws_devices: Devices, ws_timeline: Timeline
) -> None:
    """An application that hands over what cannot be a message is told so, and it is seen; the next one is sent."""
    outcomes: list[Sent] = []

    def answer(session: Session, _: Order) -> None:
        outcomes.append(session.send_json({"type": "custom", "payload": object()}))
        outcomes.append(session.send_json({"type": "custom", "payload": {"text": TEXT}}))

    gateway = await ws_gateways({"handlers": [Handler(Order, answer)]})
    device = await device_of(gateway, ws_devices, "device")

    await device.send({"type": "order"})

    with or_else("after a message that could not be written, the next one was not sent"):
        await device.expect("custom", payload={"text": TEXT})
    assert outcomes == [Sent.FAILED, Sent.WRITTEN], f"what could not be sent counts as sent: {outcomes}"
    assert ws_timeline.events(SendFailed, device=device.device_id), "nobody was told of a message that was not sent"


class Order(msgspec.Struct, tag="order"):
    """A message of an application."""


# --- frames -------------------------------------------------------------------------------------------------------


def check_frames(frames: list[FramePassed]) -> None:
    """Look at all that a device was sent: texts are messages; binary frames are audio, and read elsewhere."""
    texts = [frame for frame in frames if frame.opcode is Opcode.TEXT]
    assert texts, "the device was sent no text frame at all"
    for frame in texts:
        message = msgspec.json.decode(frame.payload)
        kind = message.get("type") if isinstance(message, dict) else None
        assert isinstance(kind, str), f"a text frame is no message, an object with a type: {frame.payload[:200]!r}"
        size = len(frame.payload)
        assert size <= FRAME_BYTES, f"a message of {size} bytes was sent, a device has room for {FRAME_BYTES}: {kind}"
