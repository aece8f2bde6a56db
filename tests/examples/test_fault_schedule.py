"""Many faults, drawn from a seed, in virtual time."""

import asyncio

import pytest


@pytest.mark.asyncio
@pytest.mark.ws_seeds(3)
async def test_everything_goes_wrong_for_a_minute(ws_devices, ws_faults):
    """Whatever it was, in the end the devices are back, and talk to each other."""
    kitchen, hallway = await ws_devices("kitchen"), await ws_devices("hallway")
    schedule = ws_faults.draw("everything_at_once", seed=asyncio.get_running_loop().seed)

    await ws_faults.play(schedule)

    await kitchen.go_online()
    await hallway.go_online()
    await kitchen.send({"type": "peer", "to": [hallway.device_id], "payload": {"text": "All well?"}})
    await hallway.expect("peer", payload={"text": "All well?"})
