"""A serial port as a bare TCP connection (``socket://`` to pyserial): bytes both ways, and nothing else.

It has no baud rate and no lines, so hosts cannot reset the board through it; esptool knows that by the name.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.virtual.ports.conversation import Received, Told


class RawTcp:
    """One client's connection."""

    baud: int | None = None

    def encode(self, data: bytes) -> bytes:
        """Return them as they are."""
        return data

    def received(self, data: bytes) -> Iterator[Told]:
        """Yield them as they are."""
        yield Received(data)

    def ended(self) -> Iterator[Told]:
        """Yield nothing: the board cannot tell."""
        return iter(())
