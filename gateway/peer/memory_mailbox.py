"""A mailbox in memory: for tests, demonstrations, and gateways that may forget at a restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

from gateway.errors import MailboxFailed
from gateway.identity import DeviceId
from gateway.observe.clock import WallClock
from gateway.peer.acknowledgers import Acknowledgers
from gateway.peer.mailbox import (
    EVENT_KINDS,
    SET_ASIDE_PER_DEVICE,
    Depth,
    Letter,
    Mailbox,
    Notice,
    Stored,
    check_event,
    check_letters,
)
from gateway.peer.tally import Tally
from gateway.protocol import limits

_Name = tuple[str, str]  # sender, id
_Entry = tuple[int, Letter]  # position, letter
_Shelf = dict[DeviceId, dict[_Name, _Entry]]


class MemoryMailbox(Mailbox):
    """Letters in dictionaries: every promise of `Mailbox` but durability; what it keeps ends with it.

    Args:
        per_device: letters with a sender that may wait for one device.
        total: letters that may wait or be set aside in all; as many events, and as many settled names.
        dedupe: seconds for which a settled letter is remembered.
        wall_clock: seconds since 1970.
        per_sender: letters of one sender that may wait, for all devices together.
    """

    def __init__(
        self,
        *,
        per_device: int,
        total: int,
        dedupe: float,
        wall_clock: WallClock,
        per_sender: int = limits.MAILBOX_PER_SENDER,
    ) -> None:
        self._dedupe = dedupe
        self._wall_clock = wall_clock
        self._open = False
        self._position = 0
        self._dropped = 0
        self._tally = Tally(per_device, per_sender, total)
        self._unseen: set[tuple[DeviceId, _Name]] = set()  # events that their recipient cannot have seen
        # each inner dict is in the order of positions: what is kept anew goes to its end
        self._waiting: _Shelf = {}
        self._aside: _Shelf = {}
        # in the order of settling
        self._settled: dict[tuple[DeviceId, _Name], float] = {}
        self._acknowledgers = Acknowledgers()
        # no letter expires before it: spares a look at all of them
        self._next_expiry = float("inf")

    @property
    def failed(self) -> str | None:
        """None: memory takes what its limits allow."""
        return None

    async def open(self) -> None:
        """Make ready."""
        self._open = True
        self._unseen.clear()

    async def close(self) -> None:
        """Close; what was kept stays with this object and can be had by opening it again."""
        self._open = False

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        """See `Mailbox.store`."""
        check_letters(letters)
        now = self._now()
        return [self._store(letter, now) for letter in letters]

    async def add_event(self, letter: Letter, *, sent: bool = False) -> None:
        """See `Mailbox.add_event`."""
        check_event(letter)
        self._add_event(letter, self._now(), sent=sent)

    async def waiting(self, recipient: DeviceId, limit: int) -> list[Letter]:
        """See `Mailbox.waiting`."""
        now = self._now()
        kept = self._waiting.get(recipient, {}).values()
        letters = [letter for _, letter in kept if letter.expires > now][:limit]
        self._unseen.difference_update((recipient, (letter.sender, letter.id)) for letter in letters)
        return letters

    async def settle(self, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        """See `Mailbox.settle`."""
        now = self._now()
        found = 0
        for name in letters:
            if self._remove_waiting(recipient, name) or self._remove_aside(recipient, name):
                found += 1
                self._remember(recipient, name, now)
        return found

    async def set_aside(
        self,
        recipient: DeviceId,
        sender: str,
        id: str,  # noqa: A002 - the wire's word
        notice: Letter | None = None,
    ) -> bool:
        """See `Mailbox.set_aside`."""
        now = self._now()
        if notice is not None:
            check_event(notice)
        entry = self._remove_waiting(recipient, (sender, id))
        if entry is None:
            return False
        self._put_aside(recipient, entry)
        if notice is not None:
            self._add_event(notice, now)
        return True

    async def take_expired(self, limit: int, notice: Notice | None = None) -> list[Letter]:
        """See `Mailbox.take_expired`."""
        now = self._now()
        self._forget_settled(now)
        if self._next_expiry > now:
            return []
        due = sorted(
            (entry for entry in _entries(self._waiting) if entry[1].expires <= now),
            key=lambda entry: (entry[1].expires, entry[1].created, entry[0]),
        )
        taken = [letter for _, letter in due[:limit]]
        events = [event for letter in taken if notice and (event := notice(letter))]
        for event in events:
            check_event(event)
        for letter in taken:
            self._remove_waiting(letter.recipient, (letter.sender, letter.id))
        self._forget_aside(now)
        left = chain(_entries(self._waiting), _entries(self._aside))
        self._next_expiry = min((letter.expires for _, letter in left), default=float("inf"))
        for event in events:
            self._add_event(event, now)
        return taken

    async def purge(self, recipient: DeviceId) -> int:
        """See `Mailbox.purge`."""
        self._now()
        waiting = list(self._waiting.get(recipient, ()))
        for name in waiting:
            self._remove_waiting(recipient, name)
        aside = list(self._aside.get(recipient, ()))
        for name in aside:
            self._remove_aside(recipient, name)
        for key in [key for key in self._settled if key[0] == recipient]:
            self._forget(key)
        return len(waiting) + len(aside)

    async def depth(self) -> Depth:
        """See `Mailbox.depth`."""
        now = self._now()
        oldest = min((letter.created for _, letter in _entries(self._waiting)), default=now)
        return Depth(self._tally.waiting, self._tally.set_aside, max(0.0, now - oldest), self._dropped)

    async def note_acknowledger(self, device: DeviceId, *, acknowledges: bool) -> None:
        """See `Mailbox.note_acknowledger`."""
        self._now()
        self._acknowledgers.note(device, acknowledges=acknowledges)

    async def acknowledgers(self) -> list[DeviceId]:
        """See `Mailbox.acknowledgers`."""
        self._now()
        return list(self._acknowledgers)

    # --- one letter -----------------------------------------------------------------------------------------------

    def _now(self) -> float:
        if not self._open:
            raise MailboxFailed("the mailbox is not open")
        return self._wall_clock()

    def _store(self, letter: Letter, now: float) -> Stored:
        recipient, name = letter.recipient, (letter.sender, letter.id)
        if name in self._waiting.get(recipient, ()):
            return Stored.DUPLICATE
        if self._is_settled(recipient, name, now):
            return Stored.SETTLED
        was_aside = name in self._aside.get(recipient, ())
        if self._tally.is_full(recipient, letter.sender, room=int(was_aside)):
            return Stored.FULL
        self._remove_aside(recipient, name)
        self._insert(letter)
        return Stored.STORED

    def _add_event(self, event: Letter, now: float, *, sent: bool = False) -> None:
        recipient, name = event.recipient, (event.sender, event.id)
        kept = self._waiting.get(recipient, {})
        if name in kept or name in self._aside.get(recipient, ()) or self._is_settled(recipient, name, now):
            return
        events = [letter for _, letter in kept.values() if letter.kind in EVENT_KINDS]
        same = [
            letter
            for letter in events
            if (letter.kind, letter.about, letter.reason) == (event.kind, event.about, event.reason)
            and letter.expires > now
        ]
        last = (same[-1].sender, same[-1].id) if same else name
        if (recipient, last) in self._unseen and not sent:
            self._remove_waiting(recipient, last)
            event = msgspec.structs.replace(event, count=event.count + same[-1].count)
        elif len(events) >= limits.MAILBOX_EVENTS or self._tally.events_full:
            self._dropped += 1
            if not events:
                return
            self._remove_waiting(recipient, (events[0].sender, events[0].id))
        self._insert(event)
        if not sent:
            self._unseen.add((recipient, name))

    def _insert(self, letter: Letter) -> None:
        # a settled name that is still there is past its time, else the letter would not be kept
        self._forget((letter.recipient, (letter.sender, letter.id)))
        self._position += 1
        self._waiting.setdefault(letter.recipient, {})[letter.sender, letter.id] = (self._position, letter)
        self._tally.add_letter(letter.recipient, letter.sender, letter.kind)
        self._next_expiry = min(self._next_expiry, letter.expires)

    def _remove_waiting(self, recipient: DeviceId, name: _Name) -> _Entry | None:
        entry = _pop(self._waiting, recipient, name)
        self._unseen.discard((recipient, name))
        if entry is not None:
            self._tally.remove_letter(recipient, entry[1].sender, entry[1].kind)
        return entry

    # --- set aside ------------------------------------------------------------------------------------------------

    def _put_aside(self, recipient: DeviceId, entry: _Entry) -> None:
        aside = self._aside.setdefault(recipient, {})
        aside[entry[1].sender, entry[1].id] = entry
        self._tally.set_aside += 1
        if len(aside) > SET_ASIDE_PER_DEVICE:
            _, oldest = min(aside.values(), key=lambda kept: kept[0])
            self._remove_aside(recipient, (oldest.sender, oldest.id))
            self._dropped += 1

    def _remove_aside(self, recipient: DeviceId, name: _Name) -> bool:
        found = _pop(self._aside, recipient, name) is not None
        self._tally.set_aside -= found
        return found

    def _forget_aside(self, now: float) -> None:
        for letter in [letter for _, letter in _entries(self._aside) if letter.expires <= now]:
            self._remove_aside(letter.recipient, (letter.sender, letter.id))

    # --- settled names --------------------------------------------------------------------------------------------

    def _is_settled(self, recipient: DeviceId, name: _Name, now: float) -> bool:
        settled_at = self._settled.get((recipient, name))
        return settled_at is not None and settled_at > now - self._dedupe

    def _remember(self, recipient: DeviceId, name: _Name, now: float) -> None:
        if not self._dedupe:
            return
        self._settled[recipient, name] = now
        self._tally.settled += 1
        if self._tally.settled_over:
            self._forget(next(iter(self._settled)))
            self._dropped += 1

    def _forget(self, key: tuple[DeviceId, _Name]) -> None:
        if self._settled.pop(key, None) is not None:
            self._tally.settled -= 1

    def _forget_settled(self, now: float) -> None:
        while self._settled:
            key, settled_at = next(iter(self._settled.items()))
            if settled_at > now - self._dedupe:
                return
            self._forget(key)


def _entries(shelf: _Shelf) -> Iterator[_Entry]:
    return chain.from_iterable(kept.values() for kept in shelf.values())


def _pop(shelf: _Shelf, recipient: DeviceId, name: _Name) -> _Entry | None:
    kept = shelf.get(recipient)
    if kept is None:
        return None
    entry = kept.pop(name, None)
    if not kept:
        del shelf[recipient]
    return entry
