"""Defects of pings: how often they are answered, what a storm costs, and what it costs others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from gateway.config import HeartbeatConfig
from gateway.device.channel import Channel, State
from gateway.device.connection import Connection
from gateway.device.heartbeat import Beat, Heartbeat
from gateway.protocol import limits
from gateway.protocol.budgets import TokenBucket
from gateway.speech.dialogue import Conversation, Dialogue
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

_HERE = "test_ping_storms.py::"
_ONCE = _HERE + "test_a_heartbeat_is_answered_once"
_CONTROL_ONCE = _HERE + "test_a_control_ping_is_answered_once"
_BEFORE_HELLO = _HERE + "test_a_heartbeat_before_hello_is_answered"
_HONEST = _HERE + "test_a_slow_but_honest_pinger_is_never_limited"
_BUDGET = _HERE + "test_a_storm_is_answered_within_its_budget"
_TOLD_ONCE = _HERE + "test_a_storm_is_told_once_that_it_is_limited"
_CALM = _HERE + "test_a_device_that_calms_down_is_answered_again"
_CLOSED = _HERE + "test_a_storm_that_goes_on_is_closed_with_4008"
_NOT_READING = _HERE + "test_a_storm_from_a_device_that_does_not_read_is_ended_in_bounded_time"
_OWN_BUDGET = _HERE + "test_a_storm_takes_nothing_from_its_neighbours_budget"
_DELAY = _HERE + "test_a_storm_does_not_delay_its_neighbours_pongs"
_IDLE = _HERE + "test_a_silent_device_is_closed_with_4003_and_one_that_pings_is_not"
_KEEPALIVE = _HERE + "test_a_device_that_is_told_nothing_is_sent_a_keepalive"
_DICTATION = _HERE + "test_pings_do_not_keep_a_dead_dictation_busy"


# --- one heartbeat --------------------------------------------------------------------------------------------------


@defect(
    "Two places of the code look for heartbeats, and each answers.",
    found_by=(_ONCE, _HONEST, "test_hello.py::test_messages_right_behind_hello_are_not_lost"),
    message="was answered more than once|an honest pinger was limited|'pong', 'pong'",
    pain_point=3,
)
def heartbeats_are_handled_in_two_places() -> Planted:
    beat = Channel._beat

    def twice(self: Channel, found: Any, now: float) -> None:
        beat(self, found, now)
        beat(self, found, now)

    return patch.object(Channel, "_beat", twice)


@defect(
    "keepalive is a message of an unknown type.",
    found_by=_ONCE + "[keepalive]",
    message="a keepalive was not answered",
)
@contextmanager
def keepalive_is_unknown() -> Iterator[None]:
    plain = frozenset((b'{"type":"ping"}', b'{"type": "ping"}'))
    with ExitStack() as both:
        both.enter_context(patch("gateway.device.channel._HEARTBEATS", ("ping",)))
        both.enter_context(patch("gateway.device.channel._PLAIN_HEARTBEATS", plain))
        yield


@defect(
    "A pong says when it was sent, as the original server's does, and is no bare pong.",
    found_by=_ONCE,
    message="has more in it than a pong",
)
def pong_has_a_timestamp() -> Planted:
    return patch("gateway.device.channel._PONG", b'{"type":"pong","timestamp":"2025-01-01 00:00:00"}')


@defect(
    "Heartbeats wait behind the gate that hello opens.",
    found_by=(_BEFORE_HELLO, "test_hello.py::test_a_client_without_an_id_has_to_say_something"),
    message="a heartbeat before hello was not answered|expected a message .pong., but .* it had not come",
)
def heartbeats_wait_for_hello() -> Planted:
    beat = Channel._beat

    def gated(self: Channel, found: Any, now: float) -> None:
        if self.introduced:
            beat(self, found, now)

    return patch.object(Channel, "_beat", gated)


@defect(
    "Pings of RFC 6455 are not answered.",
    found_by=(_CONTROL_ONCE, _BUDGET + "[of_control_pings]"),
    message="a control ping was not answered|pings within the budget were not answered",
)
def control_pings_are_not_answered() -> Planted:
    received = Channel.ping_received

    def dropping(self: Channel) -> bool:
        received(self)
        return False

    return patch.object(Channel, "ping_received", dropping)


# --- the budget -----------------------------------------------------------------------------------------------------


@defect(
    "Every ping is answered, however many there are.",
    found_by=(_BUDGET, _TOLD_ONCE, _CLOSED, _NOT_READING),
    message="the pings over the budget were answered|was not told|a storm was not closed|does not read was not ended",
    pain_point=3,
    hole=True,
)
def pings_have_no_limit() -> Planted:
    return patch.object(Heartbeat, "on_ping", return_value=Beat.ANSWER)


@defect(
    "Pings of RFC 6455 are answered below the budget: the library does it.",
    found_by=(_BUDGET + "[of_control_pings]", _BUDGET + "[of_both]", _CLOSED + "[of_control_pings]", _NOT_READING),
    message="the pings over the budget were answered|a storm was not closed|does not read was not ended",
)
def control_pings_are_not_counted() -> Planted:
    def uncounted(self: Channel) -> bool:
        self._note_received()
        return self.state is not State.RETIRED

    return patch.object(Channel, "ping_received", uncounted)


@defect(
    "A ping message and a ping of RFC 6455 have a budget each, so that who sends both gets twice as many pongs.",
    found_by=(_BUDGET + "[of_both]", _TOLD_ONCE),
    message="the pings over the budget were answered|was told 2 times in one storm",
)
@contextmanager
def control_pings_have_a_budget_of_their_own() -> Iterator[None]:
    others: dict[Channel, Heartbeat] = {}

    def own(self: Channel) -> bool:
        now = self._note_received()
        if self.state is State.RETIRED:
            return False
        mine = others.setdefault(self, Heartbeat(self._desk.config.heartbeat, now))
        messages, self._heartbeat = self._heartbeat, mine
        try:
            return self._within_ping_budget(now)
        finally:
            self._heartbeat = messages

    with patch.object(Channel, "ping_received", own):
        yield


@defect(
    "The budget is refilled at half the rate that it is said to have.",
    found_by=_HONEST,
    message="an honest pinger was limited",
)
def budget_is_refilled_too_slowly() -> Planted:
    return _heartbeats_with(lambda config: {"pongs_per_second": config.pongs_per_second / 2})


@defect(
    "All devices share one budget.",
    found_by=_OWN_BUDGET,
    message="a neighbour's ping was not answered during a storm",
)
@contextmanager
def budget_is_shared() -> Iterator[None]:
    begin = Heartbeat.__init__
    shared: list[TokenBucket] = []

    def sharing(self: Heartbeat, config: HeartbeatConfig, now: float, *, control_pings: bool = False) -> None:
        begin(self, config, now, control_pings=control_pings)
        shared.append(self._bucket)
        self._bucket = shared[0]

    with patch.object(Heartbeat, "__init__", sharing):
        yield


@defect(
    "A device that was once over its budget is not answered any more.",
    found_by=_CALM,
    message="a device that has calmed down is not answered any more",
)
@contextmanager
def storm_is_never_forgiven() -> Iterator[None]:
    on_ping = Heartbeat.on_ping
    stormed: set[Heartbeat] = set()

    def unforgiving(self: Heartbeat, now: float) -> Beat:
        beat = on_ping(self, now)
        if beat is not Beat.ANSWER:
            stormed.add(self)
        elif self in stormed:
            return Beat.DROP
        return beat

    with patch.object(Heartbeat, "on_ping", unforgiving):
        yield


# --- the end of a storm ---------------------------------------------------------------------------------------------


@defect(
    "Each ping over the budget is answered with an error, which costs more than the pong.",
    found_by=_TOLD_ONCE,
    message="times in one storm that its pings are limited",
)
def each_ping_over_the_budget_gets_an_error() -> Planted:
    return _instead_of(Beat.DROP, Beat.DROP_AND_TELL)


@defect(
    "A device is not told that its pings are limited; it just gets no pong.",
    found_by=_TOLD_ONCE,
    message="not told that its pings are limited",
)
def limit_is_not_told() -> Planted:
    return _instead_of(Beat.DROP_AND_TELL, Beat.DROP)


@defect(
    "A storm may go on for ever, as long as it is not answered.",
    found_by=(_CLOSED, _NOT_READING),
    message="a storm was not closed|does not read was not ended",
)
def storm_is_never_closed() -> Planted:
    return _instead_of(Beat.CLOSE, Beat.DROP)


@defect(
    "The first ping over the budget ends the connection.",
    found_by=(_BUDGET, _TOLD_ONCE, _CALM, _CLOSED),
    message="short burst of pings has cost a device its connection|of excess, 0.2 s expected",
)
def first_ping_too_many_ends_the_connection() -> Planted:
    return _instead_of(Beat.DROP_AND_TELL, Beat.CLOSE)


@defect(
    "A storm is closed politely: the socket stays until its device has read the Close, half a minute at most.",
    found_by=_NOT_READING,
    message="does not read was not ended",
)
def end_of_a_storm_waits_for_the_device() -> Planted:
    close = Connection.close

    def waiting(self: Connection, code: int, reason: str, timeout: float = limits.CLOSE_TIMEOUT) -> None:
        close(self, code, reason, 30.0 if reason == "ping storm" else timeout)

    return patch.object(Connection, "close", waiting)


@defect(
    "A storm is read as fast as it comes, and each ping holds the loop, to write a line to the log on a slow disk.",
    found_by=_DELAY,
    message="a storm delays its neighbours",
    network="tcp",
)
@contextmanager
def each_ping_holds_the_loop() -> Iterator[None]:
    on_ping = Heartbeat.on_ping

    def slow(self: Heartbeat, now: float) -> Beat:
        time.sleep(0.001)
        return on_ping(self, now)

    with patch.object(Heartbeat, "on_ping", slow), patch.object(Connection, "_pause_reading"):
        yield


# --- what pings keep alive, and what they do not --------------------------------------------------------------------


@defect(
    "Pings are no sign of life: a device that has nothing else to say is closed as idle.",
    found_by=_IDLE,
    message="a device that pings was closed as idle",
)
def pings_are_no_sign_of_life() -> Planted:
    beat = Channel._beat

    def lifeless(self: Channel, found: Any, now: float) -> None:
        beat(self, found, now)
        self._heartbeat.on_received(self.connection.opened_at)

    return patch.object(Channel, "_beat", lifeless)


@defect(
    "Silent connections are never closed.",
    found_by=_IDLE,
    message="a silent device was not closed as idle",
)
def silent_devices_are_kept() -> Planted:
    return _heartbeats_with(lambda config: {"idle_close": 1000 * config.idle_close})


@defect(
    "A device that there is nothing to tell is sent nothing for hours.",
    found_by=_KEEPALIVE,
    message="was not sent a keepalive",
)
def silent_downlink_has_no_keepalive() -> Planted:
    return _heartbeats_with(lambda config: {"keepalive_after": 1000 * config.keepalive_after})


@defect(
    "A ping counts as a sign of the dictation, too: one whose audio has ended goes on for ever.",
    found_by=_DICTATION,
    message="pings have kept a dictation busy",
)
@contextmanager
def pings_keep_a_dictation_busy() -> Iterator[None]:
    beat, on_audio = Channel._beat, Dialogue.on_audio
    dictating: dict[Channel, Conversation] = {}

    def remembering(self: Dialogue, channel: Channel, packet: bytes) -> None:
        if channel.session is not None:
            dictating[channel] = self._conversations[channel.session]
        on_audio(self, channel, packet)

    def reviving(self: Channel, found: Any, now: float) -> None:
        conversation = dictating.get(self)
        if conversation is not None and conversation._dictation is not None:
            conversation._dictation.heard_at = now
        beat(self, found, now)

    with patch.object(Dialogue, "on_audio", remembering), patch.object(Channel, "_beat", reviving):
        yield


# --- how they are planted -------------------------------------------------------------------------------------------


def _instead_of(one: Beat, other: Beat) -> Planted:
    on_ping = Heartbeat.on_ping

    def otherwise(self: Heartbeat, now: float) -> Beat:
        beat = on_ping(self, now)
        return other if beat is one else beat

    return patch.object(Heartbeat, "on_ping", otherwise)


def _heartbeats_with(settings: Any) -> Planted:
    begin = Heartbeat.__init__

    def other(self: Heartbeat, config: HeartbeatConfig, now: float, *, control_pings: bool = False) -> None:
        begin(self, msgspec.structs.replace(config, **settings(config)), now, control_pings=control_pings)

    return patch.object(Heartbeat, "__init__", other)
