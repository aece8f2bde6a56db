"""Binary framing, versions 1, 2 and 3, both ways: an Opus packet, and what stands before it.

======= ========================================================================================================
version header, big endian
======= ========================================================================================================
1       none: the frame is the packet
2       16 bytes: u16 version (2), u16 type (0 Opus, 1 JSON), u32 reserved, u32 timestamp in ms, u32 payload size
3       4 bytes: u8 type (0 Opus), u8 reserved, u16 payload size
======= ========================================================================================================

The version is the connection's, from its upgrade request, and holds both ways. The firmware believes the size that
it reads: a packet framed for another version, or with a wrong size, makes it read tens of kilobytes past the frame,
and crash. So nothing here takes a size on trust, and nothing leaves with a size that is not exact.
"""

from __future__ import annotations

import struct
from enum import Enum

import msgspec

from gateway.errors import BadAudioFrame

VERSIONS = (1, 2, 3)
"""The framing versions there are."""

_HEADER_2 = struct.Struct(">HHIII")
_HEADER_3 = struct.Struct(">BBH")
_LARGEST_3 = 0xFFFF  # of the u16 size field
_U32 = 0xFFFFFFFF


class FrameKind(Enum):
    """What a frame carries; the numbers are those of the wire's type field."""

    OPUS = 0
    JSON = 1
    """A text message in a binary frame: version 2 has it, and it is handled as if it had come as text."""


class AudioFrame(msgspec.Struct, frozen=True):
    """One binary frame, taken apart.

    Attributes:
        kind: what the payload is.
        payload: one Opus packet, or the UTF-8 text of a JSON message; never empty.
        timestamp_ms: the sender's clock, version 2 only; else 0. It wraps after 49.7 days and is not to be trusted.
    """

    kind: FrameKind
    payload: bytes
    timestamp_ms: int = 0


def pack(version: int, packet: bytes, timestamp_ms: int = 0) -> bytes:
    """Frame one Opus packet for a connection.

    Args:
        version: framing version of the connection.
        packet: one Opus packet.
        timestamp_ms: any clock in milliseconds; brought into 32 bits, and only version 2 carries it.

    Raises:
        ValueError: the packet is empty (Opus has no such packet), or too long for version 3's 16-bit size, or there
            is no such version.
    """
    if not packet:
        raise ValueError("expected an Opus packet, got no bytes")
    if version == 1:
        return packet
    if version == 2:
        return _HEADER_2.pack(2, FrameKind.OPUS.value, 0, timestamp_ms & _U32, len(packet)) + packet
    if version == 3:
        if len(packet) > _LARGEST_3:
            raise ValueError(f"expected at most {_LARGEST_3} bytes for framing version 3, got {len(packet)}")
        return _HEADER_3.pack(FrameKind.OPUS.value, 0, len(packet)) + packet
    raise ValueError(f"expected framing version 1, 2 or 3, got {version}")


def unpack(version: int, frame: bytes) -> AudioFrame:
    """Take a frame apart; reserved fields are not looked at.

    Args:
        version: framing version of the connection.
        frame: the payload of one binary message, as it came from the peer.

    Raises:
        BadAudioFrame: the header is cut short, the size field is not exactly what follows the header, a version 2
            header says another version, the type is unknown, or there is no payload.
        ValueError: there is no such version.
    """
    if version == 1:
        return _audio_frame(FrameKind.OPUS, frame, 0)
    if version == 2:
        return _unpack_2(frame)
    if version == 3:
        return _unpack_3(frame)
    raise ValueError(f"expected framing version 1, 2 or 3, got {version}")


def _unpack_2(frame: bytes) -> AudioFrame:
    if len(frame) < _HEADER_2.size:
        raise BadAudioFrame(f"expected a header of {_HEADER_2.size} bytes, got {len(frame)} bytes in all")
    version, kind, _, timestamp_ms, size = _HEADER_2.unpack_from(frame)
    if version != 2:
        raise BadAudioFrame(f"expected version 2 in the header, got {version}")
    if kind not in (FrameKind.OPUS.value, FrameKind.JSON.value):
        raise BadAudioFrame(f"expected type 0 (Opus) or 1 (JSON), got {kind}")
    return _audio_frame(FrameKind(kind), _sized(frame, _HEADER_2.size, size), timestamp_ms)


def _unpack_3(frame: bytes) -> AudioFrame:
    if len(frame) < _HEADER_3.size:
        raise BadAudioFrame(f"expected a header of {_HEADER_3.size} bytes, got {len(frame)} bytes in all")
    kind, _, size = _HEADER_3.unpack_from(frame)
    if kind != FrameKind.OPUS.value:
        raise BadAudioFrame(f"expected type 0 (Opus), got {kind}")
    return _audio_frame(FrameKind.OPUS, _sized(frame, _HEADER_3.size, size), 0)


def _sized(frame: bytes, header: int, size: int) -> bytes:
    payload = frame[header:]
    if len(payload) != size:
        raise BadAudioFrame(f"expected the {size} bytes that the header announces, got {len(payload)}")
    return payload


def _audio_frame(kind: FrameKind, payload: bytes, timestamp_ms: int) -> AudioFrame:
    if not payload:
        raise BadAudioFrame("expected a payload, got an empty one")
    return AudioFrame(kind, payload, timestamp_ms)
