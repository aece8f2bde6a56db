"""A second connection of the same device: the older one is told, may finish its sentence, and is gone in two seconds.

From the moment the newer channel owns the route: the notice at once, or withdrawn when the older peer has not made room
for it after 0.3 s; for the window the older channel may still send dictation audio and acknowledgements, and is sent
nothing; then Close 4001; then, as devices never answer Close, an abort. With the default window that is 1.8 s at most,
whatever the older peer does or does not do.
"""

from __future__ import annotations

import asyncio

from gateway.config import HandoverConfig
from gateway.device.channel import Channel
from gateway.device.connection import Connection
from gateway.device.outbox import Sent
from gateway.identity import DeviceId
from gateway.observe.events import HandoverBegan, HandoverEnded, Observers
from gateway.protocol import limits
from gateway.protocol.close_codes import CloseCode
from gateway.tasks import Tasks


class Handover:
    """The channels on their way out, one per device at most."""

    def __init__(self, config: HandoverConfig, observers: Observers) -> None:
        self._config = config
        self._observers = observers
        self._tasks = Tasks("handover")
        self._retiring: dict[DeviceId, Channel] = {}

    def __len__(self) -> int:
        return len(self._retiring)

    def retire(self, old: Channel) -> None:
        """Retire a channel that has just lost its route; an older one of the device that is still there is aborted."""
        device = old.connect.device
        oldest = self._retiring.get(device)
        if oldest is not None:
            oldest.connection.abort("a third connection came within the handover window")
        notice = old.send_notice()
        self._retiring[device] = old
        session = old.session.id if old.session is not None else ""
        if notice is not Sent.QUEUED:
            self._observers.emit(HandoverBegan(device=device, session=session, told=notice is Sent.WRITTEN))
        self._tasks.spawn(self._see_out(old, session, notice), f"handover of {device}")

    async def close(self, timeout: float) -> None:
        """End all handovers at once; idempotent."""
        for channel in tuple(self._retiring.values()):
            channel.connection.abort("the gateway stops")
        await self._tasks.finish(timeout)
        await self._tasks.close(timeout)

    async def _see_out(self, old: Channel, session: str, notice: Sent) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        device, connection, window = old.connect.device, old.connection, self._config.window
        try:
            if notice is Sent.QUEUED:
                gone = await _ends_by(connection, began + min(limits.NOTICE_TIMEOUT, window))
                told = not (gone or connection.drop_waiting())  # the notice is the last that waits
                self._observers.emit(HandoverBegan(device=device, session=session, told=told))
            if not await _ends_by(connection, began + window):  # it may end by itself
                connection.close(CloseCode.REPLACED, "replaced", limits.HANDOVER_CLOSE_TIMEOUT)
                await connection.wait_closed()
        finally:
            if self._retiring.get(device) is old:
                del self._retiring[device]
        self._observers.emit(HandoverEnded(device=device, session=session, seconds=loop.time() - began))


async def _ends_by(connection: Connection, when: float) -> bool:
    """Wait for the end of a connection until some loop time; whether it has come."""
    try:
        async with asyncio.timeout_at(when):
            await connection.wait_closed()
    except TimeoutError:
        return False
    return True
