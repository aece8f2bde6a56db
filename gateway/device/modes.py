"""Modes: a device says that it is in a meeting, coding or working."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gateway.feature import Feature, Handler
from gateway.observe.events import ModeChanged
from gateway.protocol.messages import Mode, ModeAnswer

if TYPE_CHECKING:
    from gateway.device.session import Session


class Modes(Feature):
    """Sets `Session.mode`; a device is in one mode at most.

    Idempotent: a mode that is started twice, or ended when it is not on, is answered ``ok`` like any other.

    Args:
        on_start: told of every start, also of a repeated one.
    """

    def __init__(self, on_start: Callable[[Session, str], None] = lambda _session, _mode: None) -> None:
        self._on_start = on_start

    def handlers(self) -> Iterable[Handler[Any]]:
        """The ``mode`` message."""
        return (Handler(Mode, self._handle),)

    def _handle(self, session: Session, message: Mode) -> None:
        if message.state == "start":
            self._switch(session, message.mode)
            self._on_start(session, message.mode)
        elif session.mode == message.mode:
            self._switch(session, None)
        session.send_json(ModeAnswer(message.state, message.mode))

    def _switch(self, session: Session, mode: str | None) -> None:
        before, session.mode = session.mode, mode
        if before == mode:
            return
        if before is not None:
            session.observers.emit(ModeChanged(device=session.device, session=session.id, mode=before, state="end"))
        if mode is not None:
            session.observers.emit(ModeChanged(device=session.device, session=session.id, mode=mode, state="start"))
