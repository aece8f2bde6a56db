"""The test console: orders on the UART, one line each, and one log line as the answer of each.

``wsdevice 7 send {"message":{"type":"ping"}}`` is answered by ``I (5123) wsdevice: 7 ok {}``, or by ``E (5123)
wsdevice: 7 failed NotConnected {"text":"...","why":"..."}``. ``docs/device-programs.md`` lists the orders.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from websockets.frames import Frame, Opcode

from gateway.identity import printable
from harness.device import Settings
from harness.errors import CannotConnect, HarnessError, Misuse, NotConnected, UpgradeRefused
from harness.fakes.device import PATIENCE, FakeDevice
from harness.fakes.storm import storm
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.connection import Connection
from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs

TAG = "wsdevice"
VERSION = 1
AT_ONCE = 64
"""Orders that are carried out at the same time: many more than a test gives without waiting; one more is refused."""

Arguments: TypeAlias = dict[str, Any]
Order: TypeAlias = Callable[..., Awaitable[Any]]
Configure: TypeAlias = Callable[[Arguments], Awaitable[None]]


class TestConsole:
    """Carries out orders, in the running loop.

    Args:
        connection: that orders are about.
        nvs: where settings are written.
        heap: that is told, and leaked.
        board: misbehaves.
        log: the answers.
        configure: makes the connection another device's, and ends what the firmware does by itself.
    """

    __test__ = False  # to pytest this is no test

    def __init__(
        self, connection: Connection, nvs: Nvs, heap: Heap, board: BoardChannel, log: Log, configure: Configure
    ) -> None:
        self._connection = connection
        self._nvs = nvs
        self._heap = heap
        self._board = board
        self._log = log
        self._configure = configure
        self._under_way: set[asyncio.Task[None]] = set()
        self._orders: dict[str, Order] = {
            "configure": self._configured,
            "connect": self._connect,
            "hello": self._hello,
            "send": self._send,
            "bytes": self._bytes,
            "audio": self._audio,
            "storm": self._storm,
            "frame": self._frame,
            "close": self._close,
            "cut": self._cut,
            "vanish": self._vanish,
            "provision": self._provision,
            "state": self._state,
            "heap": self._heap_numbers,
            "heap_leak": self._heap_leak,
            "panic": self._panic,
            "misbehave": self._misbehave,
        }

    def announce(self) -> None:
        """Say that orders are taken, and which."""
        self._log("I", TAG, f"test console {VERSION}: {' '.join(self._orders)}")

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Take orders until the end of the input; what else is typed is for nobody."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the reader's limit; it is dropped
                continue
            if not line:
                return
            self.take(line)

    def take(self, line: bytes) -> None:
        """Take one line."""
        words = line.decode("utf-8", "replace").strip().split(" ", 3)
        if len(words) < 3 or words[0] != TAG or not words[1].isdecimal():
            return
        number, verb, text = words[1], words[2], words[3] if len(words) > 3 else "{}"
        if len(self._under_way) >= AT_ONCE:
            self._failed(number, Misuse(f"expected at most {AT_ONCE} orders at once"))
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(number, verb, text), name=f"order {number}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def aclose(self) -> None:
        """Give up what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def _carry_out(self, number: str, verb: str, text: str) -> None:
        try:
            order = self._orders.get(verb)
            if order is None:
                raise Misuse(f"expected one of {', '.join(self._orders)}, got {printable(verb)}")
            answer = await order(**_arguments(text))
        except (HarnessError, TypeError, ValueError, msgspec.MsgspecError) as error:  # wrong arguments raise these
            self._failed(number, error)
        else:
            self._log("I", TAG, f"{number} ok {msgspec.json.encode({} if answer is None else answer).decode()}")

    def _failed(self, number: str, error: Exception) -> None:
        name = type(error).__name__ if isinstance(error, HarnessError) else "Misuse"
        self._log("E", TAG, f"{number} failed {name} {msgspec.json.encode(_facts(error)).decode()}")

    # --- orders -------------------------------------------------------------------------------------------------

    async def _configured(self, **options: Any) -> None:
        await self._configure(options)

    async def _connect(self, *, timeout: float = PATIENCE) -> None:
        self._device()
        await self._connection.connect(timeout)

    async def _hello(self, *, timeout: float = PATIENCE, fields: Arguments | None = None) -> Any:
        self._device()
        return await self._connection.hello(timeout, fields)

    async def _send(self, *, message: Arguments) -> None:
        await self._device().send(message)

    async def _bytes(self, *, payload: str) -> None:
        await self._device().send_bytes(_decoded(payload))

    async def _audio(self, *, packet: str, timestamp_ms: int = 0) -> None:
        await self._device().send_audio(_decoded(packet), timestamp_ms)

    async def _storm(
        self, *, per_second: float, seconds: float, message: Arguments | None = None, ping: str | None = None
    ) -> Mapping[str, int]:
        said = message if ping is None else _decoded(ping)
        if said is None:
            raise Misuse("expected a message, or a ping")
        return {"sent": await storm(self._device(), said, per_second=per_second, seconds=seconds)}

    async def _frame(self, *, opcode: int, payload: str = "", fin: bool = True) -> None:
        await self._device().send_bytes(Frame(Opcode(opcode), _decoded(payload), fin).serialize(mask=True))

    async def _close(self, *, code: int = 1000, reason: str = "") -> None:
        await self._device().close(code, reason)

    async def _cut(self) -> None:
        self._device().cut()

    async def _vanish(self) -> None:
        self._device().vanish()

    async def _provision(self, *, url: str, token: str = "", framing: int = 1) -> None:
        for key, value in (("url", url), ("token", token), ("version", framing)):
            await self._nvs.put("websocket", key, value)
        if self._connection.device is not None:
            await self._connection.device.provision(Settings(url, token, framing))

    async def _state(self) -> Mapping[str, Any]:
        device = self._connection.device
        return {
            "connected": self._connection.is_open,
            "session_id": device.session_id if device is not None else "",
            "free_heap": self._heap.free,
            "minimum_free_heap": self._heap.minimum,
        }

    async def _heap_numbers(self) -> Mapping[str, int]:
        return {"free": self._heap.free, "minimum": self._heap.minimum}

    async def _heap_leak(self, *, bytes_per_second: int) -> None:
        self._heap.leak(bytes_per_second)

    async def _panic(self, *, kind: str = "abort") -> None:
        await self._board.ask("misbehave", what="panic", how={"kind": kind})

    async def _misbehave(self, *, what: str, **how: Any) -> None:
        await self._board.ask("misbehave", what=what, how=how)

    def _device(self) -> FakeDevice:
        if self._connection.device is None:
            raise Misuse("expected 'configure' before: there is no address to connect to yet")
        return self._connection.device


def _arguments(text: str) -> Arguments:
    return msgspec.json.decode(text, type=dict[str, Any])


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Misuse(f"expected base64: {error}") from None


def _facts(error: Exception) -> dict[str, Any]:
    facts: dict[str, Any] = {"text": str(error)}
    if isinstance(error, UpgradeRefused):
        facts.update(status=error.status, reason=error.reason, headers=error.headers)
    elif isinstance(error, CannotConnect | NotConnected):
        facts["why"] = error.why
    return facts
