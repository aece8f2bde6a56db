"""A board as a device: what it is told goes over its test console, what it hears is read off its connection.

So the same tests run on it that run on fake devices. What its firmware cannot be told is not in its ``capabilities``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from websockets.exceptions import ProtocolError
from websockets.frames import Opcode

from harness.board.handle import BoardHandle, able
from harness.board.orders import Orders
from harness.board.seen_connection import SeenConnection
from harness.board.telling import Telling
from harness.device import Body, Device, LinkView, Message, Settings
from harness.errors import CannotConnect, ExpectationFailed, FirmwareWouldFail, HarnessError, Misuse
from harness.fakes.device import PATIENCE, FakeDevice
from harness.receiving import EXPECT
from harness.records import FramePassed, Happened, Watch, WireClosed, WireOpened, WireRecord

_CUT_WAIT = 3.0  # seconds for a connection that was cut to be gone: an order, and the way through the front
_OPEN_WAIT = 3.0  # seconds from the firmware's word that it is connected until that is known here, too
_OPTIONS = ("client_id", "device_id", "token", "framing", "features", "acks", "reads_bytes_per_second", "headers")


class BoardDevice(Telling, Device):
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
        can = able(handle.capabilities, verbs)
        super().__init__(name, framing, way=way, orders=orders, verbs=verbs, capabilities=can)
        self.body = body
        self.device_id = device_id
        self.client_id = client_id
        self.url = url
        self.token = token
        self.features = {"mcp": True} if features is None else dict(features)
        self.acks = acks
        self.reads_bytes_per_second = reads_bytes_per_second
        self.headers = dict(headers or {})
        self._handle = handle
        self._watch = watch
        self._view = view
        self._loop = asyncio.get_running_loop()
        self._configured: dict[str, Any] | None = None
        self._configured_in = 0  # which life of the firmware, of those that `orders` has seen
        self._seen = SeenConnection()
        self.closed = self._seen.closed
        self._off = False
        self._came_up = False
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
        if self._seen.exists and not self._seen.vanished and "cut" in self._verbs:
            await self._order("cut")
            await self._ended()
        self._forget()
        self._seen.begin_anew()
        self._note("connects")
        await self._order("connect", timeout, timeout=timeout)
        try:
            async with asyncio.timeout(_OPEN_WAIT):
                await self._seen.opened.wait()
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
        if by_itself and self.is_online and self._is_as_wanted():
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
        return self._seen.is_online

    def _is_as_wanted(self) -> bool:
        """Whether it has connected as it was to: by its upgrade, and by what no upgrade shows and nobody asked for."""
        upgrade = self._seen.upgrade
        token = self.token if " " in self.token or not self.token else f"Bearer {self.token}"
        shown = (upgrade.get("client-id"), upgrade.get("authorization", ""), upgrade.get("protocol-version"))
        others = (self.acks, self.reads_bytes_per_second, self.headers, self.features)
        return shown == (self.client_id, token, str(self.framing)) and others == (True, None, {}, {"mcp": True})

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

    # --- going away ---------------------------------------------------------------------------------------------

    @property
    def close_code(self) -> int | None:
        """Of the last connection's Close frame; 1006 if it ended without one, whoever ended it; None while open."""
        return self._seen.code

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
        if self.closed.is_set() or self._seen.vanished:
            raise Misuse(f"expected {self.name} to have a connection, but {self._state()}")
        self._note("vanishes: reads and answers nothing any more", fault=True)
        self._seen.vanished = True
        self._orders.post("vanish")

    # --- the board ----------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Take its power: the gateway is not told. Idempotent."""
        self._need("power")
        if not self._off:
            self._note("loses power", fault=True)
        self._off = self._seen.vanished = True
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
        self._seen.vanished = True
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
            if not self.closed.is_set() and not self._seen.vanished and "cut" in self._verbs and self._spoilt is None:
                async with asyncio.timeout(_CUT_WAIT):
                    await self._orders.call("cut")
                    await self.closed.wait()
        except (HarnessError, TimeoutError) as error:
            self._handle.distrust()
            self._note(f"did not end its connection: {str(error) or 'it does not answer'}")
        finally:
            self._detach()
            self._seen.vanished = True  # nobody tells of it any more
            await self._orders.aclose()

    async def _ended(self) -> None:
        try:
            async with asyncio.timeout(_CUT_WAIT):
                await self.closed.wait()
        except TimeoutError:
            wanted = "its connection to be gone"
            raise ExpectationFailed(self.name, wanted, _CUT_WAIT, self._state(), self._inbox.unread) from None

    # --- what its connection tells ------------------------------------------------------------------------------

    def _happens(self, record: WireRecord) -> None:
        if isinstance(record, WireOpened):
            self._seen.opens(record)
            self._broken = None
            self._note("is connected: 101", at=record.at)
        elif not self._seen.is_of(record):
            return  # of one that it left behind
        elif isinstance(record, WireClosed):
            self._seen.ends()
            self._note(f"has lost its connection: {self._state()}", at=record.at)
            self._inbox.wake()
        else:
            self._passed(record.at, record.sent, record.opcode, record.payload)

    def _passed(self, at: float, sent: bool, opcode: Opcode, payload: bytes) -> None:
        self._watch(FramePassed(at, self.name, sent, opcode, payload))
        if not sent and not self._seen.vanished:
            if opcode is Opcode.CLOSE:
                self._close_received(payload)
            message = self._received(opcode, payload)
            if message is not None and message["type"] == "hello":
                self._seen.answered, self.session_id = True, str(message.get("session_id", ""))

    def _close_received(self, payload: bytes) -> None:
        try:
            self._seen.close_frame(payload)
        except ProtocolError as error:
            self._crash(f"a Close frame of {len(payload)} bytes: {error}")

    def _crash(self, sent: str) -> None:
        self._note(f"would crash on {sent}")
        self._broken = self._broken or FirmwareWouldFail(f"the gateway sent {self.name} {sent}")

    def _state(self) -> str:
        return str(self._broken) if self._broken is not None else self._seen.state()

    def _fault(self) -> HarnessError | None:
        return self._broken

    def _note(self, what: str, *, fault: bool = False, at: float | None = None) -> None:
        self._watch(Happened(self._loop.time() if at is None else at, self.name, what, fault))
