"""A device that behaves like xiaozhi firmware, over a real TCP connection.

::

    async with FakeDevice(gateway.websocket_url, "02:00:00:00:00:01") as device:
        await device.send({"type": "ping"})
        await device.expect("pong")

It has the firmware's habits, those that gateways trip over included: the headers of its upgrade request, hello right
behind the 101 and ten seconds of patience, binary frames of version 1, 2 or 3, and never a Close frame. Where a real
board would crash, or read past the end of a frame, the fake one drops its connection and says why.

It can be told to be a poor device, too: one that reads slowly, acknowledges nothing, has another's id (`clone`), or
storms (`harness.fakes.storm`).

Only the running loop is used (``create_connection`` and its time), so a simulated network can take the place of TCP.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.frames import Opcode

from gateway.protocol.audio_frames import pack
from gateway.protocol.messages import AudioParams, encode
from harness.device import CAPABILITIES, Body, Capability, Device, LinkView, Message, Settings
from harness.errors import (
    ExpectationFailed,
    FirmwareWouldFail,
    HarnessError,
    Misuse,
    NotConnected,
    UpgradeRefused,
    WorldError,
)
from harness.fakes.link import Dial, Link
from harness.receiving import EXPECT, Receiving
from harness.records import FramePassed, Happened, Watch, unwatched

PATIENCE = 10.0
"""Seconds the firmware waits for the answer to its upgrade request, and again for the one to its hello."""
_CUT_WAIT = 1.0  # seconds for a closed socket to be gone: two turns of the loop


class FakeDevice(Receiving, Device):
    """One device; it connects any number of times, one connection after the other.

    ``async with`` connects and says hello, and closes everything at the end.

    Args:
        url: where it connects to, as the OTA answer would tell it.
        device_id: its MAC, in lower case with colons if it is to look like the firmware's.
        client_id: its UUID; None: one made of its id, the same every time, as if read from NVS.
        token: ``Bearer`` is put before it if it has no space; empty: no Authorization header.
        framing: version of its binary frames: 1, 2 or 3.
        features: of its hello; None: those of the firmware.
        acks: ask for peer messages to be acknowledged (hello ``features.peer_ack``), and acknowledge each at once.
        reads_bytes_per_second: how fast it reads; None: as fast as it comes.
        headers: of its upgrade request that are other than the firmware's; None as a value leaves one out.
        name: what reports call it; empty: its id.
        watch: is shown every frame, both ways, as it passes, and what happens besides.
        view: what the gateway knows of a device, by its id; None where the gateway does not tell.
        dial: opens its connections; None: the running loop.

    Attributes:
        closed: set while there is no socket: before `connect`, and once a connection has ended.
    """

    def __init__(
        self,
        url: str,
        device_id: str,
        *,
        client_id: str | None = None,
        token: str = "",
        framing: int = 1,
        features: Mapping[str, Any] | None = None,
        acks: bool = True,
        reads_bytes_per_second: float | None = None,
        headers: Mapping[str, str | None] | None = None,
        name: str = "",
        watch: Watch = unwatched,
        view: Callable[[str], LinkView] | None = None,
        dial: Dial | None = None,
    ) -> None:
        super().__init__(name or device_id, framing)
        self.body: Body = "fake"
        self.capabilities: frozenset[Capability] = frozenset(CAPABILITIES)
        self.url = url
        self.device_id = device_id
        self.client_id = client_id_of(device_id) if client_id is None else client_id
        self.token = token
        self.features = {"mcp": True} if features is None else dict(features)
        self.acks = acks
        self.reads_bytes_per_second = reads_bytes_per_second
        self.headers = dict(headers or {})
        self.has_power = True
        self.closed = asyncio.Event()
        self.closed.set()
        self._watch = watch
        self._view = view
        self._dial = dial
        self._link: Link | None = None
        self._left_behind: list[Link] = []

    async def __aenter__(self) -> Self:
        """Go online."""
        try:
            await self.go_online()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close everything."""
        await self.aclose()

    @property
    def link(self) -> LinkView:
        """What the gateway knows of it.

        Raises:
            Misuse: this gateway does not tell.
        """
        if self._view is None:
            raise Misuse(f"expected a gateway that tells what it knows of {self.name}, this one is seen from outside")
        return self._view(self.device_id)

    # --- connecting ---------------------------------------------------------------------------------------------

    async def connect(self, timeout: float = PATIENCE) -> None:
        """Open the socket anew, as after a reset; what of the last connection is unread is forgotten.

        An open connection is cut first; one that has vanished is left to the gateway, which cannot know.

        Raises:
            UpgradeRefused: with the HTTP status.
            CannotConnect: no connection, or no answer, within ``timeout`` seconds.
            Misuse: it has no power.
        """
        if not self.has_power:
            raise Misuse(f"expected {self.name} to have power; power_on() gives it some")
        if self._link is not None and self._link.vanished:
            self._left_behind.append(self._link)
        else:
            await self._cut_and_wait()
        self._inbox.clear()
        link = self._link = Link(
            self.name,
            self.url,
            self._request_headers(),
            self._passed,
            self._lost,
            self.reads_bytes_per_second,
            self._dial,
        )
        self.closed.clear()
        self._happened("connects")
        try:
            await link.open(timeout)
        except BaseException as error:
            self._link = None
            self.closed.set()
            if isinstance(error, UpgradeRefused | WorldError):
                self._happened(str(error))
            raise
        self._happened("is connected: 101")

    async def go_online(self, timeout: float = PATIENCE) -> None:
        """Connect and say hello, as the firmware does on a wake word; each may take ``timeout`` seconds.

        Raises:
            UpgradeRefused, CannotConnect, ExpectationFailed, FirmwareWouldFail: as of `connect` and `hello`.
        """
        await self.connect(timeout)
        await self.hello(timeout)

    async def hello(self, timeout: float = PATIENCE, **fields: Any) -> Message:
        """Say hello and return the answer.

        Args:
            timeout: seconds to wait for it.
            **fields: what is to be other than in the firmware's hello.

        Raises:
            ExpectationFailed: no answer in time.
            FirmwareWouldFail: the answer's ``transport`` is no string.
        """
        hello = {
            "type": "hello",
            "version": self.framing,
            "features": {**self.features, "peer_ack": True} if self.acks else self.features,
            "transport": "websocket",
            "audio_params": AudioParams(),  # the firmware's
        }
        await self.send({**hello, **fields})
        answer = await self.expect("hello", timeout)
        self.session_id = str(answer.get("session_id", ""))
        return answer

    # --- sending ------------------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any] | msgspec.Struct) -> None:
        """Send a JSON message: at once, in the order of the calls; then wait as long as the gateway does not read.

        Raises:
            NotConnected: the connection is not there (any more), or has vanished.
        """
        await self._send(Opcode.TEXT, encode(message))

    async def send_text(self, raw: str | bytes) -> None:
        """Send a text message as it is, well-formed or not; otherwise like `send`."""
        await self._send(Opcode.TEXT, raw.encode() if isinstance(raw, str) else raw)

    async def send_audio(self, packet: bytes, timestamp_ms: int = 0) -> None:
        """Send one Opus packet, framed in the device's version; otherwise like `send`."""
        await self._send(Opcode.BINARY, pack(self.framing, packet, timestamp_ms))

    async def send_ping(self, payload: bytes = b"") -> None:
        """Send a control ping of RFC 6455, which the firmware does not; otherwise like `send`."""
        await self._send(Opcode.PING, payload)

    async def send_bytes(self, data: bytes) -> None:
        """Put bytes on the wire as they are, frames or not; otherwise like `send`. They are not shown to ``watch``."""
        link = self._open_link()
        self._happened(f"puts {len(data)} raw bytes on the wire", fault=True)
        link.send_bytes(data)
        await link.drain()

    async def _send(self, opcode: Opcode, payload: bytes) -> None:
        link = self._open_link()
        link.send(opcode, payload)
        await link.drain()

    def _open_link(self) -> Link:
        if self._link is None or not self._link.is_open:
            raise NotConnected(self.name, self._state())
        return self._link

    # --- what becomes of its connection ---------------------------------------------------------------------------

    @property
    def close_code(self) -> int | None:
        """Of the last connection's Close frame; 1006 if it ended without one, whoever ended it; None while open."""
        return None if self._link is None else self._link.close_code

    # --- going away ---------------------------------------------------------------------------------------------

    async def close(self, code: int = 1000, reason: str = "", timeout: float = EXPECT) -> None:
        """Leave politely: send a Close frame, and wait until the gateway has answered it and the socket is gone.

        No xiaozhi firmware does this; browsers and test tools do.

        Raises:
            NotConnected: there is no connection.
            ExpectationFailed: the gateway did not end it in time; it is cut.
        """
        self._open_link().close(code, reason)
        try:
            async with asyncio.timeout(timeout):
                await self.closed.wait()
        except TimeoutError:
            self.cut()
            wanted = "the gateway to answer its Close"
            raise ExpectationFailed(self.name, wanted, timeout, self._state(), self._inbox.unread) from None

    def cut(self) -> None:
        """Close the TCP socket, without a Close frame, as the firmware does; `closed` tells when it is gone."""
        if self._link is not None and not self.closed.is_set():
            self._happened("cuts its connection: end of TCP, no Close frame", fault=True)
            self._link.cut()

    def vanish(self) -> None:
        """Stop reading and answering, but keep the socket: out of the Wi-Fi's reach, or without power.

        As far as its buffers go, the kernel still takes what the gateway sends. The device cannot send any more, and
        does not notice the end of this connection, but it can `connect` anew.

        Raises:
            Misuse: there is no connection.
        """
        if self._link is None or not self._link.is_open:
            raise Misuse(f"expected {self.name} to have a connection, but {self._state()}")
        self._happened("vanishes: reads and answers nothing any more", fault=True)
        self._link.vanish()

    # --- the board ----------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Lose power: its connection is not ended, it just falls silent (see `vanish`). Idempotent."""
        if self.has_power:
            self.has_power = False
            self._happened("loses power", fault=True)
            if self._link is not None and self._link.is_open:
                self._link.vanish()

    async def power_on(self) -> None:
        """Have power again; it connects when told to, as the firmware waits for a wake word. Idempotent."""
        if not self.has_power:
            self.has_power = True
            self._happened("has power")

    async def reset(self) -> None:
        """Lose all it knew, and go online anew: the old socket is left to the gateway, a new one is opened.

        Raises:
            UpgradeRefused, CannotConnect, ExpectationFailed, FirmwareWouldFail: as of `go_online`.
        """
        await self.power_off()
        await self.power_on()
        await self.go_online()

    async def provision(self, settings: Settings) -> None:
        """Take other settings, in force from the next `connect`."""
        self.url, self.token, self.framing = settings.url, settings.token, settings.framing
        self._happened(f"is provisioned: framing {self.framing}, {'a' if self.token else 'no'} token")

    def clone(self, name: str, **other: Any) -> FakeDevice:
        """Make another device with this one's id and settings, as a copied NVS would; ``other`` arguments differ."""
        same: dict[str, Any] = {
            "client_id": self.client_id,
            "token": self.token,
            "framing": self.framing,
            "features": self.features,
            "acks": self.acks,
            "reads_bytes_per_second": self.reads_bytes_per_second,
            "headers": self.headers,
            "watch": self._watch,
            "view": self._view,
            "dial": self._dial,
        }
        return FakeDevice(self.url, self.device_id, name=name, **{**same, **other})

    async def aclose(self) -> None:
        """Cut the connection, and those that have vanished, and wait until this one is gone."""
        for link in self._left_behind:
            link.cut()
        self._left_behind.clear()
        await self._cut_and_wait()

    async def _cut_and_wait(self) -> None:
        if self._link is not None:
            self._link.cut()
        try:
            async with asyncio.timeout(_CUT_WAIT):
                await self.closed.wait()
        except TimeoutError:
            if self._link is None or not self._link.vanished:
                raise
            # the machine that had its socket has lost its power, and with it whoever could tell of the end

    def _state(self) -> str:
        return "it has not connected" if self._link is None else f"its connection {self._link.state}"

    def _fault(self) -> HarnessError | None:
        return None if self._link is None else self._link.fault

    # --- what the connection tells ------------------------------------------------------------------------------

    def _passed(self, frame: FramePassed) -> None:
        self._watch(frame)
        if frame.sent:
            return
        message = self._received(frame.opcode, frame.payload)
        if self.acks and message is not None and _wants_ack(message) and self._link is not None and self._link.is_open:
            self._link.send(Opcode.TEXT, encode({"type": "peer", "event": "ack", "id": message["id"]}))

    def _crash(self, sent: str) -> None:
        assert self._link is not None
        self._happened(f"would crash on {sent}")
        self._link.fail(FirmwareWouldFail(f"the gateway sent {self.name} {sent}"))

    def _lost(self, link: Link) -> None:
        if link is self._link:
            self._happened(f"has lost its connection: {link.state}")
            self.closed.set()
            self._inbox.wake()

    def _happened(self, what: str, *, fault: bool = False) -> None:
        self._watch(Happened(asyncio.get_running_loop().time(), self.name, what, fault))

    def _request_headers(self) -> dict[str, str]:
        headers = {
            "Client-Id": self.client_id,
            "Device-Id": self.device_id,
            "Protocol-Version": str(self.framing),
        }
        if self.token:
            headers["Authorization"] = self.token if " " in self.token else f"Bearer {self.token}"
        merged = {**headers, **self.headers}
        return {name: value for name, value in merged.items() if value is not None}


def client_id_of(device_id: str) -> str:
    """Return a client id that is this device's alone, the same every time, as if read from its NVS."""
    return str(uuid.UUID(bytes=sha256(device_id.encode()).digest()[:16], version=4))


def _wants_ack(message: Message) -> bool:
    """Whether a message came by the courier: a peer message, or what it tells a sender later; no receipt or error."""
    if "id" not in message or "status" in message:
        return False
    return message["type"] == "peer" or (message["type"] == "meeting" and message.get("phase") == "summary")
