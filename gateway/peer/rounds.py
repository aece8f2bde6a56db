"""Counting a device's redelivered mail by sender, until each sender's share can be reported; pure.

Every message whose receipt said ``enqueued`` ends in exactly one report: ``redelivered`` here, or ``expired`` or
``dropped`` elsewhere. A share is reported when all of it is delivered, or when its wait is over; what is delivered
after that belongs to the sender's next report.
"""

from __future__ import annotations


class _Share:
    __slots__ = ("deadline", "delivered", "open")

    def __init__(self, deadline: float) -> None:
        self.open = 0
        self.delivered = 0
        self.deadline = deadline


class Rounds:
    """The shares of one device's mail, by sender.

    Args:
        wait: seconds from the first message of a share to its report.
    """

    __slots__ = ("_shares", "_wait")

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._shares: dict[str, _Share] = {}

    def began(self, sender: str, now: float) -> None:
        """A stored message of the sender is on its way to the device."""
        share = self._shares.get(sender)
        if share is None:
            share = self._shares[sender] = _Share(now + self._wait)
        share.open += 1

    def ended(self, sender: str, *, delivered: bool) -> None:
        """A message that `began` is delivered, or will not be in this session."""
        share = self._shares.get(sender)
        if share is None:
            return
        share.open -= 1
        if delivered:
            share.delivered += 1

    def due(self, now: float, *, more_waiting: bool) -> list[tuple[str, int]]:
        """Take the reports that are due: (sender, count), the count never 0.

        Args:
            now: loop time.
            more_waiting: mail of the device is still in the mailbox, so that no share is known to be complete.
        """
        reports: list[tuple[str, int]] = []
        for sender, share in tuple(self._shares.items()):
            complete = share.open <= 0 and not more_waiting
            if not complete and now < share.deadline:
                continue
            if share.delivered:
                reports.append((sender, share.delivered))
            if complete or share.open <= 0:
                del self._shares[sender]
            else:
                share.delivered = 0
                share.deadline = now + self._wait
        return reports

    def next_due(self) -> float | None:
        """Return the loop time of the earliest deadline, None where no share is open."""
        return min((share.deadline for share in self._shares.values()), default=None)

    def take_all(self) -> list[tuple[str, int]]:
        """Take what is delivered and not yet reported, whatever is still open: the device has gone."""
        reports: list[tuple[str, int]] = []
        for sender, share in self._shares.items():
            if share.delivered:
                reports.append((sender, share.delivered))
                share.delivered = 0
        return reports
