"""A board as a device: what it is told goes over its test console, what it hears is read off its connection.

So the same tests run on it that run on fake devices. What its firmware cannot be told is not in its ``capabilities``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Opcode

from gateway.protocol.close_codes import CloseCode
from gateway.protocol.messages import encode
from harness.board.order_failures import meant
from harness.board.orders import OrderFailed, Orders
from harness.device import Body, Capability, Device, LinkView, Message, Settings
from harness.errors import (
    CannotConnect,
    ExpectationFailed,
    FirmwareWouldFail,
    HarnessError,
    Misuse,
)
from harness.fakes.device import PATIENCE, FakeDevice
from harness.receiving import EXPECT, Receiving
from harness.records import FramePassed, Happened, Watch, WireClosed, WireOpened, WireRecord

BOOTS_IN = 30.0
"""Seconds for a board to come up after a reset, to the line that announces its test console: a slow Wi-Fi included."""
_CUT_WAIT = 3.0  # seconds for a connection that was cut to be gone: an order, and the way through the front
_OPEN_WAIT = 3.0  # seconds from the firmware's word that it is connected until that is known here, too
_ORDERED: dict[Capability, str] = {  # what can be asked for, and the order that it takes
    "send": "send",
    "audio": "audio",
    "frames": "frame",
    "close": "close",
    "cut": "cut",
    "vanish": "vanish",
    "provision": "provision",
}
_OPTIONS = ("client_id", "device_id", "token", "framing", "features", "acks", "reads_bytes_per_second", "headers")


def able(rig: frozenset[Capability], verbs: frozenset[str]) -> frozenset[Capability]:
    """Return what a board can be asked for, by what its rig can do and the orders its firmware takes."""
    return rig | {asked for asked, verb in _ORDERED.items() if verb in verbs}


class BoardHandle(Protocol):
    """What a device needs of its board beside the console; the calls may take long, and are awaited.

    Attributes:
        capabilities: ``power``, ``reset``, as far as the rig has them.
    """

    capabilities: frozenset[Capability]

    async def power_off(self) -> None:
        """Take its power, so that nobody is told."""

    async def power_on(self) -> None:
        """Give it power, and wait until its firmware takes orders, or is online, if it takes none."""

    async def reset(self) -> None:
        """Press its reset button, and wait likewise."""

    async def wake(self) -> None:
        """Have firmware that takes no orders connect anew: xiaozhi firmware does when its BOOT button is clicked.

        Raises:
            Misuse: the rig cannot.
        """

    def distrust(self) -> None:
        """Have it reset before another test gets it."""


class BoardDevice(Receiving, Device):
    """One board, in the running loop.

    Args:
        name: what reports call it.
        body: what it is made of.
        device_id: its MAC, as the gateway knows it.
        client_id: of its upgrade requests.
        url: where tests on this machine reach the gateway; the board goes by its own way.
        way: where the board is to connect.
        orders: to its firmware.
        verbs: the orders its firmware takes.
        handle: of the board.
        attend: calls back with what passes on the connections of this device id, in the running loop; the result ends
            that.
        watch: is shown every frame, both ways, as it passes, and what happens besides.
        view: what the gateway knows of a device, by its id; None where the gateway does not tell.
        **options: as of `FakeDevice`: token, framing, features, acks, reads_bytes_per_second, headers.

    Attributes:
        closed: set while there is no connection.
    """

    def __init__(
        self,
        *,
        name: str,
        body: Body,
        device_id: str,
        client_id: str,
        url: str,
        way: str,
        orders: Orders,
        verbs: frozenset[str],
        handle: BoardHandle,
        attend: Callable[[str, Callable[[WireRecord], None]], Callable[[], None]],
        watch: Watch,
        view: Callable[[str], LinkView] | None,
        token: str = "",
        framing: int = 1,
        features: Mapping[str, Any] | None = None,
        acks: bool = True,
        reads_bytes_per_second: float | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(name, framing)
        self.body = body
        self.capabilities = able(handle.capabilities, verbs)
        self.device_id = device_id
        self.client_id = client_id
        self.url = url
        self.token = token
        self.features = {"mcp": True} if features is None else dict(features)
        self.acks = acks
        self.reads_bytes_per_second = reads_bytes_per_second
        self.headers = dict(headers or {})
        self.closed = asyncio.Event()
        self.closed.set()
        self._way = way
        self._orders = orders
        self._verbs = verbs
        self._handle = handle
        self._watch = watch
        self._view = view
        self._loop = asyncio.get_running_loop()
        self._configured: dict[str, Any] | None = None
        self._configured_in = 0  # which life of the firmware, of those that `orders` has seen
        self._connection: int | None = None
        self._code: int | None = None
        self._vanished = False
        self._answered = False
        self._off = False
        self._came_up = False
        self._opened = asyncio.Event()
        self._broken: HarnessError | None = None
        self._detach = attend(device_id, self._happens)

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
        """Have it open its connection anew; see `FakeDevice.connect`.

        Raises:
            UpgradeRefused, CannotConnect: as of `FakeDevice.connect`; also when it has connected, but not through this
                machine.
            NoAnswer: the firmware does not answer.
            Misuse: the firmware does not take such orders.
        """
        await self._configure()
        if self._connection is not None and not self._vanished and "cut" in self._verbs:
            await self._order("cut")
            await self._ended()
        self._forget()
        self._connection, self._vanished, self._code = None, False, None
        self._opened.clear()
        self._note("connects")
        await self._order("connect", timeout, timeout=timeout)
        try:
            async with asyncio.timeout(_OPEN_WAIT):
                await self._opened.wait()
        except TimeoutError:
            why = "its firmware says that it is connected, but no connection of its id came to this machine"
            raise CannotConnect(self._way, why) from None

    async def hello(self, timeout: float = PATIENCE, **fields: Any) -> Message:
        """Have it say hello, and return the answer; see `FakeDevice.hello`."""
        await self._order("hello", timeout, timeout=timeout, fields=msgspec.to_builtins(fields))
        return await self.expect("hello", timeout)

    async def go_online(self, timeout: float = PATIENCE) -> None:
        """Have it connect and say hello; each may take ``timeout`` seconds.

        Firmware that has come online by itself, since it was given power or reset, is left as it is, unless it is to be
        other than it is by itself. Firmware that takes no orders connects on a wake word, which the rig gives it.
        """
        by_itself, self._came_up = self._came_up, False
        if by_itself and self.is_online and self._is_as_built():
            self._inbox.take("hello", {})  # the answer to its own
            return
        if "connect" in self._verbs:
            await self.connect(timeout)
            await self.hello(timeout)
            return
        self._forget()
        self._note("is woken")
        await self._handle.wake()
        await self.expect("hello", 2 * timeout)

    @property
    def is_online(self) -> bool:
        """Whether its hello was answered, on a connection that is open."""
        return self._connection is not None and self._code is None and not self._vanished and self._answered

    def _is_as_built(self) -> bool:
        own = (self.framing, self.acks, self.reads_bytes_per_second, self.headers, self.features)
        return own == (1, True, None, {}, {"mcp": True})

    def _forget(self) -> None:
        self._inbox.clear()
        self._broken = None

    async def _configure(self) -> None:
        options = {"url": self._way, **{name: getattr(self, name) for name in _OPTIONS}}
        if options == self._configured and self._orders.starts == self._configured_in:
            return
        self._configured, self._configured_in = None, self._orders.starts
        await self._order("configure", **options)
        self._configured = {**options, "features": dict(self.features), "headers": dict(self.headers)}

    # --- talking ------------------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any] | msgspec.Struct) -> None:
        """Have it send a JSON message; in the order of the calls. Raises `NotConnected` when it is not connected."""
        self._need("send")
        await self._order("send", message=msgspec.Raw(encode(message)))

    async def send_text(self, raw: str | bytes) -> None:
        """Have it send a text message as it is, well-formed or not."""
        await self._frame(Opcode.TEXT, raw.encode() if isinstance(raw, str) else raw)

    async def send_ping(self, payload: bytes = b"") -> None:
        """Have it send a control ping."""
        await self._frame(Opcode.PING, payload)

    async def send_bytes(self, data: bytes) -> None:
        """Have it put bytes on the wire as they are, frames or not."""
        self._need("frames")
        self._note(f"puts {len(data)} raw bytes on the wire", fault=True)
        await self._order("bytes", payload=base64.b64encode(data).decode())

    async def send_audio(self, packet: bytes, timestamp_ms: int = 0) -> None:
        """Have it send one Opus packet, framed in its version."""
        self._need("audio")
        await self._order("audio", packet=base64.b64encode(packet).decode(), timestamp_ms=timestamp_ms)

    async def storm(self, message: Mapping[str, Any] | bytes, per_second: float, seconds: float) -> int:
        """Have it send a message again and again by itself, and return how often; see `harness.fakes.storm`.

        Told one by one over a serial line, no device would storm.
        """
        how = {"per_second": per_second, "seconds": seconds}
        if isinstance(message, bytes):
            sent = await self._order("storm", seconds, ping=base64.b64encode(message).decode(), **how)
        else:
            sent = await self._order("storm", seconds, message=msgspec.to_builtins(message), **how)
        return int(sent["sent"])

    async def _frame(self, opcode: Opcode, payload: bytes) -> None:
        self._need("frames")
        await self._order("frame", opcode=int(opcode), payload=base64.b64encode(payload).decode())

    # --- going away ---------------------------------------------------------------------------------------------

    @property
    def close_code(self) -> int | None:
        """Of the last connection's Close frame; 1006 if it ended without one, whoever ended it; None while open."""
        return self._code

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Have it leave politely; see `FakeDevice.close`."""
        self._need("close")
        await self._order("close", EXPECT, code=code, reason=reason)
        await self._ended()

    def cut(self) -> None:
        """Have it close the TCP connection without a Close frame; `closed` tells when it is gone."""
        self._need("cut")
        if not self.closed.is_set():
            self._note("cuts its connection: end of TCP, no Close frame", fault=True)
            self._orders.post("cut")

    def vanish(self) -> None:
        """Have it read and answer nothing any more, while the connection stays.

        Raises:
            Misuse: there is no connection.
        """
        self._need("vanish")
        if self.closed.is_set() or self._vanished:
            raise Misuse(f"expected {self.name} to have a connection, but {self._state()}")
        self._note("vanishes: reads and answers nothing any more", fault=True)
        self._vanished = True
        self._orders.post("vanish")

    # --- the board ----------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Take its power: the gateway is not told. Idempotent."""
        self._need("power")
        if not self._off:
            self._note("loses power", fault=True)
        self._off = self._vanished = True
        await self._handle.power_off()

    async def power_on(self) -> None:
        """Give it power, and wait until its firmware is up, which may connect by itself. Idempotent."""
        self._need("power")
        was_off, self._off = self._off, False
        if was_off:
            self._forget()  # what it is sent from here on is for its new life
        await self._handle.power_on()
        if was_off:
            self._note("has power")
            self._configured, self._came_up = None, True

    async def reset(self) -> None:
        """Press its reset button and have it go online again; the connection it had is left to the gateway."""
        self._need("reset")
        self._note("is reset", fault=True)
        self._vanished = True
        self._forget()
        await self._handle.reset()
        self._configured, self._came_up = None, True
        await self.go_online()

    async def provision(self, settings: Settings) -> None:
        """Write its settings; in force from its next `connect`. The address stays its own way to the gateway."""
        self._need("provision")
        await self._order("provision", url=self._way, token=settings.token, framing=settings.framing)
        self.token, self.framing = settings.token, settings.framing
        self._note(f"is provisioned: framing {self.framing}, {'a' if self.token else 'no'} token")

    def clone(self, name: str, **other: Any) -> FakeDevice:
        """Make a fake device with this one's id and settings, as a copied NVS would; ``other`` arguments differ."""
        same: dict[str, Any] = {option: getattr(self, option) for option in _OPTIONS if option != "device_id"}
        return FakeDevice(
            self.url, self.device_id, name=name, **{**same, "watch": self._watch, "view": self._view, **other}
        )

    async def aclose(self) -> None:
        """Have it end its connection, and wait until it has; idempotent.

        For one that does not end it no test has to fail: it is reset before another one gets it.
        """
        try:
            if not self.closed.is_set() and not self._vanished and "cut" in self._verbs and self._spoilt is None:
                async with asyncio.timeout(_CUT_WAIT):
                    await self._orders.call("cut")
                    await self.closed.wait()
        except (HarnessError, TimeoutError) as error:
            self._handle.distrust()
            self._note(f"did not end its connection: {str(error) or 'it does not answer'}")
        finally:
            self._detach()
            self._vanished = True  # nobody tells of it any more
            await self._orders.aclose()

    async def _ended(self) -> None:
        try:
            async with asyncio.timeout(_CUT_WAIT):
                await self.closed.wait()
        except TimeoutError:
            wanted = "its connection to be gone"
            raise ExpectationFailed(self.name, wanted, _CUT_WAIT, self._state(), self._inbox.unread) from None

    # --- orders -------------------------------------------------------------------------------------------------

    def _need(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            has = ", ".join(sorted(self.capabilities)) or "nothing"
            raise Misuse(
                f"expected a board that can be asked for {capability!r}, {self.name} can be asked for {has}; say "
                f'@pytest.mark.ws_needs("{capability}")'
            )

    async def _order(self, verb: str, seconds: float = EXPECT, /, **arguments: Any) -> Any:
        if verb not in self._verbs:
            raise Misuse(
                f"expected firmware that takes the order {verb!r} on its test console, that of {self.name} takes "
                f"{', '.join(sorted(self._verbs)) or 'none'}"
            )
        self._raise_if_spoilt()
        try:
            return await self._orders.call(verb, seconds, **arguments)
        except OrderFailed as failed:
            state, unread = self._state(), self._inbox.unread
            raise meant(failed, self.name, url=self._way, state=state, unread=unread) from failed

    # --- what its connection tells ------------------------------------------------------------------------------

    def _happens(self, record: WireRecord) -> None:
        if isinstance(record, WireOpened):
            self._connection = record.connection
            self._code, self._vanished, self._answered = None, False, False
            self._broken = None
            self.closed.clear()
            self._opened.set()
            self._note("is connected: 101", at=record.at)
        elif record.connection != self._connection:
            return  # one that it left behind
        elif isinstance(record, WireClosed):
            self._lost(record)
        else:
            self._passed(record.at, record.sent, record.opcode, record.payload)

    def _passed(self, at: float, sent: bool, opcode: Opcode, payload: bytes) -> None:
        self._watch(FramePassed(at, self.name, sent, opcode, payload))
        if not sent and not self._vanished:
            if opcode is Opcode.CLOSE:
                self._close_received(payload)
            message = self._received(opcode, payload)
            if message is not None and message["type"] == "hello":
                self._answered, self.session_id = True, str(message.get("session_id", ""))

    def _close_received(self, payload: bytes) -> None:
        try:
            self._code = int(Close.parse(payload).code)
        except ProtocolError as error:
            self._crash(f"a Close frame of {len(payload)} bytes: {error}")

    def _lost(self, record: WireClosed) -> None:
        if self._code is None:
            self._code = CloseCode.ABNORMAL
        self._connection = None
        self._note(f"has lost its connection: {self._state()}", at=record.at)
        self.closed.set()
        self._inbox.wake()

    def _crash(self, sent: str) -> None:
        self._note(f"would crash on {sent}")
        self._broken = self._broken or FirmwareWouldFail(f"the gateway sent {self.name} {sent}")

    def _state(self) -> str:
        if self._broken is not None:
            return str(self._broken)
        if self._code is not None:
            return f"its connection ended with {self._code}"
        if self._vanished:
            return "its connection has vanished"
        return "it has not connected" if self._connection is None else "its connection is open"

    def _fault(self) -> HarnessError | None:
        return self._broken

    def _note(self, what: str, *, fault: bool = False, at: float | None = None) -> None:
        self._watch(Happened(self._loop.time() if at is None else at, self.name, what, fault))
