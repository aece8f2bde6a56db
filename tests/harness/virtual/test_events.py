"""The watch that keeps events and waits for them."""

from __future__ import annotations

import threading

import pytest

from harness.errors import ExpectationFailed
from harness.virtual import events
from harness.virtual.events import Recorder


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (events.PoweredOn(1.0), "power on"),
        (events.PoweredOff(1.0, "pulled"), "power off: pulled"),
        (events.Reset(1.0, "panic", False), "reset (panic), runs what is flashed"),
        (events.Reset(1.0, "power_on", True), "reset (power_on), download mode"),
        (events.StubStarted(1.0), "a flasher stub was uploaded"),
        (events.UnknownCommand(1.0, 0xEE, True), "the stub does not know the command 0xee"),
        (events.UnknownCommand(1.0, 0x14, False), "the ROM does not know the command 0x14"),
        (events.RamAppStarted(1.0, 0x40010000), "a program in RAM was entered at 0x40010000; nothing of it executes"),
        (events.FlashErased(1.0, 0x1000, 4096), "flash erased: 4,096 bytes at 0x1000"),
        (events.FlashWritten(1.0, 0x1000, 10), "flash written: 10 bytes at 0x1000"),
        (events.FaultStruck(1.0, "brown-out"), "fault: brown-out"),
        (events.ClientConnected(1.0, "rfc2217://h:1"), "a host has opened rfc2217://h:1"),
        (events.ClientDisconnected(1.0, "rfc2217://h:1"), "the host at rfc2217://h:1 has gone"),
    ],
)
def test_words(event, words):
    """Each says what happened."""
    assert str(event) == words


def test_events_of_a_kind():
    """In order, and none after they were forgotten."""
    recorder = Recorder()
    for event in (events.PoweredOn(1.0), events.PoweredOff(2.0, "why"), events.PoweredOn(3.0)):
        recorder(event)

    assert recorder.of(events.PoweredOn) == [events.PoweredOn(1.0), events.PoweredOn(3.0)]
    assert recorder.wait_for(events.PoweredOn, 2) == events.PoweredOn(3.0)
    recorder.clear()
    assert recorder.of(events.PoweredOn) == []


def test_waits_for_what_comes_later():
    """The wait ends with the event, from whatever thread it comes."""
    recorder = Recorder()
    timer = threading.Timer(0.05, recorder, (events.PoweredOn(1.0),))
    timer.start()

    assert recorder.wait_for(events.PoweredOn) == events.PoweredOn(1.0)
    timer.join()


def test_what_does_not_come():
    """The error says what did."""
    recorder = Recorder()
    recorder(events.PoweredOn(1.0))

    with pytest.raises(ExpectationFailed, match=r"2 x PoweredOn.*there were 1; what happened last: PoweredOn"):
        recorder.wait_for(events.PoweredOn, 2, timeout=0.02)
