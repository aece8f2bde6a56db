"""What a host tells a board through a port, whatever the port is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import msgspec


class Received(msgspec.Struct, frozen=True):
    """Bytes for the chip's UART."""

    data: bytes


class Lines(msgspec.Struct, frozen=True):
    """Modem lines, true where asserted; None: as it is."""

    dtr: bool | None = None
    rts: bool | None = None


class Purge(msgspec.Struct, frozen=True):
    """Forget what has not been sent to the host yet."""


class SendRaw(msgspec.Struct, frozen=True):
    """An answer of the port itself, as it goes over the wire."""

    data: bytes


Told: TypeAlias = Received | Lines | Purge | SendRaw


class Conversation(Protocol):
    """One client's connection, from its first byte on, without I/O.

    Attributes:
        baud: what the client has set; None: this kind of port knows no baud rates.
    """

    baud: int | None

    def encode(self, data: bytes) -> bytes:
        """Return bytes of the UART as they go over the wire."""
        ...

    def received(self, data: bytes) -> Iterator[Told]:
        """Take bytes as they come in, in pieces of any size; yield what they tell, in order."""
        ...

    def ended(self) -> Iterator[Told]:
        """Yield what it tells the board that the client has gone."""
        ...


class HostPort(Protocol):
    """A port, as the board has it."""

    @property
    def baud(self) -> int | None:
        """Of the host at its other end; None: this kind of port knows no baud rates."""
        ...

    def deliver(self, data: bytes) -> None:
        """Take bytes for the host; any thread may call, and never waits."""

    def close(self) -> None:
        """End it, its client and its thread; idempotent."""


class BoardSide(Protocol):
    """The board, as its ports have it; any thread may call."""

    def host_sent(self, data: bytes, baud: int | None) -> None:
        """Take bytes for the chip's UART."""

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Take a change of the modem lines."""

    def connected(self, url: str) -> None:
        """A host has opened a port."""

    def disconnected(self, url: str) -> None:
        """It has gone."""


MakeConversation: TypeAlias = Callable[[], Conversation]
