"""The guard against devices that replace their own connection again and again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import HandoverConfig
from gateway.errors import HandshakeRefused
from gateway.identity import DeviceId
from gateway.presence import flapping as module
from gateway.presence.flapping import FlappingGuard

BOARD = DeviceId("a0:b1:c2:d3:e4:f5")
OTHER = DeviceId("002")


def flap(guard: FlappingGuard, now: float, times: int, device: DeviceId = BOARD) -> list[float | None]:
    """Replace a device's connection several times at one instant."""
    return [guard.replaced(device, now) for _ in range(times)]


def test_five_replacements_in_a_minute_are_borne_and_a_sixth_is_not():
    """The sixth begins a refusal of 5 s."""
    guard = FlappingGuard(HandoverConfig())
    assert [guard.replaced(BOARD, 10.0 * i) for i in range(5)] == [None] * 5
    assert guard.refused_for(BOARD, 40.0) == 0
    assert guard.replaced(BOARD, 59.75) == 5.0


def test_sixth_replacement_a_minute_after_the_first_is_borne():
    """Exactly one window apart is outside the window."""
    guard = FlappingGuard(HandoverConfig())
    for i in range(5):
        guard.replaced(BOARD, 10.0 * i)
    assert guard.replaced(BOARD, 60.0) is None


def test_refusal_lasts_its_time_and_not_longer():
    """5 s, counted down; over at their end."""
    guard = FlappingGuard(HandoverConfig())
    flap(guard, 100.0, 6)
    assert guard.refused_for(BOARD, 100.0) == 5.0
    assert guard.refused_for(BOARD, 104.75) == 0.25
    assert guard.refused_for(BOARD, 105.0) == 0
    assert guard.refused_for(OTHER, 100.0) == 0


def test_check_is_the_refusal_of_a_handshake():
    """429, with the rest of the time rounded up."""
    guard = FlappingGuard(HandoverConfig())
    guard.check(BOARD, 100.0)
    flap(guard, 100.0, 6)
    with pytest.raises(HandshakeRefused) as caught:
        guard.check(BOARD, 101.5)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": "4"})
    guard.check(OTHER, 101.5)
    guard.check(BOARD, 105.0)


def test_refusals_double_up_to_a_minute():
    """A device that comes back as soon as it may and is replaced again."""
    guard = FlappingGuard(HandoverConfig())
    now = 0.0
    flap(guard, now, 5)
    refusals = []
    while len(refusals) < 8:
        seconds = guard.replaced(BOARD, now)
        if seconds is not None:
            refusals.append(seconds)
            now += seconds
    assert refusals == [5, 10, 20, 40, 60, 60, 60, 60]


def test_replacements_within_a_refusal_begin_no_second_one():
    """Connections that were past the handshake already may still arrive; that is not going on flapping."""
    guard = FlappingGuard(HandoverConfig())
    flap(guard, 0.0, 6)
    assert flap(guard, 4.75, 3) == [None] * 3
    assert guard.refused_for(BOARD, 4.75) == 0.25
    assert guard.replaced(BOARD, 5.0) == 10.0


def test_quiet_window_forgets_and_less_does_not():
    """The quiet time counts from the end of the refusal: 60 s after it a device starts afresh."""
    forgotten, remembered = FlappingGuard(HandoverConfig()), FlappingGuard(HandoverConfig())
    for guard in (forgotten, remembered):
        flap(guard, 0.0, 6)  # refused until 5
    assert flap(forgotten, 65.0, 6)[-1] == 5.0
    assert flap(remembered, 64.75, 6)[-1] == 10.0


def test_device_that_flaps_only_between_its_refusals_stays_at_the_longest():
    """The longest refusal is as long as the window; it must not count as quiet, or it would never come twice."""
    guard = FlappingGuard(HandoverConfig(refusal=60.0))
    assert flap(guard, 0.0, 6)[-1] == 60.0
    assert flap(guard, 60.0, 6)[-1] == 60.0
    guard = FlappingGuard(HandoverConfig(refusal=30.0))
    assert flap(guard, 0.0, 6)[-1] == 30.0
    assert flap(guard, 89.75, 6)[-1] == 60.0


def test_first_refusal_is_never_over_the_longest():
    """Whatever was configured."""
    guard = FlappingGuard(HandoverConfig(refusal=90.0, refusal_max=60.0))
    assert flap(guard, 0.0, 6)[-1] == 60.0


def test_devices_do_not_pay_for_each_other():
    """Each device has its own count."""
    guard = FlappingGuard(HandoverConfig())
    for i in range(5):
        assert guard.replaced(BOARD, float(i)) is None
        assert guard.replaced(OTHER, float(i)) is None
    assert guard.replaced(BOARD, 5.0) == 5.0
    assert guard.refused_for(OTHER, 5.0) == 0


def test_quiet_devices_leave_the_table():
    """Memory is held for devices that were replaced lately, not for all that ever were."""
    guard = FlappingGuard(HandoverConfig())
    for number in range(100):
        guard.replaced(DeviceId(f"board-{number}"), float(number))
    assert len(guard) == 60
    guard.replaced(BOARD, 1000.0)
    assert len(guard) == 1
    assert guard.forgotten == 0


def test_table_is_bounded(monkeypatch):
    """Past the bound the device whose last replacement is longest ago is forgotten, and counted."""
    monkeypatch.setattr(module, "DEVICES", 3)
    guard = FlappingGuard(HandoverConfig())
    for number, device in enumerate(("a", "b", "c")):
        flap(guard, float(number), 6, DeviceId(device))
    flap(guard, 4.0, 1, DeviceId("a"))
    flap(guard, 4.0, 1, DeviceId("d"))
    assert len(guard) == 3
    assert guard.forgotten == 1
    assert guard.refused_for(DeviceId("a"), 4.0) == 1.0
    assert guard.refused_for(DeviceId("b"), 4.0) == 0


def test_looking_remembers_nobody():
    """Handshakes of strangers cost no memory."""
    guard = FlappingGuard(HandoverConfig())
    for number in range(100):
        guard.check(DeviceId(f"board-{number}"), 0.0)
    assert len(guard) == 0


@settings(deadline=None)
@given(pauses=st.lists(st.integers(0, 80), max_size=60))
def test_refusals_follow_the_rule(pauses):
    """Whatever the rhythm: no refusal without six in a minute, each 5 to 60 s long, doubled or begun afresh."""
    guard = FlappingGuard(HandoverConfig())
    now, until, last = 0, 0.0, 0.0
    replaced: list[int] = []
    for pause in pauses:
        now += pause
        if guard.refused_for(BOARD, now) > 0:
            assert now < until
            continue
        assert now >= until
        if replaced and now - max(replaced[-1], until) >= 60:
            last = 0.0
        replaced.append(now)
        seconds = guard.replaced(BOARD, now)
        many = len([then for then in replaced if now - then < 60]) > 5
        assert (seconds is not None) is many
        if seconds is not None:
            assert seconds == min(60.0, last * 2 or 5.0)
            last, until = seconds, now + seconds
