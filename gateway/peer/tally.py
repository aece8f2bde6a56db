"""How many letters a mailbox keeps, by which its limits are judged."""

from __future__ import annotations

from gateway.peer.mailbox import EVENT_KINDS


class Tally:
    """Counts of what a mailbox keeps; pure. A letter is counted when it enters a state and discounted when it leaves.

    Args:
        per_device: letters with a sender that may wait for one recipient.
        per_sender: letters of one sender that may wait.
        total: letters that may wait or be set aside in all.

    Attributes:
        waiting: letters and events that wait.
        events: events among them.
        set_aside: letters set aside.
        settled: names remembered against repeats.
    """

    __slots__ = (
        "_per_device",
        "_per_sender",
        "_sent",
        "_shares",
        "_total",
        "events",
        "set_aside",
        "settled",
        "waiting",
    )

    def __init__(self, per_device: int, per_sender: int, total: int) -> None:
        self._per_device = per_device
        self._per_sender = per_sender
        self._total = total
        self._shares: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self.waiting = 0
        self.events = 0
        self.set_aside = 0
        self.settled = 0

    def is_full(self, recipient: str, sender: str, room: int = 0) -> bool:
        """Tell whether one letter more is too many; ``room`` letters go when it comes."""
        if sender and (
            self._shares.get(recipient, 0) >= self._per_device or self._sent.get(sender, 0) >= self._per_sender
        ):
            return True
        return self.waiting - self.events + self.set_aside - room >= self._total

    @property
    def events_full(self) -> bool:
        """Whether one event more is too many."""
        return self.events >= self._total

    @property
    def settled_over(self) -> int:
        """How many settled names are too many."""
        return max(0, self.settled - self._total)

    def add(self, recipient: str, waiting: int, share: int) -> None:
        """Count what waits for a recipient, ``share`` of it with a sender; events and senders are counted apart."""
        self.waiting += waiting
        if share:
            self._shares[recipient] = self._shares.get(recipient, 0) + share

    def add_sent(self, sender: str, waiting: int) -> None:
        """Count what waits of a sender, for whomever."""
        self._sent[sender] = self._sent.get(sender, 0) + waiting

    def add_letter(self, recipient: str, sender: str, kind: str) -> None:
        """Count a letter that waits now."""
        self.add(recipient, 1, 1 if sender else 0)
        if sender:
            self.add_sent(sender, 1)
        self.events += kind in EVENT_KINDS

    def remove_letter(self, recipient: str, sender: str, kind: str) -> None:
        """Discount a letter that waits no longer."""
        self.waiting -= 1
        self.events -= kind in EVENT_KINDS
        if sender:
            _count_down(self._shares, recipient)
            _count_down(self._sent, sender)


def _count_down(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]
