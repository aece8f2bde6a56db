"""A board whose firmware runs in the test's own loop: its console, its firmware, and what a rig does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.bench.front import Front
from harness.board.console_lines import Line
from harness.board.handle import BoardHandle
from harness.device import Capability
from harness.virtual.firmware.connection import Connection
from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.test_console import TestConsole
from tests.harness.virtual.firmware.stage import Board

MAC = "02:00:00:00:00:01"
ALL = frozenset(
    {"configure", "connect", "hello", "send", "bytes", "audio", "frame", "close", "cut", "vanish", "provision"}
)
"""The orders that tests give."""


class BoardInLoop(BoardHandle):
    """It has no power until it `starts`.

    Attributes:
        automatic: it connects by itself when it starts.
        token: that it has then.
        deaf: it takes no orders.
        answers: instead of the firmware: what is said on the UART for an order, by its verb.
        written: on its UART.
        trusted: false: it is reset before another test has it.
        connection: of its present life.
        channel: its board, which keeps what it asks for.
    """

    def __init__(self, channel: Board, front: Front) -> None:
        self.capabilities: frozenset[Capability] = frozenset({"power", "reset"})
        self.automatic = self.deaf = False
        self.token = ""
        self.answers: dict[str, str] = {}
        self.written: list[str] = []
        self.trusted = True
        self.channel = channel
        self.connection: Connection
        self._console: TestConsole | None = None
        self._loop = asyncio.get_running_loop()
        self._front = front
        self._watchers: list[Callable[[Line], None]] = []
        self._count = 0

    # --- its console ------------------------------------------------------------------------------------------------

    def write_line(self, text: str) -> None:
        """Take a line; called in the thread of whoever writes."""
        self.written.append(text)
        self._loop.call_soon_threadsafe(self._typed, text)

    def watch(self, watcher: Callable[[Line], None]) -> Callable[[], None]:
        """Show it what is said."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def verbs_written(self) -> list[str]:
        """The verbs of the orders so far."""
        return [line.split(" ")[2] for line in self.written]

    def say(self, text: str) -> None:
        """Print on the UART."""
        for line in text.splitlines():
            self._count += 1
            for watcher in tuple(self._watchers):
                watcher(Line(self._count, 0.0, "said", line))

    def _typed(self, text: str) -> None:
        _, number, verb, _ = text.split(" ", 3)
        if verb in self.answers:
            self.say(self.answers[verb].format(number=number))
        elif self._console is not None and not self.deaf:
            self._console.take(text.encode())

    # --- its life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Have power, and boot."""
        log = Log(0.0, self.say)
        self.connection = Connection(log, has_network=lambda: True, crashes=lambda: None, said=lambda _: None)
        nvs = Nvs({}, self.channel.channel)
        console = TestConsole(self.connection, nvs, Heap(100_000), self.channel.channel, log, self._configure)
        self._console = console
        console.announce()
        await asyncio.sleep(0)
        if self.automatic:
            await self.connect()

    async def stop(self) -> None:
        """Have no power any more."""
        if self._console is not None:
            await self._console.aclose()
            await self.connection.aclose()
            self._console = None

    async def connect(self) -> None:
        """Connect by itself, and say hello."""
        await self.connection.become(self._front.url, MAC, token=self.token)
        await self.connection.connect()
        await self.connection.hello()

    async def _configure(self, options: dict[str, Any]) -> None:
        await self.connection.become(options.pop("url"), options.pop("device_id"), **options)

    # --- its handle ---------------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Take its power."""
        await self._loop.run_in_executor(None, self._front.silence, MAC)
        await self.stop()

    async def power_on(self) -> None:
        """Give it power."""
        if self._console is None:
            await self.start()

    async def reset(self) -> None:
        """Reset it."""
        await self.power_off()
        await self.start()

    async def wake(self) -> None:
        """Click BOOT."""
        await self.connect()

    def distrust(self) -> None:
        """Note it."""
        self.trusted = False
