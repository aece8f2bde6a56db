"""A gateway on loopback, what it leaves behind, and waiting for what must happen."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from gateway.app import Gateway
from gateway.config import Config, ServerConfig
from gateway.workers import THREAD_PREFIX
from tests.fake_session import Records
from tests.raw_peer import RawPeer, say, upgrade

DEADLINE = 5.0
"""Seconds after which a test that waits for something has failed."""


def loopback(directory: Path, *, server: dict[str, Any] | None = None, **sections: Any) -> Config:
    """Settings of a gateway on free ports of 127.0.0.1, with its state in a directory of the test."""
    own = {"host": ["127.0.0.1"], "ws_port": 0, "http_port": 0, "state_dir": str(directory), **(server or {})}
    return Config(server=ServerConfig(**own), **sections)


class Running(NamedTuple):
    """A gateway that runs on loopback."""

    gateway: Gateway
    records: Records

    @property
    def url(self) -> str:
        """Where devices connect."""
        return self.gateway.websocket_url

    @property
    def port(self) -> int:
        """The WebSocket port."""
        return self.gateway.network.port("websocket")

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask the HTTP port."""
        return await fetch(self.gateway.http_url + path, headers)

    async def post(self, path: str, body: bytes, **headers: str) -> Answer:
        """Tell the HTTP port something; headers are written with underscores for dashes."""
        return await fetch(self.gateway.http_url + path, headers, body)


class Answer(NamedTuple):
    """Of the HTTP port."""

    status: int
    headers: Any
    body: bytes


async def fetch(url: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
    """Ask over HTTP, in a thread."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named)
    return await asyncio.to_thread(_fetch, request)


def _fetch(request: urllib.request.Request) -> Answer:
    # no proxy: the environment may name one
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=DEADLINE) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@contextlib.asynccontextmanager
async def running(config: Config, **settings: Any) -> AsyncIterator[Running]:
    """Run a gateway on loopback."""
    records = Records()
    observers = [records.all.append, *settings.pop("observers", ())]
    async with Gateway(config, observers=observers, **settings) as gateway:
        yield Running(gateway, records)


class Peers:
    """Raw connections to a gateway; cut at the end, whatever happens."""

    def __init__(self, house: Running) -> None:
        self._house = house
        self._peers: list[RawPeer] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for peer in self._peers:
            peer.cut()

    async def open(self, request: bytes, *, receive_buffer: int | None = None) -> RawPeer:
        """Connect and have the upgrade answered with 101."""
        peer = await RawPeer.open(self._house.port, request, receive_buffer=receive_buffer)
        self._peers.append(peer)
        return peer

    async def device(self, name: str, **features: bool) -> RawPeer:
        """Connect a device that neither answers Close nor sends one, and have its hello answered."""
        peer = await self.open(upgrade(Device_Id=name))
        await peer.send(say({"type": "hello", "features": features}))
        assert (await peer.message())["type"] == "hello"
        return peer


async def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Wait until something is true and return it; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it has not happened in time"
        await asyncio.sleep(0.002)
    return found


def threads() -> list[str]:
    """The gateways' threads that are alive."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


async def nothing_is_left() -> None:
    """Check that no gateway has left a thread or a task; threads that were told to end have a moment."""
    await until(lambda: not threads())
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
