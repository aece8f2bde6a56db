"""What a mailbox does, as SQL on an open file; it blocks, and is used by one operation at a time."""

# ruff: noqa: S608 - the statements are put together of this module's constants only; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from gateway.identity import DeviceId
from gateway.peer.acknowledgers_table import AcknowledgersTable
from gateway.peer.mailbox import EVENT_KINDS, SET_ASIDE_PER_DEVICE, Depth, Letter, Notice, Stored, check_event
from gateway.peer.tally import Tally
from gateway.protocol import limits

PROBE_BYTES = 64 << 10  # some large letters' worth: a disk that takes a page more is full all the same
FORGOTTEN_AT_ONCE = 1000  # settled names in one sweep, so that it does not hold up the letters behind it

COLUMNS = ", ".join(Letter.__struct_fields__)
_EVENT_KINDS = ", ".join(f"'{kind}'" for kind in sorted(EVENT_KINDS))

# INDEXED BY: a plan that looks at all letters would hold up every device; with it SQLite raises an error instead.
_FIND = """SELECT position, kind, state, settled_at FROM letters INDEXED BY letters_by_name
    WHERE recipient = ? AND sender = ? AND id = ?"""
_INSERT = f"INSERT INTO letters ({COLUMNS}) VALUES ({', '.join('?' * len(Letter.__struct_fields__))})"
_DELETE = "DELETE FROM letters WHERE position = ?"
_WAITING = f"""SELECT position, {COLUMNS} FROM letters INDEXED BY letters_waiting
    WHERE state = 'waiting' AND recipient = ? AND expires > ? ORDER BY position LIMIT ?"""
_OLDEST = "SELECT min(created) FROM letters INDEXED BY letters_expiring WHERE state = 'waiting'"
_EXPIRED = f"""SELECT position, {COLUMNS} FROM letters INDEXED BY letters_expiring
    WHERE state = 'waiting' AND expires <= ? ORDER BY expires, created, position LIMIT ?"""
_SAME_EVENT = """SELECT position, count FROM letters INDEXED BY letters_events
    WHERE state = 'waiting' AND sender = '' AND recipient = ? AND kind = ? AND about = ? AND reason = ?
    AND expires > ? ORDER BY position DESC LIMIT 1"""
_EVENTS_OF = f"""SELECT position, kind FROM letters INDEXED BY letters_events
    WHERE state = 'waiting' AND sender = '' AND recipient = ? AND kind IN ({_EVENT_KINDS}) ORDER BY position"""
_SETTLE = "UPDATE letters SET state = 'settled', settled_at = ?, body = NULL WHERE position = ?"
_FORGET_SETTLED = """DELETE FROM letters WHERE position IN (SELECT position FROM letters INDEXED BY letters_settled
    WHERE state = 'settled' AND settled_at <= ? ORDER BY settled_at LIMIT ?)"""
_FORGET_OLDEST_SETTLED = """DELETE FROM letters WHERE position IN (SELECT position FROM letters
    INDEXED BY letters_settled WHERE state = 'settled' ORDER BY settled_at, position LIMIT ?)"""
_SET_ASIDE = "UPDATE letters SET state = 'set aside' WHERE position = ?"
_ASIDE_OF = """SELECT count(*), min(position) FROM letters INDEXED BY letters_aside
    WHERE state = 'set aside' AND recipient = ?"""
_FORGET_ASIDE = """DELETE FROM letters WHERE position IN (SELECT position FROM letters INDEXED BY letters_aside
    WHERE state = 'set aside' AND expires <= ? LIMIT ?)"""
_KEPT_OF = (
    "SELECT sender, position, kind, state, settled_at FROM letters INDEXED BY letters_by_name WHERE recipient = ?"
)
_PROBE = f"""INSERT OR REPLACE INTO letters ({COLUMNS}, state, settled_at)
    VALUES ('', '', 'probe', 'probe', zeroblob(?), 0, 0, 0, '', 0, '', 'settled', 0)"""
_DELETE_PROBE = "DELETE FROM letters WHERE recipient = '' AND sender = '' AND id = 'probe'"
_COUNT_WAITING = """SELECT recipient, count(*), sum(sender <> '') FROM letters INDEXED BY letters_waiting
    WHERE state = 'waiting' GROUP BY recipient"""
_COUNT_SENT = """SELECT sender, count(*) FROM letters INDEXED BY letters_waiting
    WHERE state = 'waiting' AND sender <> '' GROUP BY sender"""
_COUNT_EVENTS = f"""SELECT count(*) FROM letters INDEXED BY letters_events
    WHERE state = 'waiting' AND sender = '' AND kind IN ({_EVENT_KINDS})"""
_COUNT_ASIDE = "SELECT count(*) FROM letters INDEXED BY letters_aside WHERE state = 'set aside'"
_COUNT_SETTLED = "SELECT count(*) FROM letters INDEXED BY letters_settled WHERE state = 'settled'"


class _Found(NamedTuple):
    position: int
    kind: str
    state: str
    settled_at: float | None


class LettersTable:
    """The table of letters; everything is done between `begin` and `commit` or `rollback`.

    Args:
        connection: an open mailbox, which nobody else writes to.
        per_device: letters with a sender that may wait for one device.
        total: letters that may wait or be set aside in all; as many events, and as many settled names.
        dedupe: seconds for which a settled letter is remembered.
        per_sender: letters of one sender that may wait, for all devices together.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        per_device: int,
        total: int,
        dedupe: float,
        per_sender: int = limits.MAILBOX_PER_SENDER,
    ) -> None:
        self.acknowledgers = AcknowledgersTable(connection)
        self._connection = connection
        self._run = connection.execute
        self._new_tally = partial(Tally, per_device, per_sender, total)
        self._dedupe = dedupe
        # Kept while nobody else writes; None when unknown: at the beginning, and after a rollback.
        self._known_tally: Tally | None = None
        # Positions of the events that their recipient cannot have seen; a rollback forgets them, which merges less.
        self._unseen: set[int] = set()
        self._changes = 0
        self._dropped = 0
        self._dropped_before = 0

    # --- transactions ---------------------------------------------------------------------------------------------

    @property
    def wrote(self) -> bool:
        """Whether anything has been written since `begin`."""
        return self._connection.total_changes != self._changes

    def begin(self) -> None:
        """Begin a transaction that may write."""
        self._dropped_before = self._dropped
        self._changes = self._connection.total_changes
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make durable what was done since `begin`."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Undo what was done since `begin`, however much of it SQLite has undone itself."""
        self._known_tally = None
        self._unseen.clear()
        self._dropped = self._dropped_before
        if self._connection.in_transaction:
            self._run("ROLLBACK")

    def write_probe(self) -> None:
        """Write what means nothing, to learn whether the disk takes it: a settled letter of long ago to nobody."""
        self._run(_PROBE, (PROBE_BYTES,))

    def delete_probe(self) -> None:
        """Take it out again; should that fail, the next sweep does."""
        self._run(_DELETE_PROBE)
        self._known_tally = None  # which may have counted one that was left behind

    @property
    def _tally(self) -> Tally:
        if self._known_tally is None:
            tally = self._new_tally()
            for recipient, waiting, share in self._run(_COUNT_WAITING):
                tally.add(recipient, waiting, share)
            for sender, waiting in self._run(_COUNT_SENT):
                tally.add_sent(sender, waiting)
            tally.events = self._number(_COUNT_EVENTS)
            tally.set_aside = self._number(_COUNT_ASIDE)
            tally.settled = self._number(_COUNT_SETTLED)
            self._known_tally = tally
        return self._known_tally

    # --- operations, each as `Mailbox` has it -----------------------------------------------------------------------

    def store(self, letters: Sequence[Letter], now: float) -> list[Stored]:
        """See `Mailbox.store`."""
        return [self._store(letter, now) for letter in letters]

    def add_event(self, event: Letter, now: float, *, sent: bool = False) -> None:
        """See `Mailbox.add_event`."""
        found = self._find(event.recipient, event.sender, event.id)
        if found is not None:
            if found.state != "settled" or self._is_remembered(found, now):
                return
            self._delete(event.recipient, event.sender, found)
        key = (event.recipient, event.kind, event.about, event.reason)
        same = None if sent else self._run(_SAME_EVENT, (*key, now)).fetchone()
        if same is not None and same[0] in self._unseen:
            position, count = same
            self._delete(event.recipient, "", _Found(position, event.kind, "waiting", None))
            event = msgspec.structs.replace(event, count=event.count + count)
        elif not self._make_room_for_event(event.recipient):
            return
        position = self._insert(event)
        if not sent:
            self._unseen.add(position)

    def waiting(self, recipient: DeviceId, limit: int, now: float) -> list[Letter]:
        """See `Mailbox.waiting`."""
        rows = self._run(_WAITING, (recipient, now, limit)).fetchall()
        self._unseen.difference_update(position for position, *_ in rows)
        return [letter_of(letter) for _, *letter in rows]

    def settle(self, recipient: DeviceId, names: Sequence[tuple[str, str]], now: float) -> int:
        """See `Mailbox.settle`."""
        settled = 0
        for sender, id_ in names:
            found = self._find(recipient, sender, id_)
            if found is None or found.state == "settled":
                continue
            settled += 1
            if self._dedupe:
                self._discount(recipient, sender, found)
                self._run(_SETTLE, (now, found.position))
                self._tally.settled += 1
            else:
                self._delete(recipient, sender, found)
        if over := self._tally.settled_over:
            self._tally.settled -= self._run(_FORGET_OLDEST_SETTLED, (over,)).rowcount
            self._dropped += over
        return settled

    def set_aside(self, recipient: DeviceId, sender: str, id_: str, notice: Letter | None, now: float) -> bool:
        """See `Mailbox.set_aside`."""
        found = self._find(recipient, sender, id_)
        if found is None or found.state != "waiting":
            return False
        self._discount(recipient, sender, found)
        self._run(_SET_ASIDE, (found.position,))
        self._tally.set_aside += 1
        count, oldest = self._run(_ASIDE_OF, (recipient,)).fetchone()
        if count > SET_ASIDE_PER_DEVICE:
            self._run(_DELETE, (oldest,))
            self._tally.set_aside -= 1
            self._dropped += 1
        if notice is not None:
            self.add_event(notice, now)
        return True

    def take_expired(self, limit: int, notice: Notice | None, now: float) -> list[Letter]:
        """See `Mailbox.take_expired`."""
        rows = self._run(_EXPIRED, (now, limit)).fetchall()
        taken = [letter_of(row[1:]) for row in rows]
        for (position, *_), letter in zip(rows, taken, strict=True):
            self._delete(letter.recipient, letter.sender, _Found(position, letter.kind, "waiting", None))
        self._tally.set_aside -= self._run(_FORGET_ASIDE, (now, FORGOTTEN_AT_ONCE)).rowcount
        self._tally.settled -= self._run(_FORGET_SETTLED, (now - self._dedupe, FORGOTTEN_AT_ONCE)).rowcount
        for event in [notice(letter) for letter in taken] if notice else ():
            if event is not None:
                check_event(event)
                self.add_event(event, now)
        return taken

    def purge(self, recipient: DeviceId) -> int:
        """See `Mailbox.purge`."""
        kept = [(sender, _Found(*found)) for sender, *found in self._run(_KEPT_OF, (recipient,)).fetchall()]
        for sender, found in kept:
            self._delete(recipient, sender, found)
        return sum(found.state != "settled" for _, found in kept)

    def depth(self, now: float) -> Depth:
        """See `Mailbox.depth`."""
        oldest = self._run(_OLDEST).fetchone()[0]
        age = 0.0 if oldest is None else max(0.0, now - oldest)
        return Depth(self._tally.waiting, self._tally.set_aside, age, self._dropped)

    # --- one letter -----------------------------------------------------------------------------------------------

    def _number(self, query: str) -> int:
        number: int = self._run(query).fetchone()[0]
        return number

    def _find(self, recipient: str, sender: str, id_: str) -> _Found | None:
        row = self._run(_FIND, (recipient, sender, id_)).fetchone()
        return None if row is None else _Found(*row)

    def _is_remembered(self, found: _Found, now: float) -> bool:
        return found.settled_at is not None and found.settled_at > now - self._dedupe

    def _store(self, letter: Letter, now: float) -> Stored:
        recipient, sender = letter.recipient, letter.sender
        found = self._find(recipient, sender, letter.id)
        if found is not None and found.state == "waiting":
            return Stored.DUPLICATE
        if found is not None and self._is_remembered(found, now):
            return Stored.SETTLED
        was_aside = found is not None and found.state == "set aside"
        if self._tally.is_full(recipient, sender, room=int(was_aside)):
            return Stored.FULL
        if found is not None:
            self._delete(recipient, sender, found)
        self._insert(letter)
        return Stored.STORED

    def _insert(self, letter: Letter) -> int:
        tally = self._tally  # before the row is there: it may have to be counted anew
        position = self._run(_INSERT, msgspec.structs.astuple(letter)).lastrowid
        assert position is not None
        tally.add_letter(letter.recipient, letter.sender, letter.kind)
        return position

    def _delete(self, recipient: str, sender: str, found: _Found) -> None:
        self._discount(recipient, sender, found)
        self._run(_DELETE, (found.position,))

    def _discount(self, recipient: str, sender: str, found: _Found) -> None:
        self._unseen.discard(found.position)
        if found.state == "waiting":
            self._tally.remove_letter(recipient, sender, found.kind)
        elif found.state == "set aside":
            self._tally.set_aside -= 1
        else:
            self._tally.settled -= 1

    def _make_room_for_event(self, recipient: str) -> bool:
        events = self._run(_EVENTS_OF, (recipient,)).fetchall()
        if len(events) < limits.MAILBOX_EVENTS and not self._tally.events_full:
            return True
        self._dropped += 1
        if not events:
            return False
        position, kind = events[0]
        self._delete(recipient, "", _Found(position, kind, "waiting", None))
        return True


def letter_of(row: Sequence[Any]) -> Letter:
    """Make a letter of the values of `COLUMNS`."""
    recipient, sender, id_, kind, body, created, expires, confirm, about, count, reason = row
    return Letter(recipient, sender, id_, kind, body, created, expires, bool(confirm), about, count, reason)
