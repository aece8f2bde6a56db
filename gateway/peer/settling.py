"""Letters on their way out of the mailbox for good: settled, as their device has them, or set aside.

Until the mailbox has noted it such a letter is still read out of it, but must not be sent again, however long a full
disk keeps the mailbox from writing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from gateway.config import PeerConfig
from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.peer.flight import Flight
from gateway.peer.mailbox import Letter, Mailbox, asked
from gateway.tasks import Tasks

T = TypeVar("T")

Settled = Callable[[Sequence[tuple[Flight, bool]]], None]
"""Told of flights whose delivery the mailbox has noted; false where it had let the letter expire before."""

PutAside = Callable[[Flight, bool], None]
"""Told of a flight whose letter the mailbox has set aside; false where it was not there any more."""


async def until_taken(write: Callable[[], Awaitable[T]], config: PeerConfig) -> T:
    """Repeat a write that must not be given up because the disk is full for a while.

    Those that wait here are bounded by the letters in the mailbox: each is about some of them.
    """
    wait = config.retry_first
    while True:
        try:
            return await asked(write())
        except MailboxFailed:
            await asyncio.sleep(wait)
            wait = min(wait * 2, config.retry_max)


class Settling:
    """The letters that leave, by recipient.

    Args:
        config: how often a failing mailbox is asked.
        mailbox: which they leave.
        tasks: owner of the writes.
        settled: is told when the mailbox has noted deliveries.
        put_aside: is told when it has set a letter aside.
    """

    def __init__(
        self, config: PeerConfig, mailbox: Mailbox, tasks: Tasks, settled: Settled, put_aside: PutAside
    ) -> None:
        self._config = config
        self._mailbox = mailbox
        self._tasks = tasks
        self._settled = settled
        self._put_aside = put_aside
        self._leaving: dict[DeviceId, dict[tuple[str, str], Flight]] = {}
        self._to_settle: dict[DeviceId, list[Flight]] = {}

    @property
    def pending(self) -> bool:
        """Whether deliveries of this turn of the loop wait for its end."""
        return bool(self._to_settle)

    def of(self, recipient: DeviceId) -> dict[tuple[str, str], Flight]:
        """The letters of a recipient that are leaving, by (sender, id)."""
        return self._leaving.get(recipient, {})

    def settle_soon(self, flight: Flight) -> None:
        """Settle a letter, together with all that its device confirms in this turn of the loop."""
        self._enter(flight)
        if not self._to_settle:
            asyncio.get_running_loop().call_soon(self._settle_all)
        self._to_settle.setdefault(flight.letter.recipient, []).append(flight)

    def set_aside(self, flight: Flight, notice: Letter) -> None:
        """Set a letter aside, and keep an event in the same commit."""
        self._enter(flight)
        self._tasks.spawn(self._set_aside(flight, notice), "set aside")

    def expired(self, letter: Letter) -> bool:
        """Note that the mailbox has let a letter expire; return whether it was on its way out."""
        flight = self.of(letter.recipient).get((letter.sender, letter.id))
        return flight is not None and self._leave(flight)

    def _settle_all(self) -> None:
        batches, self._to_settle = self._to_settle, {}
        if self._tasks.closed:
            return  # what is not settled may be delivered a second time
        for recipient, flights in batches.items():
            self._tasks.spawn(self._settle(recipient, flights), "settle")

    async def _settle(self, recipient: DeviceId, flights: list[Flight]) -> None:
        keys = [flight.key for flight in flights]
        await until_taken(partial(self._mailbox.settle, recipient, keys), self._config)
        self._settled([(flight, self._leave(flight)) for flight in flights])

    async def _set_aside(self, flight: Flight, notice: Letter) -> None:
        letter = flight.letter
        set_aside = partial(self._mailbox.set_aside, letter.recipient, letter.sender, letter.id, notice)
        was_there = await until_taken(set_aside, self._config)
        self._leave(flight)
        self._put_aside(flight, was_there)

    def _enter(self, flight: Flight) -> None:
        self._leaving.setdefault(flight.letter.recipient, {}).setdefault(flight.key, flight)

    def _leave(self, flight: Flight) -> bool:
        """Return False if the letter has left before, in another way."""
        recipient = flight.letter.recipient
        leaving = self.of(recipient)
        if leaving.get(flight.key) is not flight:
            return False
        del leaving[flight.key]
        if not leaving:
            del self._leaving[recipient]
        return True
