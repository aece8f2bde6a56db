"""Which devices acknowledge, as SQL on an open mailbox file; it blocks, and is used by one operation at a time."""

from __future__ import annotations

import sqlite3

from gateway.identity import DeviceId
from gateway.protocol import limits

_DELETE = "DELETE FROM acknowledgers WHERE device = ?"
_INSERT = "INSERT INTO acknowledgers (device) VALUES (?)"
_FORGET = """DELETE FROM acknowledgers WHERE number <=
    (SELECT number FROM acknowledgers ORDER BY number DESC LIMIT 1 OFFSET ?)"""
_ALL = "SELECT device FROM acknowledgers ORDER BY number"


class AcknowledgersTable:
    """The table of devices that acknowledge; a part of `gateway.peer.letters_table.LettersTable`'s transactions.

    Args:
        connection: an open mailbox.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute

    def note(self, device: DeviceId, *, acknowledges: bool) -> None:
        """See `gateway.peer.mailbox.Mailbox.note_acknowledger`."""
        self._run(_DELETE, (device,))
        if acknowledges:
            self._run(_INSERT, (device,))
            self._run(_FORGET, (limits.KNOWN_ACKNOWLEDGERS,))

    def all(self) -> list[DeviceId]:
        """See `gateway.peer.mailbox.Mailbox.acknowledgers`."""
        return [DeviceId(device) for (device,) in self._run(_ALL)]
