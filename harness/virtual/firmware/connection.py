"""The connection to the gateway: a fake device, with the lines that the firmware prints of it.

Lines: ``websocket_protocol.cc``, ``application.cc``, and ``web_socket.cc`` of esp-ml307.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from websockets.frames import Opcode

from gateway.errors import BadMessage
from gateway.identity import printable
from gateway.protocol.decoding import decode_object
from gateway.protocol.messages import HANDOVER_NOTICE
from harness.device import Message
from harness.errors import CannotConnect, ExpectationFailed, Misuse, UpgradeRefused, WorldError
from harness.fakes.device import PATIENCE, FakeDevice
from harness.records import FramePassed, Happened
from harness.virtual.firmware.log import Log

_TAG = "WS"
_CONNECTION_RESET = 104  # errno of lwIP, which does not tell a refused connection from a reset one
_SHOWN_CHARACTERS = 200  # of what people said: the firmware prints all of it
_WOULD_CRASH = "would crash"  # how a fake device's record of it begins


class Connection:
    """The device that the firmware is, in the running loop; one at a time.

    Args:
        log: its lines.
        has_network: tells whether there is a network to connect over.
        crashes: is called when the gateway has sent what no firmware can take.
        said: is called with each message of the gateway.

    Attributes:
        device: the present one.
    """

    def __init__(
        self,
        log: Log,
        *,
        has_network: Callable[[], bool],
        crashes: Callable[[], None],
        said: Callable[[Message], None],
    ) -> None:
        self.device: FakeDevice | None = None
        self._log = log
        self._has_network = has_network
        self._crashes = crashes
        self._said = said
        self._watcher: asyncio.Task[None] | None = None

    async def become(self, url: str, device_id: str, **options: Any) -> None:
        """Be another device: end the connection of the one before; ``options`` are of `FakeDevice`."""
        await self.aclose()
        self.device = FakeDevice(url, device_id, watch=self._watch, **options)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self.device is not None and not self.device.closed.is_set()

    async def connect(self, timeout: float = PATIENCE) -> None:
        """Connect; see `FakeDevice.connect`. Without a network it cannot."""
        device = self._device()
        self._log("I", _TAG, f"Connecting to websocket server: {device.url} with version: {device.framing}")
        try:
            if not self._has_network():
                raise CannotConnect(device.url, "the device has no network")
            await device.connect(timeout)
        except UpgradeRefused:
            self._log("E", "WebSocket", "WebSocket handshake failed")
            self._log("E", _TAG, "Failed to connect to websocket server, code=0")
            raise
        except WorldError:
            self._log("E", "WebSocket", "Failed to connect to server")
            self._log("E", _TAG, f"Failed to connect to websocket server, code={_CONNECTION_RESET}")
            raise
        self._watcher = asyncio.get_running_loop().create_task(self._wait_for_end(device), name="end of connection")

    async def hello(self, timeout: float = PATIENCE, fields: Mapping[str, Any] | None = None) -> Message:
        """Say hello; see `FakeDevice.hello`."""
        try:
            answer = await self._device().hello(timeout, **(fields or {}))
        except ExpectationFailed:
            self._log("E", _TAG, "Failed to receive server hello")
            raise
        if answer.get("transport") != "websocket":
            self._log("E", _TAG, f"Unsupported transport: {printable(answer.get('transport'))}")
        elif isinstance(session := answer.get("session_id"), str):
            self._log("I", _TAG, f"Session ID: {printable(session)}")
        return answer

    def vanish(self) -> None:
        """Fall silent, if there is a connection: the network is gone, and with it every farewell."""
        if self.device is not None and self.is_open:
            with suppress(Misuse):  # the network was lost before: it is silent already, and its end was not heard
                self.device.vanish()

    async def aclose(self) -> None:
        """End the connection."""
        if self.device is not None:
            await self.device.aclose()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    def _device(self) -> FakeDevice:
        assert self.device is not None, "it becomes one first"
        return self.device

    async def _wait_for_end(self, device: FakeDevice) -> None:
        await device.closed.wait()
        self._log("I", _TAG, "Websocket disconnected")

    # --- what it is told ----------------------------------------------------------------------------------------

    def _watch(self, record: FramePassed | Happened) -> None:
        if isinstance(record, Happened):
            if record.what.startswith(_WOULD_CRASH):
                self._crashes()
        elif not record.sent and record.opcode is Opcode.TEXT:
            try:
                message = decode_object(record.payload)
            except BadMessage:
                return  # the device says that it would crash
            self._told(message)
            self._said(message)

    def _told(self, message: Message) -> None:
        """Print what the firmware prints of a message."""
        kind, log = message.get("type"), self._log
        if kind == "stt" and isinstance(text := message.get("text"), str):
            log("I", "Application", f">> {printable(text, _SHOWN_CHARACTERS)}")
        elif (
            kind == "tts" and message.get("state") == "sentence_start" and isinstance(text := message.get("text"), str)
        ):
            log("I", "Application", f"<< {printable(text, _SHOWN_CHARACTERS)}")
        elif kind == "system" and isinstance(command := message.get("command"), str):
            log("I", "Application", f"System command: {printable(command)}")
        elif kind == "alert":
            parts = [printable(message.get(name), _SHOWN_CHARACTERS) for name in ("emotion", "status", "message")]
            log("W", "Application", f"Alert [{parts[0]}] {parts[1]}: {parts[2]}")


def is_handover(message: Message) -> bool:
    """Tell whether a message is the notice that a newer connection of this device took over."""
    return message.get("type") == "system" and message.get("message") == HANDOVER_NOTICE.message
