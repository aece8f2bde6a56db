"""The same test with twenty seeds: twenty orders in which a message and a new connection may pass each other."""

import asyncio
import random

import pytest


@pytest.mark.asyncio
@pytest.mark.ws_seeds(20)
async def test_message_meets_a_new_connection(ws_devices):
    """Whichever comes first, the message arrives on the newer connection, or on both, under one id."""
    kitchen, old = await ws_devices("kitchen"), await ws_devices("old")
    new = await ws_devices("new", like=old, online=False)

    coming = asyncio.create_task(new.go_online())
    await asyncio.sleep(random.uniform(0.0, 0.01))
    await kitchen.send({"type": "peer", "to": [old.device_id], "payload": {"text": "Tea is ready"}, "id": "tea"})
    await kitchen.expect("peer", status="done", id="tea")
    await coming

    received = [message for device in (old, new) for message in device.received if message.get("id") == "tea"]
    assert len(received) >= 1
    assert {message["payload"]["text"] for message in received} == {"Tea is ready"}
