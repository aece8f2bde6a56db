"""Where the messages of all channels go: the table of handlers, and the features that are asked about a session."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.config import Config
from gateway.device.channel import Channel
from gateway.device.session import Session
from gateway.errors import Misuse
from gateway.feature import Feature, Handler
from gateway.meeting.meeting import Meetings
from gateway.observe.events import Observers
from gateway.protocol.messages import AudioParams
from gateway.speech.dialogue import Dialogue

_log = logging.getLogger(__name__)

ABILITIES = ("peer_ack", "stats")
"""What a device may ask for in its hello's ``features``; told in the hello answer beside the message types."""

CHANNELS_OWN = frozenset({"hello", "ping", "keepalive"})
"""Message types that channels handle themselves, before any handler: a heartbeat must not wait behind a feature."""


class MainDesk:
    """The desk of one gateway; see `gateway.device.channel.Desk`.

    Args:
        config: all settings.
        observers: where records go.
        features: in the order in which they hear of things; a later one's handler takes the place of an earlier one's
            for the same message type, so that an application can replace what is built in.
        dialogue: gets uplink audio.
        meetings: knows who is in one.

    Raises:
        Misuse: a handler is for a type that never reaches one.
    """

    def __init__(
        self, config: Config, observers: Observers, features: Sequence[Feature], dialogue: Dialogue, meetings: Meetings
    ) -> None:
        self.config = config
        self.observers = observers
        self.features = features
        self.handlers: Mapping[str, Handler[Any]] = {
            handler.type: handler for feature in features for handler in feature.handlers()
        }
        if taken := CHANNELS_OWN.intersection(self.handlers):
            raise Misuse(f"expected no handler for {', '.join(sorted(taken))}: connections handle that themselves")
        self.offers = sorted({*self.handlers, *ABILITIES})
        self._dialogue = dialogue
        self._meetings = meetings
        self._unsure: set[Feature] = set()  # whose `is_busy` has failed

    def tell(self, hook: Callable[[Feature], Callable[[Session], None]], session: Session) -> None:
        """Call a hook of every feature; one that raises is logged and does not keep the others from theirs."""
        for feature in self.features:
            try:
                hook(feature)(session)
            except Exception:  # noqa: BLE001 - the rim: a feature's bug must not take the others with it
                _log.exception("%s failed for %s", type(feature).__name__, session.device)

    def answers_hello(self, session: Session) -> None:
        """The hello of the session's channel was answered."""
        self.tell(lambda feature: feature.on_hello, session)

    def downlink_audio(self, client: AudioParams) -> AudioParams:
        """What the device will hear; what it sends, if the speech engine cannot say."""
        try:
            return self._dialogue.downlink_audio(client)
        except Exception:  # noqa: BLE001 - the rim: a hello must be answered, or the device gives up after 10 s
            _log.exception("the speech engine failed to say what its audio is")
            return client

    def take_audio(self, channel: Channel, packet: bytes) -> None:
        """One uplink Opus packet."""
        self._dialogue.on_audio(channel, packet)

    def in_meeting(self, session: Session) -> bool:
        """Whether the device is in a meeting: one that runs, or the mode, before anything was said."""
        return session.mode == "meeting" or self._meetings.is_in_meeting(session.device)

    def is_busy(self, session: Session) -> bool:
        """Whether cutting the device off now would cut a sentence; a feature that fails to say has no vote."""
        return any(self._says_busy(feature, session) for feature in self.features)

    def _says_busy(self, feature: Feature, session: Session) -> bool:
        try:
            return feature.is_busy(session)
        except Exception:  # noqa: BLE001 - the rim: a feature's bug must not keep a silent device, or a drain, for ever
            if feature not in self._unsure:  # once: it is asked ten times a second
                self._unsure.add(feature)
                _log.exception("%s failed to say whether it is busy", type(feature).__name__)
            return False
