"""Defects of duplicate connections: who owns the route, who is told, who is closed, and when."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
from websockets.http11 import Request

from gateway.device.channel import Channel, State
from gateway.device.connection import Connection
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.errors import HandshakeRefused
from gateway.identity import DeviceId
from gateway.peer.delivery import Delivery
from gateway.presence.broadcast import broadcast
from gateway.presence.flapping import FlappingGuard
from gateway.presence.handover import Handover
from gateway.presence.reception import Reception
from gateway.presence.registry import Registry
from gateway.presence.stats import Stats, listed
from gateway.protocol import limits
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.handshake import Connect
from gateway.protocol.messages import HANDOVER_NOTICE, HelloAnswer, encode
from gateway.protocol.messages import Stats as StatsMessage
from gateway.speech.dialogue import Conversation
from gateway.speech.dictation import Dictation, Mode
from gateway.speech.speaking import Speech
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

_HERE = "test_duplicate_connections.py::"
_TOLD = _HERE + "test_the_older_connection_is_told_at_once_in_the_words_of_the_protocol"
_CLOSED = _HERE + "test_the_older_connection_is_closed_with_4001_when_its_window_is_over"
_NOTHING_ELSE = _HERE + "test_the_older_connection_is_sent_nothing_but_the_notice_and_its_close"
_NOT_DONE = _HERE + "test_what_the_older_connection_asks_for_is_not_done"
_VANISHED = _HERE + "test_a_vanished_connection_is_gone_in_bounded_time"
_STUCK = _HERE + "test_a_stuck_connection_is_gone_in_bounded_time_and_loses_no_message"
_THREE = _HERE + "test_of_three_connections_the_oldest_is_dropped_at_once"
_END = _HERE + "test_the_end_of_the_older_connection_leaves_the_newer_one_online"
_BAD_TOKEN = _HERE + "test_a_newcomer_with_a_bad_token_does_not_disturb_the_device"
_DIES = _HERE + "test_a_newcomer_that_dies_before_it_is_alive_does_not_disturb_the_device"
_LATE = _HERE + "test_a_newer_connection_is_never_replaced_by_an_older_one"
_OTHER_CLIENT = _HERE + "test_another_client_without_a_token_may_not_take_over"
_FLAPPING = _HERE + "test_a_flapping_device_is_refused_with_429_for_a_while"
_SESSION = _HERE + "test_the_session_id_stays_the_same"
_MOVED = _HERE + "test_unacknowledged_messages_move_to_the_newer_connection"
_ACKNOWLEDGED = _HERE + "test_acknowledgements_are_taken_from_the_older_connection"
_DICTATION = _HERE + "test_a_dictation_goes_on_across_the_handover_without_losing_a_frame"
_CUT = _HERE + "test_a_dictation_is_cut_on_the_older_connection_when_the_newer_one_starts"
_SPEECH = _HERE + "test_speech_goes_on_on_the_newer_connection"
_STATS = _HERE + "test_stats_count_a_device_once_in_the_middle_of_a_handover"


# --- the older connection: told, closed, gone -----------------------------------------------------------------------


@defect(
    "Two connections of a device stand against each other: both stay open, and neither is told.",
    found_by=(
        _TOLD,
        _CLOSED,
        _NOTHING_ELSE,
        _NOT_DONE,
        _VANISHED,
        _STUCK,
        _THREE,
        _END,
        _OTHER_CLIENT,
        _SESSION,
        _MOVED,
        _ACKNOWLEDGED,
        _DICTATION,
        _CUT,
        _SPEECH,
        _STATS,
        "test_sending.py::test_every_message_is_one_json_text_frame[handover notice]",
    ),
    message="was not told of the newer one|the device has two connections|kind handover notice was not sent",
    pain_point=6,
)
def connections_stand_side_by_side() -> Planted:
    def ignoring(self: Handover, old: Channel) -> None:
        pass

    return patch.object(Handover, "retire", ignoring)


@defect(
    "The Close to the older connection waits ten seconds for an answer, which no device gives.",
    found_by=(_CLOSED, _NOTHING_ELSE, _VANISHED, _STUCK, _END + "[closed by the gateway]", _STATS),
    message="two connections were open for too long|the device has two connections",
    pain_point=6,
    hole=True,
)
def close_waits_for_its_answer() -> Planted:
    return patch.object(limits, "HANDOVER_CLOSE_TIMEOUT", 10.0)


@defect(
    "Whichever connection of a device ends takes the device out of the registry.",
    found_by=(_THREE, _END, _FLAPPING, _STATS),
    message="was unregistered|connection does not own the route|let in again and again|no stats came",
    pain_point=6,
    hole=True,
)
def end_of_the_older_unregisters_the_newer() -> Planted:
    def releasing(self: Registry, channel: Channel) -> Session | None:
        was_here = channel.session is not None
        return self._sessions.pop(channel.connect.device, None) if was_here else None

    return patch.object(Registry, "release", releasing)


@defect(
    "For the 1.5 s of a handover, what is sent to a device is sent on both of its connections.",
    found_by=(
        _NOTHING_ELSE,
        _SPEECH,
        "test_delayed_snapshots.py::test_a_pending_snapshot_is_not_sent_to_the_replacing_connection[tasks]",
    ),
    message="was sent something after the notice: .*(peer|tts)|sent to a connection that had been replaced",
    pain_point=6,
    hole=True,
)
@contextmanager
def both_connections_are_fed() -> Iterator[None]:
    send = Session.send_json

    with _older_channels() as older:

        def feeding(self: Session, message: Any) -> Sent:
            if self in older:
                older[self].connection.send_text(encode(message))
            return send(self, message)

        with patch.object(Session, "send_json", feeding):
            yield


@defect(
    "The notice to the older connection has words of its own.",
    found_by=_TOLD,
    message="other words than the protocol's",
)
def notice_has_other_words() -> Planted:
    return patch("gateway.device.channel.HANDOVER_NOTICE", {"type": "system", "message": "new connection detected"})


@defect(
    "The older connection is told when most of its window is over.",
    found_by=(_TOLD, _CLOSED),
    message="not told of the newer one at once|it has 0.6 s to finish",
)
def notice_comes_late() -> Planted:
    def late(self: Channel) -> Sent:
        self.state = State.RETIRED
        self._loop.call_later(0.8 * self._desk.config.handover.window, self._send, HANDOVER_NOTICE)
        return Sent.WRITTEN

    return patch.object(Channel, "send_notice", late)


@defect(
    "The older connection is closed at once, behind its notice: what its device was about to say is lost.",
    found_by=(_CLOSED, _NOTHING_ELSE, _NOT_DONE, _ACKNOWLEDGED, _DICTATION, _CUT),
    message="it has 0.6 s to finish|the older connection was ended before its window was over",
)
def older_connection_has_no_window() -> Planted:
    retire = Handover.retire

    def closing(self: Handover, old: Channel) -> None:
        retire(self, old)
        old.connection.close(CloseCode.REPLACED, "replaced", limits.HANDOVER_CLOSE_TIMEOUT)

    return patch.object(Handover, "retire", closing)


@defect(
    "The window of a handover begins when the older connection has read its notice.",
    found_by=_STUCK,
    message="a stuck connection was kept",
)
def notice_waits_for_its_reader() -> Planted:
    see_out = Handover._see_out

    async def patient(self: Handover, old: Channel, session: str, notice: Sent) -> None:
        while old.connection.queued and not old.connection.lost:  # noqa: ASYNC110 - a defect may wait as it likes
            await asyncio.sleep(0.05)
        await see_out(self, old, session, notice)

    return patch.object(Handover, "_see_out", patient)


@defect(
    "The older connection is closed with 1000, as if its conversation were over.",
    found_by=_CLOSED,
    message="closed with 1000, not with 4001",
)
def older_connection_is_closed_as_normal() -> Planted:
    close = Connection.close

    def normal(self: Connection, code: int, reason: str, timeout: float = limits.CLOSE_TIMEOUT) -> None:
        close(self, CloseCode.NORMAL if code == CloseCode.REPLACED else code, reason, timeout)

    return patch.object(Connection, "close", normal)


@defect(
    "A third connection within the window finds two, and leaves three.",
    found_by=_THREE,
    message="three connections of one device are open",
)
def third_connection_leaves_three() -> Planted:
    retire = Handover.retire

    def leaving(self: Handover, old: Channel) -> None:
        self._retiring.pop(old.connect.device, None)
        retire(self, old)

    return patch.object(Handover, "retire", leaving)


@defect(
    "Pings on the older connection are answered there until it is closed.",
    found_by=_NOTHING_ELSE,
    message="the older connection was sent something after the notice: .*pong",
)
def older_connection_is_answered() -> Planted:
    beat = Channel._beat

    def answering(self: Channel, found: Any, now: float) -> None:
        if self.state is State.RETIRED:
            self.connection.send_text(b'{"type":"pong"}')
        beat(self, found, now)

    return patch.object(Channel, "_beat", answering)


@defect(
    "What the older connection asks for is done until it is closed, as if it still spoke for its device.",
    found_by=(_NOTHING_ELSE, _NOT_DONE, _CUT),
    message="was still taken and delivered|was sent something after the notice|the utterance was not continued",
)
def older_connection_is_obeyed() -> Planted:
    dispatch = Channel._dispatch

    def obeying(self: Channel, kind: str, message: dict[str, Any]) -> None:
        if self.state is not State.RETIRED or self.session is None or kind == "hello":
            dispatch(self, kind, message)
            return
        self.state = State.OWNER
        try:
            dispatch(self, kind, message)
        finally:
            self.state = State.RETIRED

    return patch.object(Channel, "_dispatch", obeying)


@defect(
    "An older connection that says something takes the route back: the two fight for it.",
    found_by=(_NOT_DONE, _CUT),
    message="the older connection took the route back|new was sent no pong, it does not own the route",
)
def older_connection_takes_the_route_back() -> Planted:
    dispatch = Channel._dispatch

    def fighting(self: Channel, kind: str, message: dict[str, Any]) -> None:
        if self.state is State.RETIRED:
            self.session, self.state = None, State.OPEN
            self._arrivals._coming.setdefault(self.connect.device, []).append(self)  # type: ignore[attr-defined]
        dispatch(self, kind, message)

    return patch.object(Channel, "_dispatch", fighting)


# --- newcomers ------------------------------------------------------------------------------------------------------


@defect(
    "A connection that was let in earlier and comes alive later takes the route from a newer one.",
    found_by=_LATE,
    message="the newer connection was replaced by an older one",
)
def older_connection_comes_alive_late() -> Planted:
    return patch.object(Reception, "_overtake", Reception._has_come)


@defect(
    "A connection owns the route from its 101 on, before it has proven to be alive.",
    found_by=_DIES,
    message="a newcomer that died at once disturbed the connection that was there",
)
def newcomer_takes_over_with_its_upgrade() -> Planted:
    opened = Channel.opened

    def alive(self: Channel) -> None:
        opened(self)
        self._make_alive("open")

    return patch.object(Channel, "opened", alive)


@defect(
    "The device's connection is told of a newcomer before it is known whether that may come in.",
    found_by=(_BAD_TOKEN, _OTHER_CLIENT, _FLAPPING),
    message="disturbed the connection that was there",
)
def refused_newcomer_is_announced() -> Planted:
    receive = Reception.receive

    def announcing(self: Reception, peer: Connection, request: Request, address: str) -> Channel:
        try:
            return receive(self, peer, request, address)
        except HandshakeRefused as refusal:
            session = self._registry.get(DeviceId(refusal.device))
            if session is not None:
                session.send_json(HANDOVER_NOTICE)
            raise

    return patch.object(Reception, "receive", announcing)


@defect(
    "The Client-Id is not looked at: anybody who knows a device's id takes its connection over.",
    found_by=_OTHER_CLIENT,
    message="another client without a token took the device's connection over",
)
def anybody_takes_over() -> Planted:
    def allowing(self: Reception, connect: Connect) -> None:
        pass

    return patch.object(Reception, "_check_takeover", allowing)


# --- flapping -------------------------------------------------------------------------------------------------------


@defect(
    "Two boards with one id replace each other for ever.",
    found_by=_FLAPPING,
    message="a flapping device was let in again and again",
)
def flapping_is_not_noticed() -> Planted:
    return patch.object(FlappingGuard, "replaced", return_value=None)


@defect(
    "A flapping device is refused without being told when to come again.",
    found_by=_FLAPPING,
    message="does not say when to try again",
)
def flapping_is_refused_without_retry_after() -> Planted:
    check = FlappingGuard.check

    def curt(self: FlappingGuard, device: DeviceId, now: float) -> None:
        try:
            check(self, device, now)
        except HandshakeRefused as refusal:
            raise HandshakeRefused(refusal.status, refusal.reason) from None

    return patch.object(FlappingGuard, "check", curt)


@defect(
    "A device that has once flapped is refused for good, a second at a time.",
    found_by=_FLAPPING,
    message="a flapping device was not admitted when Retry-After was over",
)
def flapping_is_never_forgiven() -> Planted:
    def unforgiving(self: FlappingGuard, device: DeviceId, _: float) -> float:
        record = self._records.get(device)
        return 0.0 if record is None or record.until == -math.inf else 1.0

    return patch.object(FlappingGuard, "refused_for", unforgiving)


# --- what goes on across the handover -------------------------------------------------------------------------------


@defect(
    "The hello answer of a newer connection has another session id than that of the older one.",
    found_by=_SESSION,
    message="the handover has begun another session",
)
def handover_begins_a_session() -> Planted:
    send = Channel.send_json

    def renaming(self: Channel, message: Any) -> Sent:
        if isinstance(message, HelloAnswer) and self.resumes:
            message = msgspec.structs.replace(message, session_id=secrets.token_hex(16))
        return send(self, message)

    return patch.object(Channel, "send_json", renaming)


@defect(
    "What the older connection was sent counts as delivered: it is not sent on the newer one, acknowledged or not.",
    found_by=(_STUCK, _MOVED, "test_sending.py::test_redelivered_counts_what_has_arrived"),
    message="had not confirmed did not move to the newer one|mail is lost of which a first attempt has failed",
)
def unconfirmed_messages_stay_behind() -> Planted:
    def forgetting(self: Delivery) -> None:
        pass

    return patch.object(Delivery, "send_all_again", forgetting)


@defect(
    "Nothing is taken from the older connection in its window, acknowledgements neither.",
    found_by=_ACKNOWLEDGED,
    message="acknowledgement on the older connection within its window was not taken",
)
def older_acknowledgements_are_dropped() -> Planted:
    dispatch = Channel._dispatch

    def deaf(self: Channel, kind: str, message: dict[str, Any]) -> None:
        if self.state is not State.RETIRED:
            dispatch(self, kind, message)

    return patch.object(Channel, "_dispatch", deaf)


@defect(
    "A dictation belongs to its connection: a handover cuts it off.",
    found_by=(_DICTATION, _CUT),
    message="the dictation was lost in the handover|the utterance was not continued",
)
def dictation_ends_with_the_handover() -> Planted:
    def ending(self: Conversation) -> None:
        self._cancel_dictation("offline")

    return patch.object(Conversation, "moved", ending)


@defect(
    "The frames that the older connection sends in its window are dropped.",
    found_by=_DICTATION,
    message="frames of the dictation were lost",
)
def dictation_is_deaf_to_the_older_connection() -> Planted:
    def moving(self: Dictation, channel: Channel) -> None:
        self._sources = [channel]

    return patch.object(Dictation, "moved", moving)


@defect(
    "When the newer connection starts to listen, the older one is still heard: both microphones in one utterance.",
    found_by=_CUT,
    message="frames of the older connection were taken after the newer one had started",
)
def dictation_is_not_cut() -> Planted:
    taken_over = Dictation.taken_over

    def mixing(self: Dictation, channel: Channel, mode: Mode, now: float) -> bool:
        sources = self._sources
        found = taken_over(self, channel, mode, now)
        self._sources = sources
        return found

    return patch.object(Dictation, "taken_over", mixing)


@defect(
    "The rest of a reply goes to the newer connection without tts start, so that its device plays nothing.",
    found_by=_SPEECH,
    message="the speech did not follow its device",
)
def speech_goes_on_unannounced() -> Planted:
    def silently(self: Speech) -> bool:
        self._started_on = self._session.channel
        return False

    return patch.object(Speech, "_follow", silently)


@defect(
    "deviceCount counts connections: a device in a handover is two.",
    found_by=_STATS,
    message="deviceCount is 2 in a handover",
)
@contextmanager
def stats_count_connections() -> Iterator[None]:
    with _older_channels() as older:

        async def counting(self: Stats) -> None:
            more = sum(not channel.connection.lost for channel in older.values())
            stats = StatsMessage(int(self._wall() * 1000), len(self._online) + more, listed(self._online))
            await broadcast(stats, self._online.values(), self._wants)

        with patch.object(Stats, "_broadcast", counting):
            yield


@contextmanager
def _older_channels() -> Iterator[dict[Session, Channel]]:
    """Know of each session the channel that its present one has replaced."""
    older: dict[Session, Channel] = {}
    switch = Registry.switch

    def remembering(self: Registry, session: Session, channel: Channel) -> Channel:
        older[session] = switch(self, session, channel)
        return older[session]

    with patch.object(Registry, "switch", remembering):
        yield older
