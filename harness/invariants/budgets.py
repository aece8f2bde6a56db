"""How long things may take and how much they may cost, where an invariant has a number; each with its reason."""

from __future__ import annotations

import msgspec

from gateway.protocol import limits


class Budgets(msgspec.Struct, frozen=True):
    """All numbers.

    Attributes:
        two_channels: seconds that a replaced connection may stay beside the newer one.
        recovery: seconds from the last fault until everything is as if there had been none.
        pong: seconds from a ping to its pong, on a connection that nothing has happened to.
        any_pong: the same on any connection, as long as it is open.
        queued: bytes that may wait for one device.
        queued_in_all: the same for all devices together.
        stop: seconds that a stop of the gateway may take.
    """

    two_channels: float = 2.0  # the window (1.5 s) and the close (0.3 s), and a turn of the loop
    recovery: float = 30.0  # one give-up of a device (10 s), one back-off (a few s), one retry of a message (8 s)
    pong: float = 0.25  # the way there and back on the links of the model: 2 x (20 ms + 20 ms), thrice
    any_pong: float = 15.0  # a device gives its connection up after ten seconds, and looks every four
    queued: int = limits.WRITE_BUDGET + limits.DOWNLINK_BYTES  # looked at when a frame is over it, so by that frame
    queued_in_all: int = 64 << 20  # of a hundred devices that all do not read
    stop: float = 20.0  # close timeout, handovers, features, mailbox: each bounded; all devices are gone before


DEFAULT = Budgets()
