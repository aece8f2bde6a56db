"""The connection to the gateway, and the lines of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.protocol.messages import HANDOVER_NOTICE, encode
from harness.errors import CannotConnect, ExpectationFailed, UpgradeRefused
from harness.virtual.firmware.connection import Connection, is_handover
from tests.harness.fakes.stub import Stub, Stubs
from tests.harness.virtual.firmware.stage import MAC, Uart

HELLO = {"type": "hello", "transport": "websocket", "session_id": "s-1"}


class House:
    """A connection, and the gateway that a test plays."""

    def __init__(self, uart: Uart, stubs: Stubs) -> None:
        self.stubs = stubs
        self.crashes = 0
        self.said: list[Any] = []
        self.has_network = True
        self.connection = Connection(
            uart.log, has_network=lambda: self.has_network, crashes=self._crash, said=self.said.append
        )

    def _crash(self) -> None:
        self.crashes += 1

    async def connected(self) -> Stub:
        """Be a device, and connect."""
        await self.connection.become(self.stubs.url, MAC)
        connecting = asyncio.create_task(self.connection.connect(5))
        stub = await self.stubs.connections.get()
        await stub.accept()
        await connecting
        return stub


@pytest.fixture
async def stubs() -> AsyncIterator[Stubs]:
    """A port where a test plays the gateway."""
    stubs = Stubs()
    server = await asyncio.start_server(stubs.take, "127.0.0.1", 0)
    stubs.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    yield stubs
    server.close()
    for stub in stubs.all:
        stub.writer.transport.abort()
    await asyncio.wait_for(server.wait_closed(), 5)


@pytest.fixture
async def house(uart: Uart, stubs: Stubs) -> AsyncIterator[House]:
    """A connection, and the gateway that a test plays."""
    house = House(uart, stubs)
    yield house
    await house.connection.aclose()


async def test_hello(house: House, uart: Uart):
    """Connecting, the session, and the end, each in its line."""
    stub = await house.connected()
    assert house.connection.is_open
    hello = asyncio.create_task(house.connection.hello())
    assert (await stub.read_message())["type"] == "hello"
    stub.send(HELLO)
    assert (await hello)["session_id"] == "s-1"
    stub.writer.close()
    await uart.until("Websocket disconnected")

    assert uart.lines == [
        f"WS: Connecting to websocket server: {house.stubs.url} with version: 1",
        "WS: Session ID: s-1",
        "WS: Websocket disconnected",
    ]
    assert not house.connection.is_open
    assert house.said == [HELLO]


async def test_other_transport(house: House, uart: Uart):
    """An answer with another transport is no session."""
    stub = await house.connected()
    hello = asyncio.create_task(house.connection.hello(fields={"transport": "udp"}))
    assert (await stub.read_message())["transport"] == "udp"
    stub.send({**HELLO, "transport": "udp"})
    await hello

    assert uart.lines[-1] == "WS: Unsupported transport: udp"


async def test_no_hello(house: House, uart: Uart):
    """A gateway that does not answer is told of."""
    await house.connected()
    with pytest.raises(ExpectationFailed):
        await house.connection.hello(0.05)

    assert uart.lines[-1] == "WS: Failed to receive server hello"


async def test_refused(house: House, uart: Uart, stubs: Stubs):
    """An upgrade that is refused is a failed handshake."""
    await house.connection.become(stubs.url, MAC)
    connecting = asyncio.create_task(house.connection.connect(5))
    stub = await stubs.connections.get()
    await stub.read_request()
    stub.writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(UpgradeRefused):
        await connecting

    assert uart.lines[1:3] == [
        "WebSocket: WebSocket handshake failed",
        "WS: Failed to connect to websocket server, code=0",
    ]


async def test_nobody_there(house: House, uart: Uart):
    """Where nothing listens, there is no connection."""
    await house.connection.become("ws://127.0.0.1:1/", MAC)
    with pytest.raises(CannotConnect):
        await house.connection.connect(5)

    assert uart.lines[1:] == [
        "WebSocket: Failed to connect to server",
        "WS: Failed to connect to websocket server, code=104",
    ]


async def test_no_network(house: House, uart: Uart):
    """Without a network nobody is asked."""
    await house.connection.become(house.stubs.url, MAC)
    house.has_network = False
    with pytest.raises(CannotConnect, match="the device has no network"):
        await house.connection.connect(5)

    assert uart.lines[-1] == "WS: Failed to connect to websocket server, code=104"
    assert house.stubs.all == []


async def test_dialogue(house: House, uart: Uart):
    """What is heard, said and shown stands in the log."""
    stub = await house.connected()
    for message in (
        {"type": "stt", "text": "what time is it"},
        {"type": "tts", "state": "start"},
        {"type": "tts", "state": "sentence_start", "text": "noon\n"},
        {"type": "system", "command": "reboot"},
        {"type": "alert", "status": "s", "message": "m", "emotion": "sad"},
    ):
        stub.send(message)
    await uart.until("Alert")

    assert uart.lines[1:] == [
        "Application: >> what time is it",
        "Application: << noon\\n",
        "Application: System command: reboot",
        "Application: Alert [sad] s: m",
    ]


async def test_crash(house: House, uart: Uart):
    """What no firmware can take is told to whoever crashes."""
    stub = await house.connected()
    stub.send([])
    await uart.until("Websocket disconnected")

    assert house.crashes == 1


async def test_vanish(house: House):
    """Without a network it falls silent, and the gateway is not told."""
    house.connection.vanish()
    stub = await house.connected()
    house.connection.vanish()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stub.rest(), 0.05)


async def test_becomes_another(house: House):
    """As another device it ends the connection of the one before."""
    stub = await house.connected()
    await house.connection.become(house.stubs.url, "02:00:00:00:00:02", framing=2)

    assert await stub.rest() == b""
    assert house.connection.device is not None
    assert house.connection.device.framing == 2


def test_handover():
    """The notice of a newer connection is told from other messages."""
    import json

    assert is_handover(json.loads(encode(HANDOVER_NOTICE)))
    assert not is_handover({"type": "system", "message": "other"})
    assert not is_handover({"type": "tts", "message": HANDOVER_NOTICE.message})
