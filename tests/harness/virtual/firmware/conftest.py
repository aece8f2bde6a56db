"""A board and a UART for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, HandoverConfig, ServerConfig
from tests.harness.fakes.conftest import Watched
from tests.harness.fakes.stub import Stubs
from tests.harness.virtual.firmware.alive import NO_UPDATE, Alive, Start
from tests.harness.virtual.firmware.stage import Board, Uart
from tests.harness.virtual.firmware.web import Web


@pytest.fixture
async def board() -> AsyncIterator[Board]:
    """A board for the firmware to run on."""
    opened = await Board.open()
    yield opened
    await opened.aclose()


@pytest.fixture
async def uart() -> Uart:
    """What the firmware prints."""
    return Uart()


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    """An HTTP server that answers what a test tells it to."""
    server = Web()
    await server.start()
    yield server
    await server.aclose()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Watched]:
    """A gateway on free ports, with a short handover."""
    server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
    async with Watched(Config(server=server, handover=HandoverConfig(window=0.1))) as running:
        yield running


@pytest.fixture
async def gateway_of_stubs(web: Web) -> AsyncIterator[Stubs]:
    """A gateway that the test plays, and an OTA address that names it: ``/ota``."""
    stubs = Stubs()
    server = await asyncio.start_server(stubs.take, "127.0.0.1", 0)
    stubs.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    web.answers["/ota"] = (200, {**NO_UPDATE, "websocket": {"url": stubs.url}})
    yield stubs
    server.close()
    for stub in stubs.all:
        stub.writer.transport.abort()


@pytest.fixture
async def start(board: Board, uart: Uart, gateway: Watched) -> AsyncIterator[Start]:
    """Starts the firmware, with a gateway to go to; it ends before the gateway does."""
    alive: list[Alive] = []

    def begin(*options: str, ota_url: str | None = None, **settings: Any) -> Alive:
        url = gateway.http_url + "/xiaozhi/ota/" if ota_url is None else ota_url
        alive.append(Alive(board, uart, url, ["wifi_scan_seconds=0", "ota_retry_seconds=0", *options], **settings))
        return alive[-1]

    yield begin
    for one in alive:
        await one.aclose()
