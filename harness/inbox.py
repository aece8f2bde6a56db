"""The messages that a device has received and nobody has asked for yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from harness.device import Message, Wanted

T = TypeVar("T")

KEPT = 1000
"""Unread messages of one device: past it the oldest is dropped and counted. A device that talks for hours to a test
that does not listen must not fill the memory, and what it was sent last says most about why."""


class Inbox:
    """Unread messages, at most `KEPT`, oldest first, and the wait for the next one.

    Attributes:
        received: the latest messages, read or not, at most `KEPT`.
        dropped: how many were dropped unread.
    """

    def __init__(self) -> None:
        self.received: deque[Message] = deque(maxlen=KEPT)
        self.dropped = 0
        self._unread: deque[Message] = deque()
        self._news = asyncio.Event()

    @property
    def unread(self) -> tuple[Message, ...]:
        """What nobody has taken, oldest first."""
        return tuple(self._unread)

    def put(self, message: Message) -> None:
        """Add a message; `wake` is called by whoever calls this."""
        self.received.append(message)
        self._unread.append(message)
        if len(self._unread) > KEPT:
            self._unread.popleft()
            self.dropped += 1

    def clear(self) -> None:
        """Forget what is unread."""
        self._unread.clear()

    def wake(self) -> None:
        """Have everybody who waits look again."""
        self._news.set()

    def take(self, wanted: Wanted, fields: Mapping[str, Any]) -> Message | None:
        """Remove and return the first unread message that is wanted and has these fields; None if there is none."""
        for index, message in enumerate(self._unread):
            fits = message.get("type") == wanted if isinstance(wanted, str) else wanted(message)
            if fits and all(name in message and message[name] == value for name, value in fields.items()):
                del self._unread[index]
                return message
        return None

    async def until(self, look: Callable[[], T | None], timeout: float) -> T | None:
        """Return what ``look`` finds, now or after something has come; None if it is nothing in ``timeout`` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while (found := look()) is None:
                    self._news.clear()
                    await self._news.wait()
                return found
        return look()  # a loop that was held up may have got the message and the end of the time at once


def in_words(wanted: Wanted, fields: Mapping[str, Any]) -> str:
    """Say what is wanted: ``a message "peer" with event='redelivered'``."""
    name = getattr(wanted, "__qualname__", repr(wanted))
    what = f'a message "{wanted}"' if isinstance(wanted, str) else f"a message that fits {name}"
    having = " and ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{what} with {having}" if having else what
