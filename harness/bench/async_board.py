"""A held board for tests in an event loop: the same calls, to be awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

from harness.bench.front import Front
from harness.bench.held_board import Fresh, HeldBoard
from harness.board.console_lines import Line
from harness.board.device import BoardDevice
from harness.board.handle import BoardHandle
from harness.board.line_record import EXPECT, Wanted
from harness.board.orders import Orders
from harness.device import Body, Capability
from harness.firmware.build import Build

T = TypeVar("T")


class AsyncConsole:
    """The console of a board, in the running loop; see `harness.board.console_view.ConsoleView`."""

    def __init__(self, board: HeldBoard) -> None:
        self._console = board.console
        self._threads = board.threads

    async def expect(self, wanted: Wanted, timeout: float = EXPECT, *, since: int | None = None) -> Line:
        """Wait for a line that the board says, and return it; one that it has said already will do."""
        return await _within(self._threads, lambda: self._console.expect(wanted, timeout, since=since))

    async def write_line(self, text: str) -> None:
        """Put a line on the UART."""
        await _within(self._threads, lambda: self._console.write_line(text))

    @property
    def position(self) -> int:
        """The number that the next line will have."""
        return self._console.position

    def lines(self, since: int = 0) -> tuple[Line, ...]:
        """Return the lines that are kept, from a number on, oldest first."""
        return self._console.lines(since)

    def tail(self, count: int = 15) -> list[str]:
        """Return the text of the last lines."""
        return self._console.tail(count)


class AsyncPower:
    """The supply of a board, in the running loop; see `harness.board.power.Power`."""

    def __init__(self, board: HeldBoard) -> None:
        self._board = board

    @property
    def kind(self) -> str:
        """As in the bench file."""
        return self._board.power.kind

    async def off(self) -> None:
        """Take its power, so that nobody is told."""
        await _within(self._board.threads, self._board.power_off)

    async def on(self) -> None:
        """Give it power, and wait until it is online again."""
        await _within(self._board.threads, self._board.power_on)


class AsyncBoard(BoardHandle):
    """A held board, in the running loop. What was begun goes on to its end, and its deadline, when a call is cancelled.

    Attributes:
        held: the board itself, whose calls block.
        console, power: of it.
    """

    def __init__(self, held: HeldBoard, front: Front) -> None:
        self.held = held
        self.console = AsyncConsole(held)
        self.power = AsyncPower(held)
        self._front = front

    @property
    def id(self) -> str:
        """As in the bench file."""
        return self.held.id

    @property
    def mac(self) -> str:
        """What the gateway calls it."""
        return self.held.mac

    @property
    def chip(self) -> str:
        """What it is: ``esp32s3``."""
        return self.held.config.chip

    @property
    def body(self) -> Body:
        """What it is made of."""
        return self.held.body

    @property
    def build(self) -> Build | None:
        """What is on it; None: it is not known."""
        return self.held.build

    @property
    def capabilities(self) -> frozenset[Capability]:  # type: ignore[override]
        """What the rig can do to it."""
        return self.held.capabilities

    async def power_off(self) -> None:
        """Take its power, so that nobody is told."""
        await _within(self.held.threads, self.held.power_off)

    async def power_on(self) -> None:
        """Give it power, and wait until it is online again."""
        await _within(self.held.threads, self.held.power_on)

    async def reset(self) -> None:
        """Press its reset button, and wait likewise."""
        await _within(self.held.threads, self.held.reset)

    async def wake(self) -> None:
        """Have firmware connect that takes no orders; see `HeldBoard.wake`."""
        await _within(self.held.threads, self.held.wake)

    def distrust(self) -> None:
        """Have it reset before another test gets it."""
        self.held.unsettled = True

    async def have(self, build: Build | None = None, *, fresh: Fresh = "") -> None:
        """Have it online with this build, and as new as this; see `HeldBoard.have`."""
        await _within(self.held.threads, lambda: self.held.have(build, fresh=fresh))

    @contextlib.asynccontextmanager
    async def may_crash(self) -> AsyncIterator[None]:
        """A crash that begins in here is what the test wants; elsewhere it ends the test. Waits for its end."""
        with self.held.crashes_allowed():
            yield
            await _within(self.held.threads, lambda: self.held.await_crash(0.0))

    def device(self, name: str, *, url: str, way: str, **options: Any) -> BoardDevice:
        """Make a device of it; see `BoardDevice`."""
        self.held.ordered = True
        return BoardDevice(
            name=name,
            body=self.body,
            device_id=self.mac,
            url=url,
            way=way,
            orders=Orders(self.held.board.console),
            verbs=self.held.verbs,
            handle=self,
            attend=self._front.attend,
            **options,
        )


async def _within(threads: Executor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
