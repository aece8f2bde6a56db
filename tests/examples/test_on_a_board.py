"""What only a board can show: with no power it tells nobody, and after it there is a boot log."""

import pytest


@pytest.mark.asyncio
async def test_message_waits_for_a_board_without_power(ws_device, ws_devices, ws_gateway, ws_board):
    """The first device is the board; it is missed when it does not answer, and gets its message when it is back."""
    sender = await ws_devices("sender")
    await ws_device.power_off()
    assert ws_gateway.link(ws_board.mac).present

    await sender.send({"type": "peer", "to": [ws_board.mac], "payload": {"text": "Tea is ready"}})
    await ws_device.power_on()
    await ws_board.console.expect("Got IP")

    await ws_device.go_online()
    await ws_device.expect("peer", payload={"text": "Tea is ready"})
