"""A listener on a real loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.http.connection import HttpLimits
from gateway.http.exchange import Handler
from gateway.http.listener import HttpListener
from gateway.observe.events import Event, HttpAnswered, Observers, OtaRefused
from tests.http.loopback import Serve, Served


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return a function that serves a handler on a port of its own until the test ends."""
    servers: list[tuple[asyncio.Server, HttpListener]] = []

    async def start(
        handler: Handler, limits: HttpLimits | None = None, is_draining: Callable[[], bool] = lambda: False
    ) -> Served:
        events: list[HttpAnswered] = []
        refused: list[OtaRefused] = []

        def observe(event: Event) -> None:
            if isinstance(event, OtaRefused):
                refused.append(event)
            else:
                assert isinstance(event, HttpAnswered)
                events.append(event)

        listener = HttpListener(
            handler, Observers([observe]), lambda: 784111777.0, is_draining=is_draining, limits=limits
        )
        loop = asyncio.get_running_loop()
        server = await loop.create_server(listener.protocol_factory, "127.0.0.1", 0)
        servers.append((server, listener))
        return Served(listener, server.sockets[0].getsockname()[1], events, refused)

    yield start
    for server, listener in servers:
        server.close()
        await listener.close(0.1)
        assert not listener._connections
