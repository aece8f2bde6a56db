"""A gateway, and a stub of one, for fake devices to connect to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config import Config, HandoverConfig, ServerConfig
from gateway.observe.events import Event
from tests.harness.fakes.stub import SOON, Stubs


class Watched(Gateway):
    """A gateway that keeps the records of what happened."""

    def __init__(self, config: Config) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()
        super().__init__(config, observers=[self._note])

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def saw(self, kind: type[Event]) -> Event:
        """Wait for a record of this kind, and return the first."""
        async with asyncio.timeout(SOON):
            while not (found := [event for event in self.events if type(event) is kind]):
                self._news.clear()
                await self._news.wait()
        return found[0]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Watched]:
    """A gateway on free ports, with a short handover."""
    server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
    async with Watched(Config(server=server, handover=HandoverConfig(window=0.1))) as running:
        yield running


@pytest.fixture
async def stubs() -> AsyncIterator[Stubs]:
    """A port where a test itself plays the gateway."""
    stubs = Stubs()
    server = await asyncio.start_server(stubs.take, "127.0.0.1", 0)
    stubs.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/xiaozhi/v1/"
    yield stubs
    server.close()
    for stub in stubs.all:
        stub.writer.transport.abort()
    async with asyncio.timeout(SOON):
        await server.wait_closed()
