"""A session without a connection: it notes what it was sent, and when."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import msgspec

from gateway.device.outbox import Sent
from gateway.identity import DeviceId
from gateway.observe.events import Event, MessageRejected, Observers
from gateway.protocol.limits import DOWNLINK_BYTES
from gateway.protocol.messages import Error, encode

_numbers = itertools.count(1)


class Records:
    """An observer that keeps what it is shown."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self.observers = Observers([self.all.append])

    def of(self, kind: type[Event]) -> list[Any]:
        """The records of one kind, in order."""
        return [event for event in self.all if type(event) is kind]


class FakeChannel:
    """As much of a channel as features look at."""

    path = "/xiaozhi/v1/"


class FakeSession:
    """As much of a `Session` as features use; what it is sent is checked to be a frame a device can take.

    Attributes:
        sent: (loop time, decoded message) of each message that was sent.
        broken: sending fails, as on a connection that is going away.
    """

    def __init__(self, device: str = "dev-0001", records: Records | None = None, **features: bool) -> None:
        self.device = DeviceId(device)
        self.id = f"session-{next(_numbers)}"
        self.mode: str | None = None
        self.channel = FakeChannel()
        self.observers = (records or Records()).observers
        self.features = features
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.broken = False

    def offers(self, feature: str) -> bool:
        """Whether the hello said true to it."""
        return self.features.get(feature) is True

    def is_introduced(self, now: float) -> bool:
        """It is: what it offers is known from the beginning."""
        return True

    def send_json(self, message: Any) -> Sent:
        """Note a message."""
        frame = encode(message)
        assert len(frame) <= DOWNLINK_BYTES
        if self.broken:
            return Sent.FAILED
        self.sent.append((asyncio.get_running_loop().time(), json.loads(frame)))
        return Sent.WRITTEN

    def send_error(self, code: str, message: str, ref: str | None = None, answer: Any = None) -> Sent:
        """Note an error reply."""
        self.observers.emit(MessageRejected(device=self.device, session=self.id, code=code, reason=message))
        if answer is not None:
            return self.send_json(answer)
        return self.send_json(Error(code, message) if ref is None else Error(code, message, ref))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What it was sent, in order."""
        return [message for _, message in self.sent]

    def take(self) -> list[dict[str, Any]]:
        """What it was sent since the last time."""
        messages = self.messages
        self.sent.clear()
        return messages


def say(feature: Any, session: Any, type: str, **fields: Any) -> None:  # noqa: A002 - the wire's word
    """Hand a message to the feature, as the channel would."""
    for handler in feature.handlers():
        if handler.type == type:
            handler.handle(session, msgspec.convert({"type": type, **fields}, handler.message))
            return
    raise AssertionError(f"no handler for {type}")
