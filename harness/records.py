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


Watch: TypeAlias = Callable[[FramePassed | Happened], None]
"""Is shown each record as it happens, in the loop, in order."""


def unwatched(_: FramePassed | Happened) -> None:
    """Look at nothing."""
