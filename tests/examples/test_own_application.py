"""An application's own gateway under test: its handlers are given to every gateway that the fixtures start."""

import msgspec
import pytest

from gateway.device.session import Session
from gateway.feature import Handler


class Lamp(msgspec.Struct, tag="lamp"):
    """``{"type":"lamp","on":true}``."""

    on: bool


def switch(session: Session, lamp: Lamp) -> None:
    """Answer with what the lamp is now."""
    session.send_json({"type": "lamp", "state": "on" if lamp.on else "off"})


@pytest.fixture
def ws_gateway_parts():
    """Override what the gateways of these tests are made of, here or in a ``conftest.py``."""
    return {"handlers": [Handler(Lamp, switch)]}


@pytest.mark.asyncio
@pytest.mark.ws_gateway_config(limits={"errors": 3})
async def test_lamp(ws_device):
    """The application's message type is there, with settings of this test's choice."""
    await ws_device.send({"type": "lamp", "on": True})

    assert await ws_device.expect("lamp") == {"type": "lamp", "state": "on"}
