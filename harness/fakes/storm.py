"""A device that sends the same again and again: the ping storm of a firmware gone wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from harness.errors import NotConnected
from harness.fakes.device import FakeDevice

_TICK = 0.005  # seconds between two gulps: a storm is to be even, as far as a loop can be


async def storm(device: FakeDevice, message: Mapping[str, Any] | bytes, *, per_second: float, seconds: float) -> int:
    """Send a message ``per_second`` times a second, until ``seconds`` are over or the connection ends.

    As fast as the gateway reads, if that is slower: what could not be sent is not made up for.

    Args:
        device: who storms; it is connected. A board whose firmware can storm by itself is told to.
        message: JSON; or bytes, for control pings with that payload.
        per_second: messages per second.
        seconds: how long.

    Returns:
        How many were sent.
    """
    by_itself = getattr(device, "storm", None)
    if by_itself is not None:
        told: int = await by_itself(message, per_second, seconds)
        return told
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    try:
        while (elapsed := loop.time() - began) < seconds:
            for _ in range(int(elapsed * per_second) - sent):
                if isinstance(message, bytes):
                    await device.send_ping(message)
                else:
                    await device.send(message)
                sent += 1
            await asyncio.sleep(_TICK)
    except NotConnected:
        pass  # that is how storms end
    return sent
