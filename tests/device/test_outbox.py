"""The two lanes of frames that wait for one device."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.device.outbox import Outbox, Sent
from gateway.protocol import limits


def filled(control: list[bytes] | None = None, audio: list[bytes] | None = None) -> Outbox:
    """Make an outbox of four control and three audio frames at most, with these in it."""
    outbox = Outbox(4, 3)
    for frame in control or []:
        assert outbox.put_control(frame)
    for frame in audio or []:
        outbox.put_audio(frame)
    return outbox


def test_empty_outbox_has_nothing():
    """No frames, no bytes, nothing to take or drop."""
    outbox = filled()
    assert (len(outbox), outbox.size, outbox.dropped_audio) == (0, 0, 0)
    assert outbox.take(100) == []
    assert outbox.drop_audio() == 0


def test_control_goes_before_audio_and_each_lane_keeps_its_order():
    """Whatever came first."""
    outbox = filled(audio=[b"a1", b"a2"])
    outbox.put_control(b"c1")
    outbox.put_audio(b"a3")
    outbox.put_control(b"c2")
    assert outbox.take(100) == [b"c1", b"c2", b"a1", b"a2", b"a3"]


def test_control_lane_takes_its_limit_and_refuses_one_more():
    """The one too many is not queued, and those that wait are not harmed."""
    outbox = filled(control=[b"1", b"22", b"333", b"4444"])
    assert not outbox.put_control(b"55555")
    assert (len(outbox), outbox.size) == (4, 10)
    assert outbox.take(100) == [b"1", b"22", b"333", b"4444"]
    assert outbox.put_control(b"55555")


def test_control_lane_of_the_wire_holds_256():
    """256 are taken, the 257th closes the connection."""
    outbox = Outbox(limits.CONTROL_LANE, limits.AUDIO_LANE)
    assert [outbox.put_control(b"x") for _ in range(257)] == [True] * 256 + [False]


def test_audio_lane_drops_its_oldest_and_says_so():
    """Late audio is worth less than new audio; the drop is counted, and its bytes are gone."""
    outbox = filled(audio=[b"1", b"22", b"333"])
    assert outbox.dropped_audio == 0
    assert not outbox.put_audio(b"4444")
    assert (len(outbox), outbox.size, outbox.dropped_audio) == (3, 9, 1)
    assert outbox.take(100) == [b"22", b"333", b"4444"]
    assert outbox.put_audio(b"55555")


def test_audio_lane_of_the_wire_holds_two_point_four_seconds():
    """40 packets of 60 ms are kept, the 41st drops the first."""
    outbox = Outbox(limits.CONTROL_LANE, limits.AUDIO_LANE)
    assert [outbox.put_audio(bytes([n])) for n in range(41)] == [True] * 40 + [False]
    assert outbox.take(1) == [b"\x01"]


def test_full_audio_does_not_touch_control_nor_the_other_way_round():
    """The lanes are bounded one by one."""
    outbox = filled(control=[b"c"] * 4, audio=[b"a"] * 3)
    assert not outbox.put_audio(b"b")
    assert not outbox.put_control(b"d")
    assert outbox.take(100) == [b"c"] * 4 + [b"a", b"a", b"b"]


@pytest.mark.parametrize(
    ("most", "taken"), [(0, 0), (1, 1), (9, 1), (10, 1), (11, 2), (20, 2), (21, 3), (40, 4), (1000, 4)]
)
def test_take_stops_once_it_has_enough(most, taken):
    """Whole frames until the bytes are reached or passed."""
    outbox = filled(control=[b"c" * 10] * 3, audio=[b"a" * 10])
    assert len(outbox.take(most)) == taken
    assert len(outbox) == 4 - taken
    assert outbox.size == 10 * (4 - taken)


def test_a_frame_larger_than_asked_for_still_goes():
    """Else it would wait for ever."""
    outbox = filled(control=[b"c" * 5000, b"c"])
    assert outbox.take(100) == [b"c" * 5000]


def test_dropping_audio_leaves_control():
    """Speech was aborted; what was said in text is still to be sent. That is no drop for lack of room."""
    outbox = filled(control=[b"c1"], audio=[b"a1", b"a2"])
    assert outbox.drop_audio() == 2
    assert (len(outbox), outbox.size, outbox.dropped_audio) == (1, 2, 0)
    assert outbox.take(100) == [b"c1"]


def test_outcomes_read_as_words():
    """They stand in records."""
    assert {sent.value for sent in Sent} == {"written", "queued", "failed"}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("control"), st.binary(max_size=6)),
        st.tuples(st.just("audio"), st.binary(max_size=6)),
        st.tuples(st.just("take"), st.integers(0, 20)),
        st.tuples(st.just("drop"), st.none()),
    )
)


@settings(deadline=None)
@given(steps)
def test_outbox_behaves_like_two_lists(steps):
    """Any order of calls: contents, bytes and drops agree with a model made of two plain lists."""
    outbox = Outbox(4, 3)
    control: list[bytes] = []
    audio: list[bytes] = []
    dropped = 0
    for what, value in steps:
        if what == "control":
            assert outbox.put_control(value) is (len(control) < 4)
            control = [*control, value][:4]
        elif what == "audio":
            assert outbox.put_audio(value) is (len(audio) < 3)
            dropped += len(audio) == 3
            audio = [*audio, value][-3:]
        elif what == "take":
            waiting = control + audio
            count = next((n for n in range(len(waiting) + 1) if sum(map(len, waiting[:n])) >= value), len(waiting))
            assert outbox.take(value) == waiting[:count]
            control, audio = control[count:], audio[max(0, count - len(control)) :]
        else:
            assert outbox.drop_audio() == len(audio)
            audio = []
        assert len(outbox) == len(control) + len(audio)
        assert outbox.size == sum(map(len, control + audio))
        assert outbox.dropped_audio == dropped
