"""Receipts remembered for a while, so that a sender who repeats a message gets its first receipt again; pure."""

from __future__ import annotations

from collections import OrderedDict

from gateway.identity import DeviceId
from gateway.peer.receipt import Receipt

_MOST = 200_000
"""Receipts at most: in 10 minutes what 67 devices send at 5 messages/s, the most they may, or 333 at one a second.
Measured on Python 3.11: 600 bytes each (ids of 32 characters, one target), so 115 MiB when full; 200 MiB if each is of
another sender."""

# Each is looked at from the front, where it is deleted too: a dict looks ever longer for its first key then.
_Receipts = OrderedDict[str, tuple[float, Receipt]]  # by id, the oldest in front
_Senders = OrderedDict[DeviceId, None]


class Remembered:
    """The receipts of (sender, id), each for ``seconds``.

    Past `_MOST` receipts, the sender that has most of them loses its oldest, so that nobody's are lost for another's
    haste; the repeat of what was lost is a new message with an old id, which its target can still tell by (from, id).
    How many one sender can have is bounded by the rate at which its messages are accepted.

    What is over is deleted when its sender adds another one, or once all of its sender's are over.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._of: OrderedDict[DeviceId, _Receipts] = OrderedDict()  # whoever added last stands at the end
        self._having: dict[int, _Senders] = {}  # who has so many; each number of it has somebody
        self._highest = 0  # of these numbers: it moves by one at a time, so that nobody has to look for it
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, sender: DeviceId, id: str, now: float) -> Receipt | None:  # noqa: A002 - the wire's word
        """Return the receipt of a repeated message, complete or still open; None for a new one."""
        kept = self._of.get(sender)
        found = kept.get(id) if kept else None
        if found is None or now - found[0] >= self._seconds:
            return None
        return found[1]

    def add(self, receipt: Receipt, id: str, now: float) -> None:  # noqa: A002 - the wire's word
        """Remember a receipt from now on, before it is complete."""
        sender = receipt.sender
        self._remove(sender, id)
        kept = self._of.setdefault(sender, OrderedDict())
        kept[id] = (now, receipt)
        self._of.move_to_end(sender)
        self._recount(sender, len(kept) - 1, len(kept))
        self._forget_old(sender, now)
        while self._of and self._has_only_old(sender := next(iter(self._of)), now):
            self._forget_old(sender, now)
        if self._count > _MOST:
            most = next(iter(self._having[self._highest]))
            self._remove(most, next(iter(self._of[most])))

    def forget(self, receipt: Receipt) -> None:
        """Let a repeat be a new attempt."""
        if receipt.id is not None:
            self._remove(receipt.sender, receipt.id)

    def _has_only_old(self, sender: DeviceId, now: float) -> bool:
        added, _ = next(reversed(self._of[sender].values()))
        return now - added >= self._seconds

    def _forget_old(self, sender: DeviceId, now: float) -> None:
        kept = self._of[sender]
        while kept and now - next(iter(kept.values()))[0] >= self._seconds:
            self._remove(sender, next(iter(kept)))

    def _remove(self, sender: DeviceId, id: str) -> None:  # noqa: A002 - the wire's word
        kept = self._of.get(sender)
        if kept is None or kept.pop(id, None) is None:
            return
        if not kept:
            del self._of[sender]
        self._recount(sender, len(kept) + 1, len(kept))

    def _recount(self, sender: DeviceId, before: int, after: int) -> None:
        """Note that a sender has one more or one less."""
        self._count += after - before
        if after:
            self._having.setdefault(after, OrderedDict())[sender] = None
        if before:
            had = self._having[before]
            del had[sender]
            if not had:
                del self._having[before]
        if after > self._highest or self._highest not in self._having:
            self._highest = after
