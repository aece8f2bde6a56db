"""Telnet (RFC 854) as RFC 2217 needs it: what of a stream is data, and what are negotiations between the two ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240

LONGEST = 1024
"""Bytes of one subnegotiation that are kept: those of RFC 2217 have five, or the text of a signature. The rest is
dropped."""

_IAC = bytes([IAC])
_ENDS = bytes([IAC, SE])


class Negotiation(msgspec.Struct, frozen=True):
    """DO, DONT, WILL or WONT, and the option it is about."""

    verb: int
    option: int


class Subnegotiation(msgspec.Struct, frozen=True):
    """What stands between SB and SE: the option's number first."""

    payload: bytes


Item: TypeAlias = bytes | Negotiation | Subnegotiation


def escape(data: bytes) -> bytes:
    """Return data as it goes over the wire."""
    return data.replace(_IAC, _IAC + _IAC)


def negotiation(verb: int, option: int) -> bytes:
    """Return a negotiation as it goes over the wire."""
    return bytes([IAC, verb, option])


def subnegotiation(payload: bytes) -> bytes:
    """Return a subnegotiation as it goes over the wire."""
    return bytes([IAC, SB]) + escape(payload) + _ENDS


class TelnetParser:
    """Items out of a stream that comes in pieces of any size; data in pieces as large as they come."""

    def __init__(self) -> None:
        self._rest = b""  # of a command that is not complete

    def feed(self, data: bytes) -> Iterator[Item]:
        """Yield what is complete with these bytes, in order."""
        stream = self._rest + data
        self._rest = b""
        at = 0
        while at < len(stream):
            start = stream.find(_IAC, at)
            if start < 0:
                yield stream[at:]
                return
            if start > at:
                yield stream[at:start]
            item, at = self._command(stream, start)
            if at == start:  # it is not complete
                self._rest = stream[start:]
                return
            if item is not None:
                yield item

    def _command(self, stream: bytes, start: int) -> tuple[Item | None, int]:
        """Return the command that begins here and where it ends; at its own start if it is not complete."""
        verb = stream[start + 1] if start + 1 < len(stream) else None
        if verb is None:
            return None, start
        if verb == IAC:
            return _IAC, start + 2
        if verb == SB:
            return self._subnegotiation(stream, start)
        if verb not in (DO, DONT, WILL, WONT):
            return None, start + 2  # NOP, go ahead and the like: nothing to a serial port
        if start + 2 >= len(stream):
            return None, start
        return Negotiation(verb, stream[start + 2]), start + 3

    def _subnegotiation(self, stream: bytes, start: int) -> tuple[Item | None, int]:
        at = start + 2
        while (end := stream.find(_IAC, at)) >= 0 and end + 1 < len(stream):
            if stream[end + 1] == SE:
                payload = stream[start + 2 : end].replace(_IAC + _IAC, _IAC)
                return (Subnegotiation(payload) if len(payload) <= LONGEST else None), end + 2
            at = end + 2
        # what has grown too long without an end is no subnegotiation: go on behind it
        return (None, len(stream)) if len(stream) - start > 2 * LONGEST else (None, start)
