"""What a port has yet to send to its host: a UART does not wait for anybody, so there is an end to it."""

from __future__ import annotations

from collections.abc import Callable

ROOM = 1 << 20
"""Bytes of the UART that wait for a host that does not read: minutes of a console at 115,200 baud. Past it the oldest
are lost and counted."""

_WIRE = 1 << 16  # bytes that are encoded ahead; they cannot be taken back by a purge


def as_it_is(data: bytes) -> bytes:
    """Encode nothing."""
    return data


class Outbox:
    """Bytes on their way to a host; whoever uses it from several threads holds a lock of his own.

    Args:
        encode: what makes of bytes of the UART what goes over the wire.
        room: bytes of the UART that wait at most.

    Attributes:
        lost: bytes of the UART that were lost for lack of room.
    """

    def __init__(self, encode: Callable[[bytes], bytes] = as_it_is, room: int = ROOM) -> None:
        self.lost = 0
        self._encode = encode
        self._room = room
        self._waiting = bytearray()
        self._wire = bytearray()

    @property
    def is_empty(self) -> bool:
        """Everything is sent."""
        return not self._wire and not self._waiting

    def put(self, data: bytes) -> None:
        """Add bytes of the UART."""
        self._waiting += data
        self._encode_ahead()
        if (excess := len(self._waiting) - self._room) > 0:
            del self._waiting[:excess]
            self.lost += excess

    def put_raw(self, data: bytes) -> None:
        """Add bytes that go over the wire as they are, behind all that is encoded already."""
        self._wire += data

    def purge(self) -> None:
        """Forget the bytes of the UART that are not on the wire yet."""
        self._waiting.clear()

    def send(self, write: Callable[[bytes], int]) -> None:
        """Hand over as much as ``write`` takes; it returns how many bytes it took."""
        while self._wire:
            taken = write(bytes(self._wire[:_WIRE]))
            if not taken:
                return
            del self._wire[:taken]
            self._encode_ahead()

    def _encode_ahead(self) -> None:
        if self._waiting and len(self._wire) < _WIRE:
            piece = self._waiting[:_WIRE]
            del self._waiting[:_WIRE]
            self._wire += self._encode(bytes(piece))
