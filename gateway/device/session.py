"""What one device is doing, over all its connections, from the first that is alive to the last that ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.device.outbox import Sent
from gateway.errors import BadMessage, PoolBusy
from gateway.identity import DeviceId, printable
from gateway.observe.events import Observers, RetiredFrameDropped, TaskFailed
from gateway.protocol import limits
from gateway.protocol.messages import Hello
from gateway.tasks import Tasks, is_being_cancelled

if TYPE_CHECKING:
    from gateway.device.channel import Channel
    from gateway.feature import Handler

_log = logging.getLogger(__name__)

Refuse: TypeAlias = Callable[..., Sent]
"""How to answer with an error: `Session.send_error`, or that of one of its channels."""


class Session:
    """One device while it is present; survives a handover from one connection to the next.

    Attributes:
        device: whose session it is.
        id: session id, as told in the hello answer.
        channel: the connection that owns the device's route; everything sent goes there.
        mode: ``meeting``, ``coding``, ``working``, or None.
        tasks: background work that ends with the session.
        observers: where records go.
        online_since: loop time at which it began.
        has_been_announced: the features know of it.
    """

    __slots__ = (
        "channel",
        "device",
        "has_been_announced",
        "id",
        "mode",
        "observers",
        "online_since",
        "running_handlers",
        "tasks",
    )

    def __init__(self, device: DeviceId, channel: Channel, observers: Observers, now: float) -> None:
        self.device = device
        self.id = secrets.token_hex(16)
        self.channel = channel
        self.mode: str | None = None
        self.observers = observers
        self.online_since = now
        self.has_been_announced = False
        self.running_handlers = 0
        self.tasks = Tasks(f"session of {device}", self._task_failed)

    def __repr__(self) -> str:
        return f"<Session {self.device} {self.id[:8]}>"

    @property
    def hello(self) -> Hello:
        """What the present connection said in its hello; defaults before it did."""
        return self.channel.hello

    def offers(self, feature: str) -> bool:
        """Whether the device said ``true`` to a feature in its hello."""
        return self.channel.hello.features.get(feature) is True

    def is_introduced(self, now: float) -> bool:
        """Whether it is known what the device offers: it has said something, or is one that may never say hello.

        Until then the defaults say nothing of it: one that acknowledges may just not have come to its hello.
        """
        channel = self.channel
        return channel.introduced or now - channel.connection.opened_at >= limits.INTRODUCTION

    def send_json(self, message: Any) -> Sent:
        """Send a message (a struct of `gateway.protocol.messages`, an application's own, or a mapping).

        Never raises, never waits. Messages of one session leave in the order of the calls.
        """
        return self.channel.send_json(message)

    def send_audio(self, packet: bytes) -> Sent:
        """Send one Opus packet, framed as the connection's version wants it."""
        return self.channel.send_audio(packet)

    def send_error(self, code: str, message: str, ref: str | None = None, answer: Any = None) -> Sent:
        """Answer with an error; it counts against the connection's error budget.

        Args:
            code: error code of the wire.
            message: one sentence that does not repeat what the device sent.
            ref: the id of the message it is about.
            answer: what to send instead of a plain ``error``, for features whose errors have a shape of their own.
        """
        return self.channel.send_error(code, message, ref, answer)

    def run_handler(self, handler: Handler[Any], message: Any, most: int, came_on: Channel) -> None:
        """Hand a message to its handler; whatever that raises costs one message, not the connection.

        A coroutine function runs as a task of this session; past ``most`` of them at once: ``error`` BUSY.
        Nothing runs once the session has ended: a replaced connection may outlive it by a moment. What is wrong with a
        message that came on a replaced one is not held against the newer one, nor told there.
        """
        refuse = self.send_error if came_on is self.channel else came_on.send_error
        if self.tasks.closed:
            self.observers.emit(RetiredFrameDropped(device=self.device, session=self.id))
            return
        if not handler.waits:
            try:
                handler.handle(self, message)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the rim; the second of work of its own
                self._handler_failed(handler, error, refuse)
            return
        if self.running_handlers >= most:
            refuse("BUSY", "too many messages of this device are being handled")
            return
        self.running_handlers += 1
        self.tasks.spawn(self._run_handler(handler, message, refuse), f"handler of {handler.type}")

    async def _run_handler(self, handler: Handler[Any], message: Any, refuse: Refuse) -> None:
        try:
            await handler.handle(self, message)
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            self._handler_failed(handler, error, refuse)
        except Exception as error:  # noqa: BLE001 - the rim: a handler's bug costs one message, not the session
            self._handler_failed(handler, error, refuse)
        finally:
            self.running_handlers -= 1

    def _handler_failed(self, handler: Handler[Any], error: BaseException, refuse: Refuse) -> None:
        if isinstance(error, BadMessage):
            refuse(error.code, error.reason, error.ref)
        elif isinstance(error, PoolBusy):
            refuse("BUSY", "the gateway has no room for this now; try again")
        else:
            _log.error("the handler of %r failed for %s", handler.type, self.device, exc_info=error)
            refuse("INTERNAL_ERROR", "the gateway failed to handle this message")

    def _task_failed(self, task: str, error: BaseException) -> None:
        self.observers.emit(
            TaskFailed(
                device=self.device, session=self.id, task=task, error=printable(f"{type(error).__name__}: {error}")
            )
        )
