"""Stats: who is online, told to those who want to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.config import StatsConfig
from gateway.feature import Feature
from gateway.identity import DeviceId
from gateway.observe.clock import WallClock, wall_clock
from gateway.presence.broadcast import broadcast
from gateway.protocol import limits
from gateway.protocol.messages import Stats as StatsMessage
from gateway.protocol.messages import encode
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.device.session import Session

ASKING_PATH = "/supie/v1"  # of the fork whose clients expect stats without asking; with or without a slash
AT_MOST_EVERY = 1.0  # however many devices come and go
FRAME_RESERVE = 128  # of a frame: what stands around the list, with room to spare
CLOSE_TIMEOUT = 2.0  # for a cancelled task, which only has to unwind


def listed(devices: Iterable[DeviceId], room: int = limits.DOWNLINK_BYTES - FRAME_RESERVE) -> list[str]:
    """Return the first devices, in order of arrival, whose ids fit into ``room`` bytes of JSON."""
    online: list[str] = []
    for device in devices:
        room -= len(encode(device)) + 1
        if room < 0:
            break
        online.append(device)
    return online


class Stats(Feature):
    """Broadcasts stats every ``stats.every`` seconds, and when devices come or go, at most once a second.

    ``deviceCount`` is the number of devices, so a handover does not change it; ``online`` has the first of them, in
    order of arrival, as many as fit a frame.

    Args:
        config: the ``stats`` section.
        wall: stamps them.
    """

    def __init__(self, config: StatsConfig, wall: WallClock = wall_clock) -> None:
        self._config = config
        self._wall = wall
        self._online: dict[DeviceId, Session] = {}
        self._changed = asyncio.Event()
        self._tasks = Tasks("stats")

    async def start(self) -> None:
        """Begin to tell."""
        if self._config.audience != "off":
            self._tasks.spawn(self._tell(), "broadcasts")

    async def stop(self) -> None:
        """Tell nobody any more."""
        await self._tasks.close(CLOSE_TIMEOUT)

    def on_online(self, session: Session) -> None:
        """One more."""
        self._online[session.device] = session
        self._changed.set()

    def on_hello(self, session: Session) -> None:
        """A device that asks for stats in its hello need not wait for the next ones."""
        if session.offers("stats"):
            self._changed.set()

    def on_offline(self, session: Session) -> None:
        """One less."""
        if self._online.pop(session.device, None) is not None:
            self._changed.set()

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        every = self._config.every
        while True:
            due = loop.time() + every
            await asyncio.sleep(min(AT_MOST_EVERY, every))
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self._broadcast()

    async def _broadcast(self) -> None:
        stats = StatsMessage(int(self._wall() * 1000), len(self._online), listed(self._online))
        await broadcast(stats, self._online.values(), self._wants)

    def _wants(self, session: Session) -> bool:
        if self._online.get(session.device) is not session:
            return False
        if self._config.audience == "all" or session.offers("stats"):
            return True
        return session.channel.path.removesuffix("/") == ASKING_PATH
