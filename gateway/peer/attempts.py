"""How often letters were sent in sessions that are over, as a device that crashes on one never confirms it; pure."""

from __future__ import annotations

from collections import OrderedDict

from gateway.peer.mailbox import Letter
from gateway.protocol import limits


class Attempts:
    """Counts of letters between two sessions of their recipients: those in flight carry their own.

    Kept in memory: a restart begins to count anew. Past as many as the mailbox takes letters by default the oldest is
    forgotten; 300 bytes each.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str, str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def note(self, letter: Letter, count: int) -> None:
        """Note how often a letter has been sent in all, at the end of a session."""
        self._counts[_name(letter)] = count
        if len(self._counts) > limits.MAILBOX_TOTAL:
            self._counts.popitem(last=False)

    def take(self, letter: Letter) -> int:
        """Take out how often a letter was sent before."""
        return self._counts.pop(_name(letter), 0)


def _name(letter: Letter) -> tuple[str, str, str]:
    return letter.recipient, letter.sender, letter.id
