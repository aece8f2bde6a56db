"""Work of a sender that is too long for one turn of the loop, and whatever the same sender wants meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from gateway.identity import DeviceId
from gateway.tasks import Tasks


class Turns:
    """Does the work of each sender in order.

    Args:
        tasks: owner of what takes more than one turn.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._works: dict[DeviceId, deque[Iterator[None]]] = {}

    def __len__(self) -> int:
        """How many senders have work under way."""
        return len(self._works)

    def do(self, sender: DeviceId, work: Iterator[None]) -> None:
        """Do some work, up to the end or its first ``yield`` at once, unless an earlier one of the sender is not done.

        What is left is done up to the next ``yield`` in each turn. How many works may wait is the caller's to bound.
        """
        if sender in self._works:
            self._works[sender].append(work)
            return
        for _ in work:
            self._works[sender] = deque([work])
            self._tasks.spawn(self._go_on(sender), f"work of {sender}")
            break

    async def _go_on(self, sender: DeviceId) -> None:
        works = self._works[sender]
        try:
            while works:
                for _ in works[0]:
                    await asyncio.sleep(0)
                works.popleft()
        finally:
            del self._works[sender]
