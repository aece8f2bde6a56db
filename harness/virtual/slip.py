"""SLIP (RFC 1055), as the ROM and the stub frame their packets: C0 at both ends, C0 as DB DC and DB as DB DD inside."""

from __future__ import annotations

from collections.abc import Iterator

END = b"\xc0"
LONGEST = 1 << 16
"""Bytes of a frame, still escaped, that are kept: the longest command has 16 KiB of data, at worst all escaped."""


def encode(payload: bytes) -> bytes:
    """Return a frame."""
    return END + payload.replace(b"\xdb", b"\xdb\xdd").replace(END, b"\xdb\xdc") + END


def decode(body: bytes) -> bytes:
    """Return what stands between the two ends of a frame; escapes that mean nothing are left as they are."""
    return body.replace(b"\xdb\xdc", END).replace(b"\xdb\xdd", b"\xdb")


class SlipDecoder:
    """Frames out of bytes, which may come in pieces of any size.

    What stands before the first C0 is noise. So is what stands between two frames; but as it cannot be told from a
    frame that lost its beginning, it comes out as one, and who reads frames has to be able to tell. A frame that is
    longer than `LONGEST` is dropped.
    """

    def __init__(self) -> None:
        self._body: bytearray | None = None  # None: no C0 has come yet
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the frames that are complete with these bytes, unescaped, in order; empty ones are left out."""
        *closed, rest = data.split(END)
        for piece in closed:
            self._take(piece)
            body, too_long = self._body, self._too_long
            self._body, self._too_long = bytearray(), False
            if body and not too_long:
                yield decode(bytes(body))
        self._take(rest)

    def _take(self, piece: bytes) -> None:
        if self._body is None or self._too_long:
            return
        self._body += piece
        if len(self._body) > LONGEST:
            self._body.clear()
            self._too_long = True
