"""What a feature of the gateway is: handlers for message types, and a say in the life of a session.

The built-in features (peer messages, meetings, workflow, modes, dialogue, stats) and an application's own are the
same kind of thing; `gateway.app` knows the list, and nobody else does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from gateway.device.session import Session

M = TypeVar("M", bound=msgspec.Struct)


class Handler(Generic[M]):
    """One message type and what handles it.

    Args:
        message: a tagged struct; its tag is the wire's ``type``. A message that does not fit it is answered with
            ``error`` SCHEMA_INVALID and never reaches ``handle``.
        handle: called with the session and the message, in the loop, in order of arrival. A plain function must not
            block. A coroutine function runs as a task of the session, cancelled when the device goes offline, at
            most ``limits.handlers_at_once`` per device (past that: ``error`` BUSY). Raising `BadMessage` answers
            with that error, `PoolBusy` with BUSY; any other exception is logged, and the device gets ``error``
            INTERNAL_ERROR.
    """

    __slots__ = ("handle", "message", "type", "waits")

    def __init__(self, message: type[M], handle: Callable[[Session, M], Awaitable[None] | None]) -> None:
        tag = message.__struct_config__.tag
        if not isinstance(tag, str) or message.__struct_config__.tag_field not in (None, "type"):
            raise TypeError(
                f"expected a message struct tagged in its 'type' field, such as class {message.__name__}(Struct, "
                f"tag='lamp'), got tag {tag!r} in field {message.__struct_config__.tag_field!r}"
            )
        self.type: str = tag
        self.message = message
        self.handle: Callable[[Session, M], Any] = handle
        self.waits = inspect.iscoroutinefunction(handle) or inspect.iscoroutinefunction(type(handle).__call__)


class Feature:
    """A part of the gateway that handles messages and follows sessions; each method may be left as it is.

    All are called in the loop and must not block. Order of the calls for one session: ``on_online``, then any number
    of ``on_replaced``, then ``on_offline``; handlers run only in between.
    """

    def handlers(self) -> Iterable[Handler[Any]]:
        """The message types this feature handles."""
        return ()

    def on_online(self, session: Session) -> None:
        """A device is present: its first connection counts as alive (its hello may still come)."""

    def on_hello(self, session: Session) -> None:
        """The hello of the session's present connection was answered; ``session.hello`` has what it said."""

    def on_replaced(self, session: Session) -> None:
        """A newer connection of the same device has taken the route; what was in flight belongs to it now."""

    def on_offline(self, session: Session) -> None:
        """The device's last connection is gone; the session ends, its tasks are being cancelled."""

    def is_busy(self, session: Session) -> bool:  # noqa: ARG002 - features that can be busy look at it
        """Whether cutting the device off now would cut a sentence; a drain waits for it, up to its grace."""
        return False

    async def start(self) -> None:
        """The gateway starts, before any device can connect; raise a `GatewayError` to keep it from starting."""

    async def stop(self) -> None:
        """The gateway stops, after all sessions have ended; put away what must survive. Bounded by the caller.

        Also called where ``start`` has raised, or was cancelled in its middle; not where it was never called.
        """
