"""Frames, fast: cutting complete data frames out of received bytes, and framing what is sent.

Traffic is short, masked, unfragmented text and binary frames (RFC 6455 5.2); they are cut and unmasked here.
Everything else (control frames, fragments, whatever breaks the rules) is handed on as it came, for
`websockets.server.ServerProtocol` to judge, so that there is one authority on RFC 6455 and this file has no opinions.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from websockets.frames import Opcode

try:  # the C extension of websockets; absent on platforms without a wheel
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_TEXT = 0x80 | Opcode.TEXT
_BINARY = 0x80 | Opcode.BINARY
_SHORT_HEADERS = {first: [bytes((first, size)) for size in range(126)] for first in (_TEXT, _BINARY)}
_medium_header = struct.Struct(">BBH").pack
_long_header = struct.Struct(">BBQ").pack


def text_frame(payload: bytes) -> bytes:
    """Frame a text message, unmasked, as a server sends it."""
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """Frame a binary message, unmasked, as a server sends it."""
    return _frame(_BINARY, payload)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return _SHORT_HEADERS[first][size] + payload
    if size < 65536:
        return _medium_header(first, 126, size) + payload
    return _long_header(first, 127, size) + payload


class FrameCutter:
    """Cuts the bytes of one connection into frames; pure, keeps nothing but what callers set.

    Args:
        on_text, on_binary: take the payload of a complete, unfragmented message.
        on_other: takes the bytes of one complete frame of another kind, or, once ``broken``, all bytes that come.
        text_limit, binary_limit: largest payloads; a longer one is announced by ``on_too_big(opcode)`` as soon as its
            header is there, and nothing after it is looked at.

    Attributes:
        broken: the bytes cannot be a frame that is allowed here; whoever judges them gets everything from here on,
            since only he knows where the next frame would begin.
        fragmented: set by the owner while a fragmented message is being received: data frames then go to ``on_other``.
        stopped: set by the owner, usually from within a callback, to have the rest of the bytes left alone.
    """

    __slots__ = (
        "_binary_limit",
        "_least_limit",
        "_on_binary",
        "_on_other",
        "_on_text",
        "_on_too_big",
        "_text_limit",
        "broken",
        "fragmented",
        "stopped",
    )

    def __init__(
        self,
        on_text: Callable[[bytes], None],
        on_binary: Callable[[bytes], None],
        on_other: Callable[[bytes], None],
        on_too_big: Callable[[int], None],
        text_limit: int,
        binary_limit: int,
    ) -> None:
        self._on_text = on_text
        self._on_binary = on_binary
        self._on_other = on_other
        self._on_too_big = on_too_big
        self._text_limit = text_limit
        self._binary_limit = binary_limit
        self._least_limit = min(text_limit, binary_limit)
        self.broken = False
        self.fragmented = False
        self.stopped = False

    def cut(self, buffer: bytearray, size: int) -> tuple[int, int]:
        """Cut the frames that are complete in ``buffer[:size]``, handing each on in order.

        Returns:
            How many bytes were used, and how many frames that were. The rest begins an incomplete frame, or, where
            the owner has stopped it, is what was left alone.
        """
        if self.broken and not self.stopped:
            self._on_other(bytes(buffer[:size]))
            return size, 1
        position = 0
        frames = 0
        while size - position >= 2 and not self.stopped:
            first = buffer[position]
            second = buffer[position + 1]
            plain = (first == _TEXT or first == _BINARY) and second >= 128 and not self.fragmented
            if not plain and not _may_be_a_frame(first, second):
                self.broken = True
                self._on_other(bytes(buffer[position:size]))
                return size, frames + 1
            length = second & 127
            body = position + 6
            if length >= 126:
                body = position + (8 if length == 126 else 14)
                if body > size:
                    break
                length = int.from_bytes(buffer[position + 2 : body - 4], "big")
            if length > self._least_limit and self._is_too_big(first & 15, length):
                self._on_too_big(first & 15)
                return size, frames + 1
            end = body + length
            if end > size:
                break
            frames += 1
            if plain:
                payload = apply_mask(buffer[body:end], buffer[body - 4 : body])
                position = end
                if first == _TEXT:
                    self._on_text(payload)
                else:
                    self._on_binary(payload)
            else:
                self._on_other(bytes(buffer[position:end]))
                position = end
        return position, frames

    def _is_too_big(self, opcode: int, length: int) -> bool:
        if opcode == Opcode.TEXT:
            return length > self._text_limit
        if opcode == Opcode.BINARY:
            return length > self._binary_limit
        # of a continuation, only the owner knows what it continues
        return opcode == Opcode.CONT and length > max(self._text_limit, self._binary_limit)


def _may_be_a_frame(first: int, second: int) -> bool:
    """Whether a first and second byte may begin a masked frame without extensions; the length is judged elsewhere."""
    if second < 128 or first & 0x70:  # unmasked, or reserved bits set
        return False
    opcode = first & 15
    if opcode >= 8:  # a control frame: known, final, at most 125 bytes
        return opcode <= Opcode.PONG and first >= 128 and second & 127 < 126
    return opcode <= Opcode.BINARY
