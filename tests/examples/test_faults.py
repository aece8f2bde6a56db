"""Faults on the way between devices and their gateway."""

import pytest


@pytest.mark.asyncio
@pytest.mark.ws_needs("wifi_off")
async def test_message_to_a_device_that_changes_its_address(ws_devices, ws_faults):
    """It is sent to the old address, where nobody is any more, and again once the device is back."""
    kitchen, hallway = await ws_devices("kitchen"), await ws_devices("hallway")

    await ws_faults.wifi_off(hallway)
    await kitchen.send({"type": "peer", "to": [hallway.device_id], "payload": {"text": "Tea is ready"}})
    await ws_faults.wifi_on(hallway, new_address=True)

    await hallway.go_online()
    await hallway.expect("peer", payload={"text": "Tea is ready"})


def test_slow_and_cut(ws_device, ws_faults):
    """A plain test has the same verbs."""
    ws_faults.latency(0.05, jitter=0.02, direction="to_device", on=ws_device)
    ws_device.send({"type": "ping"})
    ws_device.expect("pong")

    ws_faults.cut(ws_device)
    assert ws_device.expect_close() == 1006
