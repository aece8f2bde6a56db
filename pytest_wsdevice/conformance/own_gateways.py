"""Gateways that the scenarios look into, stop, start and extend: those of this package, in the test's own loop."""

from __future__ import annotations

from typing import Any

from pytest_wsdevice.types import Devices, FakeDevice, Gateway, OwnGateway


def from_inside(gateway: Gateway) -> OwnGateway:
    """Return the gateway of the test as one that can be drained and restarted; to be used with ``ws_needs``."""
    assert isinstance(gateway, OwnGateway), "what runs elsewhere cannot be drained or restarted; ws_needs is missing"
    return gateway


async def device_of(gateway: OwnGateway, devices: Devices, name: str, **options: Any) -> FakeDevice:
    """Make a device of a gateway that is not the first of the test."""
    return await devices(name, **{"url": gateway.url, "view": gateway.link, **options})


async def leave_when_told(device: FakeDevice, timeout: float = 5.0) -> int:
    """Wait for a Close frame, drop the connection, and return the code: the gateway need not wait for this one."""
    code = await device.expect_close(timeout)
    device.cut()
    await device.closed.wait()
    return code
