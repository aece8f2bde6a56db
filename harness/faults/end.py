"""One of the two sockets of a connection through the proxy."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol

from harness.faults.unheard import hear_again, stop_hearing
from harness.faults.way import Way

HIGH_WATER = 64 * 1024
"""Bytes that the kernel has not taken, before the other side has to wait; asyncio's default."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time at all: close() sends RST (socket(7))


class Sides(Protocol):
    """The connection that both sockets belong to."""

    def side_connected(self, end: End) -> None:
        """It is there."""
        ...

    def side_sent(self, end: End, data: bytes) -> None:
        """It has sent bytes."""
        ...

    def side_ended(self, end: End) -> None:
        """It will send no more; it can still be written to."""
        ...

    def side_lost(self, end: End, error: BaseException | None) -> None:
        """It is gone; with an error, unless it was closed here."""
        ...


class End(asyncio.Protocol):
    """A socket, and what is written to it.

    Args:
        sides: hears of it.
        into: the way that comes to it; is told when it takes no more.

    Attributes:
        peer: its address, ``host:port``.
        is_lost: whether it is gone.
    """

    def __init__(self, sides: Sides, into: Way) -> None:
        self.peer = ""
        self.is_lost = False
        self._sides = sides
        self._into = into
        self._transport: asyncio.Transport | None = None
        self._finished = False
        self._hears = True
        self._refuses = False

    # --- asyncio calls these --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.peer = ":".join(map(str, (transport.get_extra_info("peername") or ("?",))[:2]))
        if not self._hears:
            self._filter()
        self._sides.side_connected(self)

    def data_received(self, data: bytes) -> None:
        """It has sent bytes."""
        if self._refuses:
            self.reset()
        else:
            self._sides.side_sent(self, data)

    def eof_received(self) -> bool:
        """It has sent FIN; if it has got ours, nothing is left to do here."""
        if self._refuses:
            self.reset()
            return False
        self._sides.side_ended(self)
        return not self._finished

    def pause_writing(self) -> None:
        """It takes no more."""
        self._into.target_is_full(True)

    def resume_writing(self) -> None:
        """It takes more."""
        self._into.target_is_full(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.is_lost = True
        self._sides.side_lost(self, exc)

    # --- `Reader` and `Writer`: its ways call these ---------------------------------------------------------------

    def pause_reading(self) -> None:
        """Read no more."""
        if self._open is not None:
            self._open.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._open is not None:
            self._open.resume_reading()

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel; dropped if it is gone."""
        if self._open is not None:
            self._open.write(data)

    def finish(self) -> None:
        """Send FIN behind them; idempotent."""
        self._finished = True
        if self._open is not None:
            self._open.write_eof()

    def hear(self, hears: bool) -> None:
        """Hear what comes, or have the kernel drop it, data and acknowledgements, before its TCP sees it.

        One that refuses hears.
        """
        if hears != self._hears and not self._refuses:
            self._hears = hears
            self._filter()

    def _filter(self) -> None:
        if self._open is None:
            return
        sock = self._open.get_extra_info("socket")
        if self._hears:
            hear_again(sock)
        else:
            stop_hearing(sock)

    def refuse(self) -> None:
        """Answer whatever comes from now on with RST, as a kernel that knows of no such connection."""
        self.hear(True)
        self._refuses = True
        self.resume_reading()

    def reset(self) -> None:
        """Close the socket with RST."""
        if self._open is None:
            return
        self._open.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._open.abort()

    def close(self) -> None:
        """Close the socket, behind what was written."""
        if self._open is not None:
            self._open.close()

    def abort(self) -> None:
        """Close the socket, whatever it still holds."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def _open(self) -> asyncio.Transport | None:
        transport = self._transport
        return None if transport is None or transport.is_closing() else transport
