"""The first test of a gateway and its devices: a message waits for a device that is away."""

import pytest


@pytest.mark.asyncio
async def test_message_waits_for_a_device_that_is_away(ws_devices):
    """The sender is told that it is kept, the target gets it when it is back, and the sender hears of that."""
    kitchen = await ws_devices("kitchen")
    hallway = await ws_devices("hallway", online=False)

    await kitchen.send({"type": "peer", "to": [hallway.device_id], "payload": {"text": "Tea is ready"}})
    await kitchen.expect("peer", status="done", enqueued=[hallway.device_id])

    await hallway.go_online()
    await hallway.expect("peer", payload={"text": "Tea is ready"}, redelivered=True)
    await kitchen.expect("peer", event="redelivered", to=hallway.device_id, count=1)
