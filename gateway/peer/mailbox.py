"""The mailbox: messages kept for devices until they have them. The interface and its promises.

`gateway.peer.sqlite_mailbox` keeps them on disk, `gateway.peer.memory_mailbox` until the process ends;
`gateway.peer.mailboxes` chooses.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Protocol, TypeVar

import msgspec

from gateway.errors import MailboxFailed, Misuse
from gateway.identity import DeviceId

_log = logging.getLogger(__name__)

T = TypeVar("T")

EVENT_KINDS = frozenset({"redelivered", "delivered", "expired", "dropped"})
"""Kinds of letters that tell a sender what became of its messages; they are kept by `Mailbox.add_event` only."""

SET_ASIDE_PER_DEVICE = 100  # as many as may wait for a device: enough to see what is wrong with it


class Letter(msgspec.Struct, frozen=True):
    """One message to one device, as it is kept.

    Attributes:
        recipient: for whom.
        sender: from whom; empty for what the gateway itself has to say.
        id: the message's id, unique for (sender, recipient).
        kind: ``peer`` for a device's message; for the gateway's own: ``redelivered``, ``expired``, ``dropped``,
            ``delivered`` or ``summary``.
        body: JSON: the payload of a ``peer`` letter, the complete message of a ``summary``, empty for an event.
        created: seconds since 1970.
        expires: seconds since 1970.
        confirm: the sender wants to hear of the delivery.
        about: of an event: the device it tells about.
        count: of an event: how many messages it stands for.
        reason: of an event: why.
    """

    recipient: DeviceId
    sender: str
    id: str
    kind: str
    body: bytes
    created: float
    expires: float
    confirm: bool = False
    about: str = ""
    count: int = 0
    reason: str = ""


class Stored(Enum):
    """What became of a letter."""

    STORED = "stored"
    """It is durable."""
    DUPLICATE = "duplicate"
    """The same (sender, id, recipient) is already waiting (or past its expiry and not taken yet); nothing was
    written. One that has been set aside is no duplicate: the new letter takes its place."""
    SETTLED = "settled"
    """The same (sender, id, recipient) has been delivered within the dedupe time; nothing was written."""
    FULL = "full"
    """The recipient's share, the sender's, or the whole mailbox, is full; nothing was written."""


class Depth(msgspec.Struct, frozen=True):
    """How full the mailbox is.

    Attributes:
        waiting: letters and events that wait, those past their expiry included until they are taken.
        set_aside: letters set aside.
        oldest_seconds: age of the oldest waiting one; 0 where none waits.
        dropped: events, set-aside letters and settled names given up to their limits since the mailbox was opened.
    """

    waiting: int
    set_aside: int
    oldest_seconds: float
    dropped: int = 0


Notice = Callable[[Letter], Letter | None]
"""Makes the event that tells a letter's sender of its loss, or None to tell nobody; pure, may run in any thread."""


class Mailbox(Protocol):
    """Where letters wait.

    Promises: when a method returns, what it did survives a kill of the process, and a loss of power, unless the
    implementation says otherwise. Operations take effect in the order of the calls. When a method raises
    `MailboxFailed`, none of its effect is there. Cancelling a call does not undo it: the effect may still come.
    Letters of one recipient come back in the order in which they were stored.

    Limits: per device, letters with a sender that wait (the share); per sender, its letters that wait, for whomever;
    in all, letters that wait or are set aside; events have limits of their own, so that letters never crowd them out.
    """

    @property
    def failed(self) -> str | None:
        """Why the mailbox cannot write at present, in one line; None while it can. For readiness."""
        ...

    async def open(self) -> None:
        """Make ready; raises `MailboxFailed` with what is wrong and what to do, and never deletes a damaged store."""
        ...

    async def close(self) -> None:
        """Finish what was called before, then close; idempotent. Whatever is called later raises `MailboxFailed`."""
        ...

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        """Keep ``peer`` letters (and summaries), each to its recipient; one answer per letter, in order.

        Letters of one call are committed together. Gateway letters (empty sender) do not count against the shares,
        only against the limit of the whole mailbox.

        Raises:
            Misuse: a letter is an event; nothing was kept.
        """
        ...

    async def add_event(self, letter: Letter, *, sent: bool = False) -> None:
        """Keep an event; a waiting one of the same recipient, kind, about and reason is merged into it.

        Merging replaces the older event by the new one with the counts added. So the merged event has the new letter's
        id and its place at the end. Only events that their recipient cannot have seen are merged, since it would count
        one it has seen a second time under the other id: none that was ``sent``, that `waiting` has returned, or that
        was there when the mailbox was opened. Nor is one past its expiry. An event whose id is known already (waiting,
        set aside or settled within the dedupe time) changes nothing.

        Past `limits.MAILBOX_EVENTS` different events for one recipient its oldest is dropped. Past as many events as
        the mailbox takes letters in all, the recipient's oldest is dropped or, where it has none, the new one.

        Args:
            letter: the event.
            sent: its recipient was sent it, or is being sent it, and may have it.

        Raises:
            Misuse: the letter is not an event.
        """
        ...

    async def waiting(self, recipient: DeviceId, limit: int) -> list[Letter]:
        """Return the oldest letters of a recipient, in order; those past their expiry are not returned."""
        ...

    async def settle(self, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        """Delete letters, named by (sender, id), that their recipient has; return how many there were.

        A letter that was set aside, or is past its expiry, can still be settled. For the dedupe time after it,
        storing the same letter again answers `Stored.SETTLED`; past as many settled names as the mailbox takes
        letters in all, the oldest names are forgotten sooner.
        """
        ...

    async def set_aside(
        self,
        recipient: DeviceId,
        sender: str,
        id: str,  # noqa: A002 - the wire's word
        notice: Letter | None = None,
    ) -> bool:
        """Take a letter out of the queue for good but keep it for an operator to look at; whether it was there.

        It is kept until its expiry, and then forgotten by `take_expired`. Past `SET_ASIDE_PER_DEVICE` of one
        recipient its oldest is dropped.

        Args:
            recipient: whose letter.
            sender: from whom.
            id: the letter's id.
            notice: an event to keep in the same commit if the letter was there, as `add_event` would.
        """
        ...

    async def take_expired(self, limit: int, notice: Notice | None = None) -> list[Letter]:
        """Delete letters past their expiry, at most ``limit``, and return them, those that expired first in front.

        Also forgets what dedupe no longer needs, and set-aside letters past their expiry; these are not returned,
        their sender has been told.

        Args:
            limit: how many letters.
            notice: makes the event to keep for each letter in the same commit, as `add_event` would: between two
                commits the process could die, and the sender would never hear of its loss.
        """
        ...

    async def purge(self, recipient: DeviceId) -> int:
        """Delete everything kept for a device, set aside or not; return how many letters and events that were."""
        ...

    async def depth(self) -> Depth:
        """How full it is."""
        ...

    async def note_acknowledger(self, device: DeviceId, *, acknowledges: bool) -> None:
        """Keep that a device acknowledges what it is sent, or forget it; `purge` does not touch it.

        Past `limits.KNOWN_ACKNOWLEDGERS` the device that was noted longest ago is forgotten.
        """
        ...

    async def acknowledgers(self) -> list[DeviceId]:
        """Return the devices that acknowledge, the one noted last at the end."""
        ...


async def asked(answer: Awaitable[T]) -> T:
    """Await a mailbox's answer; where a mailbox, which may be an application's, fails otherwise, that is logged.

    Raises:
        MailboxFailed: whatever it raised.
    """
    try:
        return await answer
    except MailboxFailed:
        raise
    except Exception as error:
        _log.exception("the mailbox failed for a reason that is not the disk's")
        raise MailboxFailed(f"the mailbox raised {type(error).__name__}") from error


def check_letters(letters: Sequence[Letter]) -> None:
    """Raise `Misuse` unless all of them may be stored."""
    for letter in letters:
        if letter.kind in EVENT_KINDS:
            raise Misuse(f"expected a letter to store, got a {letter.kind!r} event, which add_event takes")


def check_event(letter: Letter) -> None:
    """Raise `Misuse` unless the letter is an event."""
    if letter.kind not in EVENT_KINDS or letter.sender:
        raise Misuse(f"expected an event without sender, got kind {letter.kind!r} from {letter.sender!r}")
