"""An application adds a message type: lamps that devices switch, and that tell what they did."""

import msgspec

from gateway.app import Gateway
from gateway.device.session import Session
from gateway.feature import Handler
from harness.fakes.device import FakeDevice


class Lamp(msgspec.Struct, tag="lamp"):
    """``{"type":"lamp","on":true}``; a message that does not fit is answered with an error before it gets here."""

    on: bool


class LampIs(msgspec.Struct, tag="lamp"):
    """``{"type":"lamp","state":"on"}``."""

    state: str


def switch(session: Session, lamp: Lamp) -> None:
    """Handle one message; an ``async def`` works as well, and is cancelled when its device goes."""
    session.send_json(LampIs("on" if lamp.on else "off"))


async def test_own_message(config):
    """A lamp message reaches its handler, typed; a wrong one is answered with an error."""
    async with Gateway(config, handlers=[Handler(Lamp, switch)]) as gateway:
        async with FakeDevice(gateway.websocket_url, "kitchen") as device:
            await device.send({"type": "lamp", "on": True})

            assert (await device.expect("lamp"))["state"] == "on"

            await device.send({"type": "lamp", "on": "perhaps"})

            assert (await device.expect("error"))["code"] == "SCHEMA_INVALID"
