"""Pings: each is answered within the budget, a storm gets no more than that, and nobody else notices it."""

from __future__ import annotations

import pytest

from pytest_wsdevice.types import Devices, Gateway

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("kind", ["ping", "keepalive"])
async def test_a_heartbeat_is_answered_once(ws_devices: Devices, kind: str) -> None:
    """``ping`` and ``keepalive`` are answered with exactly ``{"type":"pong"}``, once each."""
    device = await ws_devices("device")

    await device.send({"type": kind})

    pong = await device.expect("pong")
    assert pong == {"type": "pong"}, f"the answer to {kind} has more in it than a pong: {pong}"
    await device.expect_nothing("pong", 0.3)
