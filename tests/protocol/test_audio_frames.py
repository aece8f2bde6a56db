"""Tests of gateway.protocol.audio_frames."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadAudioFrame
from gateway.protocol.audio_frames import VERSIONS, AudioFrame, FrameKind, pack, unpack

PACKET = b"\x58opus"


def header_2(version: int = 2, kind: int = 0, reserved: int = 0, timestamp: int = 0, size: int = len(PACKET)) -> bytes:
    """A version 2 header, right unless told otherwise."""
    return struct.pack(">HHIII", version, kind, reserved, timestamp, size)


def header_3(kind: int = 0, reserved: int = 0, size: int = len(PACKET)) -> bytes:
    """A version 3 header, right unless told otherwise."""
    return struct.pack(">BBH", kind, reserved, size)


class TestPack:
    """What devices are sent."""

    def test_version_1_is_the_bare_packet(self) -> None:
        """A version 1 device decodes the whole frame, so there is nothing but the packet."""
        assert pack(1, PACKET, 77) == PACKET

    def test_version_2_bytes(self) -> None:
        """The 16 bytes of a version 2 header stand as the firmware's struct has them."""
        assert pack(2, PACKET, 0x01020304) == bytes.fromhex("0002 0000 00000000 01020304 00000005") + PACKET

    def test_version_3_bytes(self) -> None:
        """The 4 bytes of a version 3 header stand as the firmware's struct has them."""
        assert pack(3, PACKET, 77) == bytes.fromhex("00 00 0005") + PACKET

    def test_timestamp_wraps_in_32_bits(self) -> None:
        """A gateway that has been up for 50 days still frames packets."""
        assert pack(2, PACKET, (1 << 32) + 5)[8:12] == b"\x00\x00\x00\x05"

    @pytest.mark.parametrize("version", VERSIONS)
    def test_empty_packet_is_refused(self, version: int) -> None:
        """There is no empty Opus packet, and no device is sent one."""
        with pytest.raises(ValueError, match="no bytes"):
            pack(version, b"")

    def test_version_3_takes_65535_bytes(self) -> None:
        """The largest size that 16 bits can say is framed exactly."""
        packet = bytes(65535)
        assert pack(3, packet) == b"\x00\x00\xff\xff" + packet

    def test_version_3_refuses_65536_bytes(self) -> None:
        """A size past 16 bits would be cut to 0 on the wire, so it is refused."""
        with pytest.raises(ValueError, match="at most 65535 bytes"):
            pack(3, bytes(65536))

    def test_version_2_takes_65536_bytes(self) -> None:
        """Version 2 has room for more."""
        assert pack(2, bytes(65536))[12:16] == b"\x00\x01\x00\x00"

    @pytest.mark.parametrize("version", [-1, 0, 4])
    def test_unknown_version(self, version: int) -> None:
        """A version that does not exist is our own mistake, in either direction."""
        with pytest.raises(ValueError, match="version 1, 2 or 3"):
            pack(version, PACKET)
        with pytest.raises(ValueError, match="version 1, 2 or 3"):
            unpack(version, PACKET)


class TestUnpack:
    """What devices send."""

    def test_version_1(self) -> None:
        """Every byte belongs to the packet."""
        assert unpack(1, PACKET) == AudioFrame(FrameKind.OPUS, PACKET)

    def test_version_2(self) -> None:
        """The timestamp is told, the reserved field is not looked at."""
        frame = header_2(timestamp=1234, reserved=0xDEADBEEF) + PACKET
        assert unpack(2, frame) == AudioFrame(FrameKind.OPUS, PACKET, 1234)

    def test_version_2_json(self) -> None:
        """Type 1 is a text message in a binary frame."""
        text = b'{"type":"ping"}'
        assert unpack(2, header_2(kind=1, size=len(text)) + text) == AudioFrame(FrameKind.JSON, text)

    def test_version_3(self) -> None:
        """The reserved byte is not looked at."""
        assert unpack(3, header_3(reserved=255) + PACKET) == AudioFrame(FrameKind.OPUS, PACKET)

    def test_empty_frame(self) -> None:
        """An empty version 1 frame is no packet."""
        with pytest.raises(BadAudioFrame, match="empty"):
            unpack(1, b"")

    @pytest.mark.parametrize(("version", "frame"), [(2, header_2(size=0)), (3, header_3(size=0))])
    def test_header_alone(self, version: int, frame: bytes) -> None:
        """A header that rightly announces nothing is no packet either."""
        with pytest.raises(BadAudioFrame, match="empty"):
            unpack(version, frame)

    @pytest.mark.parametrize("length", range(21))
    @pytest.mark.parametrize(("version", "header"), [(2, header_2(size=4)), (3, header_3(size=16))])
    def test_every_length_around_the_headers(self, version: int, header: bytes, length: int) -> None:
        """Of all frames of 0 to 20 bytes, only the one that is as long as it says is taken."""
        frame = (header + b"pay-load-payload")[:length]
        if length == 20:
            assert unpack(version, frame).payload == b"pay-load-payload"[: 20 - len(header)]
        else:
            with pytest.raises(BadAudioFrame):
                unpack(version, frame)

    @pytest.mark.parametrize("off_by", [-len(PACKET), -1, 1, 100, 60_000])
    @pytest.mark.parametrize("version", [2, 3])
    def test_size_must_be_exactly_what_follows(self, version: int, off_by: int) -> None:
        """A size below leaves bytes over, a size above would be read past the frame: both are refused."""
        size = len(PACKET) + off_by
        header = header_2(size=size) if version == 2 else header_3(size=size)
        with pytest.raises(BadAudioFrame):
            unpack(version, header + PACKET)

    def test_largest_size_field(self) -> None:
        """The largest announcement of each version costs nothing."""
        with pytest.raises(BadAudioFrame, match="announces"):
            unpack(2, header_2(size=0xFFFFFFFF) + PACKET)
        with pytest.raises(BadAudioFrame, match="announces"):
            unpack(3, header_3(size=0xFFFF) + PACKET)

    @pytest.mark.parametrize("version", [0, 1, 3, 0xFFFF])
    def test_version_2_header_of_another_version(self, version: int) -> None:
        """A version 2 header must say so."""
        with pytest.raises(BadAudioFrame, match="version 2 in the header"):
            unpack(2, header_2(version=version) + PACKET)

    @pytest.mark.parametrize("kind", [2, 0x0100, 0xFFFF])
    def test_version_2_unknown_type(self, kind: int) -> None:
        """Types 0 and 1 are all there are in version 2."""
        with pytest.raises(BadAudioFrame, match="type 0"):
            unpack(2, header_2(kind=kind) + PACKET)

    @pytest.mark.parametrize("kind", [1, 2, 255])
    def test_version_3_unknown_type(self, kind: int) -> None:
        """Version 3 carries Opus and nothing else."""
        with pytest.raises(BadAudioFrame, match="type 0"):
            unpack(3, header_3(kind=kind) + PACKET)

    def test_raw_opus_on_a_version_2_connection(self) -> None:
        """What a device of another version sends is refused, not decoded."""
        with pytest.raises(BadAudioFrame):
            unpack(2, bytes(range(120)))


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), st.binary(min_size=1, max_size=2000), st.integers(0, 2**32 - 1))
def test_round_trip(version: int, packet: bytes, timestamp_ms: int) -> None:
    """What is packed is unpacked again, with its time where the version carries one."""
    expected = AudioFrame(FrameKind.OPUS, packet, timestamp_ms if version == 2 else 0)
    assert unpack(version, pack(version, packet, timestamp_ms)) == expected


@settings(deadline=None)
@given(st.sampled_from(VERSIONS), st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=8))
def test_cut_short_or_with_more_behind(version: int, packet: bytes, more: bytes) -> None:
    """A sized frame is refused when any bytes are missing or left over."""
    frame = pack(version, packet)
    if version != 1:
        for wrong in (frame + more, frame[: -len(more)]):
            with pytest.raises(BadAudioFrame):
                unpack(version, wrong)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(VERSIONS), st.binary(max_size=64))
def test_junk(version: int, junk: bytes) -> None:
    """Any bytes are either refused with the one error, or end exactly where the frame ends."""
    try:
        frame = unpack(version, junk)
    except BadAudioFrame:
        return
    assert frame.payload
    assert junk.endswith(frame.payload)
    assert len(junk) - len(frame.payload) == {1: 0, 2: 16, 3: 4}[version]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([2, 3]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 12),
    st.binary(max_size=12),
)
def test_nearly_right_headers(version: int, said: int, kind: int, size: int, payload: bytes) -> None:
    """A frame is taken if, and only if, its version, type and size are right and it has a payload."""
    header = header_2(version=said, kind=kind, size=size) if version == 2 else header_3(kind=kind, size=size)
    right = kind in (0, 1) and said == 2 if version == 2 else kind == 0
    if right and size == len(payload) > 0:
        assert unpack(version, header + payload).payload == payload
    else:
        with pytest.raises(BadAudioFrame):
            unpack(version, header + payload)
