"""A whole gateway on loopback, and raw peers to be unpleasant to it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Self

import msgspec
import pytest

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig, ServerConfig
from gateway.device.connection import Connection
from gateway.identity import DeviceId
from tests.fake_session import Records
from tests.raw_peer import DEADLINE, RawPeer, say, upgrade

HELLO = {"type": "hello", "version": 1, "transport": "websocket", "features": {"peer_ack": True}}


class RawGateway:
    """One gateway with its peers; ``async with`` starts it, and at the end shows that it is as well as before.

    Args:
        caplog: nothing may have been logged as an error.
        server: of the ``server`` section.
        sections: other sections of the configuration.

    Attributes:
        gateway: it.
        records: every record it has emitted.
        serves: it must still serve another device at the end.
    """

    def __init__(self, caplog: pytest.LogCaptureFixture, server: dict[str, Any] | None = None, **sections: Any) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        self.records = Records()
        config = Config(
            server=ServerConfig(**{"host": ["127.0.0.1"], "ws_port": 0, "http_port": 0, **(server or {})}),
            **{"mailbox": MailboxConfig(path=":memory:"), **sections},
        )
        self.gateway = Gateway(config, observers=[self.records.all.append])
        self.serves = True
        self._peers: list[RawPeer] = []

    async def __aenter__(self) -> Self:
        await self.gateway.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.serves:
                await self.check_that_it_serves()
        finally:
            for peer in self._peers:
                peer.cut()
            await self.gateway.stop()
        if kind is None:
            errors = [record for record in self._caplog.records if record.levelno >= logging.ERROR]
            assert not errors, errors

    @property
    def port(self) -> int:
        """Of the devices."""
        return self.gateway.network.port("websocket")

    async def check_that_it_serves(self) -> None:
        """Another device comes, says hello and pings."""
        device = await self.device("another-device")
        await device.send(say({"type": "ping", "id": "well?"}))
        while (await device.message()) != {"type": "pong", "id": "well?"}:
            pass

    async def connect(self) -> RawPeer:
        """Connect and say nothing yet."""
        peer = await RawPeer.connect(self.port)
        self._peers.append(peer)
        return peer

    async def ask(self, request: bytes) -> RawPeer:
        """Connect and send a request; the answer is still to be read."""
        peer = await self.connect()
        await peer.send(request)
        return peer

    async def open(
        self, device: str | None = "device-1", *, receive_buffer: int | None = None, **named: str
    ) -> RawPeer:
        """Connect as a device and be answered with 101; named headers are added."""
        if device is not None:
            named["Device_Id"] = device
        peer = await RawPeer.open(self.port, upgrade(**named), receive_buffer=receive_buffer)
        self._peers.append(peer)
        return peer

    async def device(self, device: str = "device-1", hello: dict[str, Any] | None = None, **named: Any) -> RawPeer:
        """Connect as a device, say hello and hear the answer."""
        peer = await self.open(device, **named)
        await peer.send(say(HELLO | (hello or {})))
        answer = await peer.message()
        assert answer["type"] == "hello", answer
        return peer

    def connection(self, device: str) -> Connection:
        """Our end of a device that is present."""
        session = self.gateway.registry.get(DeviceId(device))
        assert session is not None
        return session.channel.connection

    def of(self, kind: type) -> list[Any]:
        """The records of one kind, in order."""
        return self.records.of(kind)


async def until(condition: Callable[[], Any], within: float = DEADLINE) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.002)


async def token_of(gateway: Gateway, device: str, client: str) -> str:
    """Ask the OTA endpoint for a device's token, as the firmware does."""
    peer = await RawPeer.connect(gateway.network.port("http"))
    async with peer:
        request = (
            f"POST /xiaozhi/ota/ HTTP/1.1\r\nHost: gateway\r\nDevice-Id: {device}\r\nClient-Id: {client}\r\n"
            "Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        await peer.send(request.encode())
        answer = await peer.answer()
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["websocket"]["token"])


def replaced(config: Any, **changed: Any) -> Any:
    """A section of the configuration with some settings changed."""
    return msgspec.structs.replace(config, **changed)
