"""One message to many sessions, without holding the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.protocol.messages import encode

if TYPE_CHECKING:
    from gateway.device.session import Session

SESSIONS_PER_TURN = 200  # some 2 ms of work, so that no other device's heartbeat waits for a broadcast


async def broadcast(message: Any, sessions: Iterable[Session], wants: Callable[[Session], bool]) -> None:
    """Send a message, encoded once, to those of the sessions that want it when their turn comes.

    Args:
        message: as for `Session.send_json`.
        sessions: to whom; read once, at the beginning.
        wants: asked just before each send: a session may have ended since the beginning.
    """
    frame = msgspec.Raw(encode(message))
    for number, session in enumerate(tuple(sessions), 1):
        if wants(session):
            session.send_json(frame)
        if number % SESSIONS_PER_TURN == 0:
            await asyncio.sleep(0)
