"""What a test may do with any device: the one interface that fake, virtual and real boards have.

A test is written against `Device` and runs on all of them. What a body cannot do is not in its ``capabilities``; a test
that needs it says so (``@pytest.mark.ws_needs("vanish")``) and is told where it cannot run, instead of failing there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

Message: TypeAlias = dict[str, Any]
"""A JSON message, decoded."""

Wanted: TypeAlias = str | Callable[[Message], bool]
"""The type of a message, or a test of one."""

Body: TypeAlias = Literal["fake", "virtual", "real"]
"""What a device is made of: a program in the test's loop, a virtual ESP32, silicon."""

Capability: TypeAlias = Literal["send", "audio", "frames", "close", "cut", "vanish", "power", "reset", "provision"]
"""What a device can be asked for.

``send``: any JSON message. ``audio``: Opus packets of the test's own. ``frames``: any frame, well-formed or not.
``close``: a Close frame, which the firmware never sends. ``cut``: the end of the TCP connection. ``vanish``: silence,
with the connection still there. ``power``: off and on. ``reset``: as by its button. ``provision``: other settings.
"""

CAPABILITIES: tuple[Capability, ...] = (
    "send",
    "audio",
    "frames",
    "close",
    "cut",
    "vanish",
    "power",
    "reset",
    "provision",
)


class LinkView(msgspec.Struct, frozen=True):
    """What the gateway knows of a device; assertions on it hold for any firmware.

    Attributes:
        present: the device has a connection that owns its route.
        session: its session id; empty while it is not present.
        connections: how many of its sockets are open, those on their way out included.
        arrivals: how often it became present or its route changed hands, since the gateway started.
        close_code: of the connection that ended last; None if none has.
    """

    present: bool
    session: str
    connections: int
    arrivals: int
    close_code: int | None


class Settings(msgspec.Struct, frozen=True):
    """What a device reads from its NVS when it connects.

    Attributes:
        url: where it connects to, as the OTA answer would tell it.
        token: ``Bearer`` is put before it if it has no space; empty: no Authorization header.
        framing: version of its binary frames: 1, 2 or 3.
    """

    url: str
    token: str = ""
    framing: int = 1


class Device(Protocol):
    """One device, whatever it is made of; all calls come from one event loop.

    Calls that wait take ``timeout`` in seconds and raise `harness.errors.ExpectationFailed`, an AssertionError, when
    it is over. Cancelling a call leaves the device as it is: what was sent is sent, what is unread stays unread.

    Attributes:
        name: what tests and reports call it.
        device_id: what the gateway calls it.
        body: what it is made of.
        capabilities: what it can be asked for; anything else raises `harness.errors.Misuse`.
    """

    name: str
    device_id: str
    body: Body
    capabilities: frozenset[Capability]

    @property
    def link(self) -> LinkView:
        """What the gateway knows of it; `Misuse` where the gateway does not tell (`GatewayUnderTest.capabilities`)."""
        ...

    # --- connecting ---------------------------------------------------------------------------------------------

    async def connect(self, timeout: float = ...) -> None:
        """Open a new connection, as far as the answer to the upgrade; one that was open is cut first.

        Raises:
            UpgradeRefused: with the HTTP status.
            CannotConnect: no connection, or no answer, in time.
        """

    async def hello(self, timeout: float = ..., **fields: Any) -> Message:
        """Say hello and return the answer; ``fields`` are to be other than usual."""
        ...

    async def go_online(self, timeout: float = ...) -> None:
        """`connect` and `hello`: from here on the gateway delivers to it."""

    # --- talking ------------------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any] | msgspec.Struct) -> None:
        """Send a JSON message; in the order of the calls. Raises `NotConnected` when there is no connection."""

    async def send_audio(self, packet: bytes, timestamp_ms: int = 0) -> None:
        """Send one Opus packet, framed in the device's version."""

    async def expect(self, wanted: Wanted, timeout: float = ..., **fields: Any) -> Message:
        """Take and return the first unread message that is wanted and has these fields; earlier ones stay unread."""
        ...

    async def expect_nothing(self, wanted: Wanted, seconds: float, **fields: Any) -> None:
        """Wait so long and see no such message, unread or new."""

    async def expect_close(self, timeout: float = ...) -> int:
        """Wait for a Close frame, or the end of the connection, and return the code; 1006 without a frame."""
        ...

    # --- going away ---------------------------------------------------------------------------------------------

    async def close(self, code: int = ..., reason: str = ...) -> None:
        """Leave politely: send a Close frame and wait for the end. No xiaozhi firmware does, other clients do."""

    def cut(self) -> None:
        """End the TCP connection without a Close frame, as the firmware does."""

    def vanish(self) -> None:
        """Read, answer and send nothing any more, while the connection stays: out of the Wi-Fi's reach."""

    # --- the board ----------------------------------------------------------------------------------------------

    async def power_off(self) -> None:
        """Take its power: the gateway is not told. Idempotent."""

    async def power_on(self) -> None:
        """Give it power again; it boots, and connects when it is told to (the firmware: on a wake word). Idempotent."""

    async def reset(self) -> None:
        """Press its reset button and have it go online again; the connection it had is left to the gateway."""

    async def provision(self, settings: Settings) -> None:
        """Write its settings; in force from its next `connect`."""

    async def aclose(self) -> None:
        """Give up everything it holds; idempotent."""
