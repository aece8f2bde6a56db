"""The whole firmware in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from harness.virtual.firmware.application import Application
from harness.virtual.firmware.options import parse_options
from tests.harness.fakes.stub import Stub, Stubs
from tests.harness.virtual.firmware.stage import SOON, Board, Uart, surroundings

NO_UPDATE = {"websocket": {"url": "ws://127.0.0.1:1/"}, "firmware": {"version": "1.0.0", "url": ""}, "server_time": {}}
"""An answer of an OTA address."""


async def greeted(stubs: Stubs) -> Stub:
    """Take a connection, and answer its hello."""
    async with asyncio.timeout(SOON):
        stub = await stubs.connections.get()
    await stub.accept()
    await stub.read_message()
    stub.send({"type": "hello", "transport": "websocket", "session_id": "s-1"})
    return stub


class Alive:
    """A firmware that lives.

    Attributes:
        nvs: what is in NVS; what the firmware writes is in it, too.
        status: its exit status, once it has ended.
    """

    def __init__(
        self,
        board: Board,
        uart: Uart,
        ota_url: str = "",
        options: Sequence[str] = (),
        *,
        version: str = "1.0.0",
        nvs: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        wifi = {"ssid": "lab", "password": "secret12", "ota_url": ota_url}
        self.nvs: dict[str, dict[str, Any]] = {"wifi": wifi} if nvs is None else nvs
        self._typed = asyncio.StreamReader()
        application = Application(
            surroundings(self.nvs, version=version), parse_options(options), board.channel, self._typed, uart.log
        )
        self._task = asyncio.get_running_loop().create_task(application.run())

    def type(self, text: str) -> None:
        """Type a line."""
        self._typed.feed_data(text.encode() + b"\n")

    async def ended(self) -> int:
        """Wait for its end; the exit status."""
        return await asyncio.wait_for(asyncio.shield(self._task), SOON)

    async def aclose(self) -> None:
        """End it."""
        self._task.cancel()
        await asyncio.wait([self._task])


Start = Callable[..., Alive]
