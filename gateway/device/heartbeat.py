"""Pings and their budget, keepalive, liveness: the one place for all of it. Pure: the time is handed in.

The channel owns one timer. Frames only move stamps, they never touch the timer. When it fires, the channel asks
`Heartbeat.due` until nothing is, and arms it for `Heartbeat.next_deadline`; where something was sent or received
meanwhile, it has fired early and nothing was due. So a busy connection pays an assignment per frame and no timers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum

from gateway.config import HeartbeatConfig
from gateway.protocol import limits
from gateway.protocol.budgets import TokenBucket

_LONGEST_PAUSE = 4.0  # seconds between two gulps of one storm


class Beat(Enum):
    """What to do with a ping.

    ``ANSWER``: send the pong. ``DROP``: send nothing. ``DROP_AND_TELL``: no pong, but one ``error`` RATE_LIMITED, at
    most every 10 s. ``CLOSE``: close with 4008.
    """

    ANSWER = "answer"
    DROP = "drop"
    DROP_AND_TELL = "drop_and_tell"
    CLOSE = "close"


class Due(Enum):
    """What has to be done on time.

    ``IDLE_CLOSE``: close with 4003. ``KEEPALIVE``: send ``{"type":"keepalive"}``. ``CONTROL_PING``: send a ping of
    RFC 6455.
    """

    IDLE_CLOSE = "idle_close"
    KEEPALIVE = "keepalive"
    CONTROL_PING = "control_ping"


class Heartbeat:
    """The heartbeat of one connection.

    Args:
        config: its limits.
        now: when the connection opened; silence counts from here, both ways.
        control_pings: the device opted in to WebSocket pings.
    """

    __slots__ = (
        "_bridge",
        "_bucket",
        "_config",
        "_control_pings",
        "_dropped",
        "_excess_began",
        "_pinged",
        "_received",
        "_sent",
        "_told",
    )

    def __init__(self, config: HeartbeatConfig, now: float, *, control_pings: bool = False) -> None:
        self._config = config
        self._control_pings = control_pings
        self._bucket = TokenBucket(config.pongs_per_second, config.pong_burst)
        # at least as long as the pauses that the read budget makes in a storm: 682 empty pings in one read are 3.4 s
        self._bridge = max(config.pong_burst / config.pongs_per_second, _LONGEST_PAUSE)
        self._dropped = self._excess_began = self._told = -math.inf
        self._received = self._sent = self._pinged = now

    def on_ping(self, now: float) -> Beat:
        """Decide about a ping; messages (``ping``, ``keepalive``) and RFC 6455 pings share one budget.

        Excess is continuous as long as dropped pings follow each other within the time in which an empty budget
        fills (burst / rate: 4 s). A shorter pause cannot end it, since by the next drop the peer has used up all that
        was refilled: it has been over its rate throughout. This bridges a read budget that cuts a storm into gulps
        seconds apart. An answered ping cannot end it either: a storm of 3000 a second still gets its 5 answers.
        """
        if self._bucket.take(now):
            return Beat.ANSWER
        if now - self._dropped > self._bridge:
            self._excess_began = now
        self._dropped = now
        if now - self._excess_began >= self._config.storm_close_after:
            return Beat.CLOSE
        if now - self._told >= limits.ERROR_EVERY:
            self._told = now
            return Beat.DROP_AND_TELL
        return Beat.DROP

    def on_received(self, now: float) -> None:
        """Note that a frame arrived, of any kind: the peer is alive."""
        self._received = now

    def on_sent(self, now: float) -> None:
        """Note that a data frame was sent; control frames do not count, as the firmware's 120 s do not see them."""
        self._sent = now

    def due(self, now: float, *, in_meeting: bool, busy: bool) -> Due | None:
        """Return what has to be done now, the gravest first; ask again until there is nothing.

        A keepalive or ping that is returned counts as sent, whether or not the peer can take it: that is the business
        of the send deadline.

        Args:
            now: loop time.
            in_meeting: people in a meeting are silent for longer.
            busy: an utterance runs; the connection is not idle, however silent.
        """
        for when, what in self._deadlines(in_meeting, busy):
            if when <= now:
                if what is Due.KEEPALIVE:
                    self._sent = now
                elif what is Due.CONTROL_PING:
                    self._pinged = now
                return what
        return None

    def next_deadline(self, *, in_meeting: bool, busy: bool) -> tuple[float, Due]:
        """Return when to ask `due` again, and what will be due then if nothing is sent or received until then.

        Never later than ``keepalive_after`` from now: by so much at most an idle close is late when a meeting or an
        utterance ends in between.
        """
        return min(self._deadlines(in_meeting, busy), key=lambda deadline: deadline[0])

    def _deadlines(self, in_meeting: bool, busy: bool) -> Iterator[tuple[float, Due]]:
        config = self._config
        if not busy:
            limit = config.idle_close * (config.idle_meeting_factor if in_meeting else 1)
            yield self._received + limit, Due.IDLE_CLOSE
        yield self._sent + config.keepalive_after, Due.KEEPALIVE
        if self._control_pings:
            # only a silent device is asked whether it is there
            yield max(self._received, self._pinged) + config.control_ping_interval, Due.CONTROL_PING
