"""Rows go into the lane of who speaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.lanes import LANES, OWN_LANES, lane_of, lanes
from tests.harness.report.samples import BOARD, WIFI, console, frame, row


def test_the_lanes_of_one_board():
    """Console and frames of the board come first, then gateway, network, power and faults, and the test."""
    found = lanes(WIFI.timeline)

    assert [lane.title for lane in found] == [
        "s3-box console", "s3-box frames", "gateway", "network", "power and faults", "test",
    ]  # fmt: skip
    assert sum(len(lane.marks) for lane in found) == len(WIFI.timeline)
    assert all(lane.marks == tuple(sorted(lane.marks, key=lambda mark: mark.at)) for lane in found)
    assert [bar.kind for lane in found for bar in lane.bars] == ["online", "fault"]


@pytest.mark.parametrize(
    ("of", "lane"),
    [
        (row(0, "lifecycle", "a", what="connects"), "network"),
        (row(0, "lifecycle", "a", what="has power"), "power"),
        (row(0, "lifecycle", "a", what="is provisioned: framing 3"), "power"),
        (row(0, "fault", "a", what="vanishes"), "power"),
        (row(0, "note", "test", what="flashed", lane="power"), "power"),
        (row(0, "note", "test", what="x", lane="no such lane"), "test"),
        (row(0, "of another version", "a"), "test"),
        ({}, "test"),
    ],
)
def test_lane_of(of, lane):
    """By its kind and its words, unless it says itself."""
    assert lane_of(of) == lane


@pytest.mark.parametrize(
    ("of", "tone"),
    [
        (console(0, "E (9) WS: failed"), "error"),
        (console(0, "Guru Meditation Error: Core  0 panic'ed"), "error"),
        (console(0, "rst:0xc (RTC_SW_CPU_RST),boot:0x8"), "error"),
        (console(0, "rst:0x1 (POWERON),boot:0x8"), "plain"),
        (console(0, "W (9) wifi: beacon timeout"), "warning"),
        (console(0, "I (9) boot: Error rate 0"), "plain"),
        (frame(0, "{}"), "sent"),
        (frame(0, "{}", sent=False), "received"),
        (row(0, "fault", "test", what="cut"), "fault"),
        (row(0, "event", "gateway", "a", event="SendFailed"), "lost"),
        (row(0, "lifecycle", "a", what="has lost its connection: reset"), "lost"),
        (row(0, "lifecycle", "a", what="connects"), "plain"),
    ],
)
def test_tones(of, tone):
    """What went wrong looks like it."""
    ((mark,),) = [lane.marks for lane in lanes([of])]

    assert mark.tone == tone


def test_two_devices_have_lanes_of_their_own():
    """Each device's console is above its frames."""
    rows = [frame(0, "{}"), row(1, "frame", "gateway", "b", opcode="text", text="{}"), console(2, "x")]

    assert [lane.title for lane in lanes(rows)] == ["s3-box console", "s3-box frames", "b frames"]


def test_the_rest_of_a_fleet_shares_a_lane():
    """Those that say most have lanes of their own."""
    rows = [row(n, "frame", f"d{n % 9}", "gateway", opcode="text", text="{}") for n in range(9 * 4)]
    rows += [row(99, "frame", f"d{n}", "gateway", opcode="text", text="{}") for n in range(3, 9)]
    found = lanes(rows)

    assert [lane.title for lane in found] == [f"d{n} frames" for n in range(3, 9)] + ["other devices frames"]
    assert len(found) == OWN_LANES + 1
    assert len(found[-1].marks) == 3 * 4


def test_presence_alone_makes_a_lane():
    """A device that is online without a frame in sight is seen."""
    (frames, gateway) = lanes([row(0, "event", "gateway", "a", event="DeviceOnline")])

    assert (frames.title, frames.marks, gateway.title) == ("other devices frames", (), "gateway")


def test_no_rows_no_lanes():
    """Nothing comes of nothing."""
    assert lanes([]) == ()


VALUES = st.one_of(st.text(max_size=9), st.integers(0, 9), st.floats(0, 9), st.booleans(), st.none())
KINDS = st.sampled_from(["console", "frame", "event", "lifecycle", "fault", "note", "?"])
ROWS = st.builds(
    lambda at, kind, facts: {**facts, "at": at, "kind": kind},
    st.floats(0, 1e6),
    KINDS,
    st.dictionaries(st.sampled_from(["source", "target", "line", "text", "event", "what", "code", "lane"]), VALUES),
)


@given(st.lists(ROWS, max_size=20))
def test_no_row_is_lost(rows):
    """Whatever rows hold, each is in one lane, printable and on one line."""
    found = lanes(rows)

    assert sum(len(lane.marks) for lane in found) == len(rows)
    assert all(mark.text.isprintable() and mark.who.isprintable() for lane in found for mark in lane.marks)
    assert all(lane.kind in LANES for lane in found)


def test_names_of_devices_are_printable():
    """A lane's title holds no control character of a peer."""
    (lane,) = lanes([row(0, "console", "a\x1b\u2028", line="x")])

    assert lane.title == "a\\x1b\\u2028 console"
    assert lane.device != BOARD
