"""What lasted is read off the rows that begin and end it."""

from __future__ import annotations

import pytest

from harness.faults.vocabulary import Heal, Latency, Partition, PowerCut, PowerOn, WifiOff, WifiOn
from harness.report.spans import Bar, bars
from tests.harness.report.samples import BOARD, row


def note(at: float, fault: object) -> dict[str, object]:
    """A fault as the tests' own timeline has it."""
    return row(at, "fault", "test", what=str(fault))


def test_presence():
    """A device is online from one event to the other; one that goes on is drawn to the end."""
    rows = [
        row(1.0, "event", "gateway", "a", event="DeviceOnline", because="hello"),
        row(2.0, "event", "gateway", "b", event="DeviceOnline", because="hello"),
        row(2.5, "event", "gateway", "a", event="DeviceOnline", because="handover"),
        row(3.0, "event", "gateway", "a", event="DeviceOffline"),
        row(4.0, "note", "test", what="over"),
    ]

    assert bars(rows) == (Bar("online", "a", 1.0, 3.0, "a is online"), Bar("online", "b", 2.0, 4.0, "b is online"))


def test_power():
    """A device is dark from the loss of its power to its return."""
    rows = [row(1.0, "fault", "a", what="loses power"), row(2.0, "lifecycle", "a", what="has power")]

    assert bars(rows) == (Bar("dark", "a", 1.0, 2.0, "a has no power"),)


@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        (WifiOff(on=BOARD), WifiOn(on=BOARD)),
        (PowerCut(on="gateway"), PowerOn(on="gateway")),
        (Partition(direction="to_gateway", on=BOARD), Heal(on=BOARD)),
        (Latency(seconds=0.2), Heal()),
        (Latency(seconds=0.2, on=BOARD), Heal(what="latency")),
    ],
    ids=str,
)
def test_faults_of_the_vocabulary(begins, ends):
    """Faults are read as the vocabulary writes them."""
    (bar,) = bars([note(1.0, begins), note(3.0, ends), row(9.0, "note", "test", what="over")])

    assert (bar.kind, bar.began, bar.ended, bar.text) == ("fault", 1.0, 3.0, str(begins))


def test_healing_one_fault_leaves_the_others():
    """Another fault, and one on somebody else, go on."""
    rows = [note(1.0, Latency(seconds=1.0)), note(1.0, Partition()), note(1.0, WifiOff(on="b"))]
    rows += [note(2.0, Heal(what="latency")), note(3.0, WifiOn(on="a")), row(9.0, "note", "test", what="over")]

    assert sorted((bar.text.split()[0], bar.ended) for bar in bars(rows)) == [
        ("latency", 2.0),
        ("partition", 9.0),
        ("wifi_off", 9.0),
    ]


def test_what_does_not_last_is_no_bar():
    """A cut happens, and that is all; an end without a beginning is nothing."""
    assert bars([row(0, "fault", "test", what="cut on a"), note(1, Heal()), note(2, PowerOn(on="a"))]) == ()
    assert bars([]) == ()
