"""SLIP frames, in pieces of any size, and with anything between them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.virtual.slip import LONGEST, SlipDecoder, decode, encode

PAYLOADS = st.lists(
    st.lists(st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"a", b"\0"]), min_size=1).map(b"".join), max_size=6
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data, cut at these places."""
    ends = [*sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_wire_format():
    """RFC 1055: END and ESC are escaped, and each frame is between two ENDs."""
    assert encode(b"\xc0\xdb\x01") == b"\xc0\xdb\xdc\xdb\xdd\x01\xc0"


@given(PAYLOADS, st.lists(st.integers(0, 200)))
def test_any_split(payloads, cuts):
    """Frames come out as they went in, whatever pieces they come in."""
    decoder, stream = SlipDecoder(), b"".join(map(encode, payloads))

    assert [frame for piece in pieces(stream, cuts) for frame in decoder.feed(piece)] == payloads


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)), PAYLOADS.filter(bool))
def test_noise_costs_no_frame(noise, cuts, payloads):
    """Whatever comes before, the frames come out, with noise before them at most."""
    decoder, stream = SlipDecoder(), noise + b"".join(map(encode, payloads))
    frames = [frame for piece in pieces(stream, cuts) for frame in decoder.feed(piece)]

    assert frames[-len(payloads) :] == payloads


def test_noise_before_the_first_frame():
    """It is no frame."""
    assert list(SlipDecoder().feed(b"noise\xc0ab\xc0")) == [b"ab"]


def test_frames_may_share_their_ends():
    """One END between two frames is enough, and several are none."""
    assert list(SlipDecoder().feed(b"\xc0\xc0\xc0ab\xc0cd\xc0\xc0")) == [b"ab", b"cd"]


def test_longest_frame():
    """A frame at the limit comes out; a longer one is dropped, and the next one comes out again."""
    decoder = SlipDecoder()

    assert list(decoder.feed(b"\xc0" + b"a" * LONGEST + b"\xc0")) == [b"a" * LONGEST]
    assert list(decoder.feed(b"a" * LONGEST)) == []
    assert list(decoder.feed(b"aa")) == []
    assert list(decoder.feed(b"its end\xc0b\xc0")) == [b"b"]


def test_escapes_that_mean_nothing():
    """They stay as they are: what is wrong in them is found by who reads the frame."""
    assert decode(b"\xdb\x01\xdb") == b"\xdb\x01\xdb"
