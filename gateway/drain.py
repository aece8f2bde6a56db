"""Going down: without cutting a sentence, or at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection

from gateway.config import DrainConfig
from gateway.desk import MainDesk
from gateway.device.connection import Connection
from gateway.device.session import Session
from gateway.presence.registry import Registry
from gateway.protocol.close_codes import CloseCode

_LOOK_EVERY = 0.1  # seconds between looks at those that speak: a pause a person does not notice


async def let_finish(config: DrainConfig, registry: Registry, desk: MainDesk) -> None:
    """Close every device with 1012: idle ones within ``spread``, busy ones when they are idle, or after ``grace``.

    A device that comes meanwhile (its upgrade was answered before) is treated like the others. Returns when no device
    is present any more: ``grace`` seconds (or ``spread``, if that is longer) and the time of one close after the call,
    at the latest. Cancelled, it leaves the rest as they are.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    leave_at: dict[Session, float] = {}
    while len(registry):
        now = loop.time()
        patient = now < began + config.grace
        for session in registry:
            if session not in leave_at:
                # jitter, so that a fleet behind one gateway does not come back in one wave
                leave_at[session] = began + random.uniform(0, config.spread)  # noqa: S311 - not a secret
            if leave_at[session] <= now and not (patient and desk.is_busy(session)):
                _close(session)
        await asyncio.sleep(_LOOK_EVERY)


async def close_all(connections: Collection[Connection], timeout: float) -> bool:
    """Close all connections with 1001, and those that come meanwhile; abort what is left after ``timeout`` seconds.

    Returns:
        Whether all were gone in time.
    """
    try:
        async with asyncio.timeout(timeout):
            while present := tuple(connections):
                for connection in present:
                    _send_away(connection)
                for connection in present:
                    await connection.wait_closed()
    except TimeoutError:
        for connection in (late := tuple(connections)):
            connection.abort("the gateway stops")
        for connection in late:
            await connection.wait_closed()
        return False
    return True


def _send_away(connection: Connection) -> None:
    if connection.is_open:
        connection.close(CloseCode.GOING_AWAY, "the gateway stops")
    else:
        connection.abort("the gateway stops")  # not upgraded yet, or told already


def _close(session: Session) -> None:
    session.channel.connection.close(CloseCode.SERVICE_RESTART, "the gateway restarts")
