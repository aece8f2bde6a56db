"""What a proxy shows of the connections through it: who came, which bytes passed, how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

Direction: TypeAlias = Literal["to_gateway", "to_device"]
"""Which way bytes go."""
DIRECTIONS: tuple[Direction, ...] = ("to_gateway", "to_device")


class Opened(msgspec.Struct, frozen=True):
    """A device has connected to the proxy; nothing is known of the gateway yet.

    Attributes:
        at: loop time.
        connection: its number, from 1, in the order in which they came.
        peer: address of the device, ``host:port``.
    """

    at: float
    connection: int
    peer: str


class Identified(msgspec.Struct, frozen=True):
    """A device has said which one it is, in the head of its request.

    Attributes:
        at: loop time.
        connection: its number.
        device: its ``Device-Id``, as the gateway would call it.
    """

    at: float
    connection: int
    device: str


class Passed(msgspec.Struct, frozen=True):
    """Bytes were handed on to the kernel, for the side they go to.

    Attributes:
        at: loop time.
        connection: its number.
        direction: which way.
        data: the bytes.
    """

    at: float
    connection: int
    direction: Direction
    data: bytes


class Closed(msgspec.Struct, frozen=True):
    """Both sides of a connection are gone.

    Attributes:
        at: loop time.
        connection: its number.
        why: what ended it, in words.
    """

    at: float
    connection: int
    why: str


Watch: TypeAlias = Callable[[Opened | Identified | Passed | Closed], None]
"""Is shown each record as it happens, in the loop, in order."""
