"""What a device's side reports as it happens: frames that pass, and what happens to its link without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec
from websockets.frames import Opcode


class FramePassed(msgspec.Struct, frozen=True):
    """One whole message, or one control frame, between a device and the gateway, as the device saw it.

    Attributes:
        at: loop time.
        device: what the device is called in reports.
        sent: the device sent it.
        opcode: what it is.
        payload: its bytes, unmasked.
    """

    at: float
    device: str
    sent: bool
    opcode: Opcode
    payload: bytes


class Happened(msgspec.Struct, frozen=True):
    """Something happened to a device or its link without a frame: it connected, was refused, lost its power.

    Attributes:
        at: loop time.
        device: what the device is called in reports.
        what: in words.
        fault: a test did this on purpose, to see what comes of it.
    """

    at: float
    device: str
    what: str
    fault: bool = False


class ConsoleSaid(msgspec.Struct, frozen=True):
    """A line that a board printed.

    Attributes:
        at: loop time.
        device: what the board is called in reports.
        text: the line, without colours.
    """

    at: float
    device: str
    text: str


Watch: TypeAlias = Callable[[FramePassed | Happened], None]
"""Is shown each record as it happens, in the loop, in order."""


def unwatched(_: FramePassed | Happened) -> None:
    """Look at nothing."""


class WireOpened(msgspec.Struct, frozen=True):
    """A device's upgrade was answered with 101, as someone between the device and the gateway saw it.

    Attributes:
        at: loop time.
        connection: its number; no other of the same process has it.
        headers: of the device's request, names in lower case.
    """

    at: float
    connection: int
    headers: dict[str, str]


class WireFrame(msgspec.Struct, frozen=True):
    """One whole message, or one control frame, that went by.

    Attributes:
        at: loop time.
        connection: the one of its `WireOpened`.
        sent: the device sent it.
        opcode: what it is.
        payload: its bytes, unmasked.
    """

    at: float
    connection: int
    sent: bool
    opcode: Opcode
    payload: bytes


class WireClosed(msgspec.Struct, frozen=True):
    """The connection is gone on one side at least.

    Attributes:
        at: loop time.
        connection: the one of its `WireOpened`.
        why: in words.
    """

    at: float
    connection: int
    why: str


WireRecord: TypeAlias = WireOpened | WireFrame | WireClosed
"""What passes between a device and the gateway, seen from between them."""
