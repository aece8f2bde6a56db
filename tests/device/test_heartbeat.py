"""Pings, keepalive, liveness: at and past each edge. Times are binary fractions, so that the edges are exact."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import HeartbeatConfig
from gateway.device.heartbeat import Beat, Due, Heartbeat

CALM = HeartbeatConfig(pongs_per_second=4, pong_burst=16)  # excess is bridged for 4 s, as with the defaults
NOTHING_RUNS = {"in_meeting": False, "busy": False}


def heartbeat(**changed) -> Heartbeat:
    """Make the heartbeat of a connection that opened at 0, with 4 pongs per second and a burst of 16."""
    return Heartbeat(HeartbeatConfig(**{"pongs_per_second": 4, "pong_burst": 16, **changed}), 0.0)


def storm(beats: Heartbeat, start: float, end: float, every: float) -> list[tuple[float, Beat]]:
    """Ping at a steady pace, both ends included; when each ping came and what it got."""
    count = int((end - start) / every) + 1
    return [(start + i * every, beats.on_ping(start + i * every)) for i in range(count)]


def first(answers: list[tuple[float, Beat]], beat: Beat) -> float | None:
    """When a beat was given first."""
    return next((when for when, given in answers if given is beat), None)


# --- the budget of pings -----------------------------------------------------------------------------------------


def test_a_burst_is_answered_and_one_more_is_not():
    """Sixteen at once, then one for each quarter of a second."""
    beats = heartbeat()
    assert [beats.on_ping(0) for _ in range(16)] == [Beat.ANSWER] * 16
    assert beats.on_ping(0) is Beat.DROP_AND_TELL
    assert beats.on_ping(0.125) is Beat.DROP
    assert beats.on_ping(0.25) is Beat.ANSWER


def test_the_wire_s_own_numbers_are_the_defaults():
    """5 per second, burst 20, 10 s."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    answers = storm(beats, 0.0, 9.9375, 1 / 64)
    assert sum(beat is Beat.ANSWER for _, beat in answers) == 20 + 49
    assert first(answers, Beat.CLOSE) is None


def test_device_is_told_once_in_ten_seconds():
    """The first dropped ping is answered with an error, the others of the next 10 s with silence."""
    beats = heartbeat(storm_close_after=1000.0)
    answers = storm(beats, 0.0, 40.0, 0.125)
    told = [when for when, beat in answers if beat is Beat.DROP_AND_TELL]
    began = told[0]
    assert len(told) == 4
    for number, when in enumerate(told):
        # a ping that is due to be told about may be one that is answered
        assert began + 10 * number <= when <= began + 10 * number + 0.25 * number


@pytest.mark.parametrize("every", [1 / 8, 1 / 1024], ids=["8/s", "1024/s"])
def test_ten_seconds_of_excess_close(every):
    """Counted from the first dropped ping; that some are answered all the time changes nothing."""
    beats = heartbeat()
    answers = storm(beats, 0.0, 20.0, every)
    began = first(answers, Beat.DROP_AND_TELL)
    closed = first(answers, Beat.CLOSE)
    assert began + 10 <= closed <= began + 10.25  # the very next one to be dropped
    assert any(beat is Beat.ANSWER for when, beat in answers if began < when < closed)


def test_excess_a_moment_short_of_ten_seconds_does_not_close():
    """At 10 s it does."""
    for last, beat in ((9.875, Beat.DROP), (10.0, Beat.CLOSE)):
        beats = heartbeat()
        for second in range(10):
            storm(beats, float(second), float(second), 1)
            for _ in range(40):
                beats.on_ping(float(second))
        for _ in range(40):
            given = beats.on_ping(last)
        assert given is beat


def test_gulps_four_seconds_apart_are_one_storm():
    """A read budget hands a storm over in gulps; in 4 s the whole budget is refilled, and used up again."""
    beats = heartbeat()
    answers = [(now, beats.on_ping(now)) for now in (0.0, 4.0, 8.0, 12.0) for _ in range(100)]
    assert first(answers, Beat.CLOSE) == 12.0


def test_longer_pause_ends_the_excess():
    """Past the time in which the budget is full again, what follows is a new burst."""
    beats = heartbeat()
    answers = [(now, beats.on_ping(now)) for now in (0.0, 4.125, 8.25, 12.375, 16.5) for _ in range(100)]
    assert first(answers, Beat.CLOSE) is None


def test_device_that_keeps_to_its_rate_is_never_told():
    """As fast as the budget allows, for an hour."""
    beats = heartbeat()
    assert {beat for _, beat in storm(beats, 0.0, 3600.0, 0.25)} == {Beat.ANSWER}


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 640), st.integers(1, 40)), min_size=1, max_size=40))
def test_never_more_answers_than_burst_and_rate(gulps):
    """In any interval, however the pings come; and the storm rule is the one that is written down."""
    beats = Heartbeat(CALM, 0.0)
    now = 0.0
    answered: list[float] = []
    dropped: list[float] = []
    for pause, count in gulps:
        now += pause / 64
        for _ in range(count):
            beat = beats.on_ping(now)
            if beat is Beat.ANSWER:
                answered.append(now)
                continue
            began = now
            for then in reversed(dropped):
                if began - then > 4:
                    break
                began = then
            dropped.append(now)
            assert (beat is Beat.CLOSE) is (now - began >= 10)
    for i, start in enumerate(answered):
        for j in range(i, len(answered)):
            assert j - i + 1 <= 16 + 4 * (answered[j] - start)


# --- silence -----------------------------------------------------------------------------------------------------


def test_keepalive_is_due_after_100_seconds_of_downlink_silence():
    """At 100 s, not before; and again 100 s after it."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    assert beats.next_deadline(**NOTHING_RUNS) == (100.0, Due.KEEPALIVE)
    assert beats.due(99.75, **NOTHING_RUNS) is None
    assert beats.due(100.0, **NOTHING_RUNS) is Due.KEEPALIVE
    assert beats.due(100.0, **NOTHING_RUNS) is None
    assert beats.next_deadline(**NOTHING_RUNS) == (200.0, Due.KEEPALIVE)


def test_what_is_sent_puts_the_keepalive_off_and_what_is_received_does_not():
    """The firmware counts data frames that it gets."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    beats.on_received(50.0)
    assert beats.next_deadline(**NOTHING_RUNS) == (100.0, Due.KEEPALIVE)
    beats.on_sent(50.0)
    assert beats.next_deadline(**NOTHING_RUNS) == (150.0, Due.KEEPALIVE)


@pytest.mark.parametrize(("in_meeting", "limit"), [(False, 600.0), (True, 1800.0)])
def test_silent_peer_is_closed_at_its_limit(in_meeting, limit):
    """600 s after the last frame, three times as long in a meeting, where people listen."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    beats.on_received(40.0)
    beats.on_sent(39.75 + limit)
    assert beats.due(39.75 + limit, in_meeting=in_meeting, busy=False) is None
    assert beats.next_deadline(in_meeting=in_meeting, busy=False) == (40.0 + limit, Due.IDLE_CLOSE)
    assert beats.due(40.0 + limit, in_meeting=in_meeting, busy=False) is Due.IDLE_CLOSE


def test_peer_that_never_said_anything_is_closed_too():
    """Its silence counts from the opening."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    assert beats.due(600.0, **NOTHING_RUNS) is Due.IDLE_CLOSE


def test_nobody_is_closed_in_mid_utterance():
    """However long it takes; when it is over, the silence before counts."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    assert beats.due(6000.0, in_meeting=False, busy=True) is Due.KEEPALIVE
    assert beats.due(6000.0, in_meeting=False, busy=True) is None
    assert beats.next_deadline(in_meeting=True, busy=True) == (6100.0, Due.KEEPALIVE)
    assert beats.due(6000.0, **NOTHING_RUNS) is Due.IDLE_CLOSE


def test_the_gravest_comes_first():
    """Nothing is sent to a peer that is about to be closed, even if that was due earlier."""
    beats = Heartbeat(HeartbeatConfig(), 0.0, control_pings=True)
    assert beats.due(700.0, **NOTHING_RUNS) is Due.IDLE_CLOSE


def test_control_pings_are_for_those_who_opted_in():
    """Older firmware closes on them."""
    beats = Heartbeat(HeartbeatConfig(), 0.0)
    asked = {beats.due(float(now), **NOTHING_RUNS) for now in range(600)}
    assert asked == {None, Due.KEEPALIVE}


def test_control_ping_asks_a_silent_device_every_20_seconds():
    """A device that talks is there; it is asked 20 s after its last frame, and 20 s after each ping."""
    beats = Heartbeat(HeartbeatConfig(), 0.0, control_pings=True)
    assert beats.next_deadline(**NOTHING_RUNS) == (20.0, Due.CONTROL_PING)
    beats.on_received(15.0)
    assert beats.due(34.75, **NOTHING_RUNS) is None
    assert beats.due(35.0, **NOTHING_RUNS) is Due.CONTROL_PING
    assert beats.due(35.0, **NOTHING_RUNS) is None
    assert beats.next_deadline(**NOTHING_RUNS) == (55.0, Due.CONTROL_PING)


def test_control_pings_do_not_put_the_keepalive_off():
    """The firmware's 120 s do not see control frames."""
    beats = Heartbeat(HeartbeatConfig(), 0.0, control_pings=True)
    due = []
    for now in range(101):
        while (what := beats.due(float(now), **NOTHING_RUNS)) is not None:
            due.append((now, what))
    assert due == [
        *((now, Due.CONTROL_PING) for now in (20, 40, 60, 80)),
        (100, Due.KEEPALIVE),
        (100, Due.CONTROL_PING),
    ]


@settings(deadline=None)
@given(
    traffic=st.lists(st.tuples(st.integers(1, 4 * 250), st.booleans()), max_size=40),
    in_meeting=st.booleans(),
    control_pings=st.booleans(),
)
def test_one_lazy_timer_is_enough(traffic, in_meeting, control_pings):
    """Frames never touch the timer; still everything happens when it is due, neither late nor early."""
    beats = Heartbeat(HeartbeatConfig(), 0.0, control_pings=control_pings)
    idle_limit = 1800.0 if in_meeting else 600.0
    now = sent = received = pinged = 0.0
    timer = beats.next_deadline(in_meeting=in_meeting, busy=False)[0]
    fired = 0
    for pause, uplink in [*traffic, (4 * 2000, True)]:
        frame = now + pause / 4
        while timer <= frame:
            fired += 1
            now = timer
            while (due := beats.due(now, in_meeting=in_meeting, busy=False)) is not None:
                if due is Due.IDLE_CLOSE:
                    assert now - received == idle_limit
                    assert fired < 2 + now / 10
                    return
                if due is Due.KEEPALIVE:
                    assert now - sent == 100
                    sent = now
                else:
                    assert now - max(received, pinged) == 20
                    pinged = now
            assert now - sent < 100
            assert now - received < idle_limit
            timer = beats.next_deadline(in_meeting=in_meeting, busy=False)[0]
            assert timer > now
        now = frame
        if uplink:
            beats.on_received(now)
            received = now
        else:
            beats.on_sent(now)
            sent = now
    pytest.fail("a peer that was silent for 2000 s was not closed")
