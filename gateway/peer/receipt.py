"""What became of one request, target by target, until the receipt can be written; pure."""

from __future__ import annotations

from msgspec import UNSET

from gateway.identity import DeviceId
from gateway.protocol.limits import PEER_TARGETS
from gateway.protocol.messages import PeerError, PeerReceipt, encode

_LISTED_BYTES = 6 * 1024
"""Of ids in a receipt, which has to fit a device's memory. Ten targets always fit; of a broadcast's, those that failed
are listed first, then those that were enqueued: the rest is in the summary."""

_WHOLE = {
    "INTERNAL_ERROR": "the message could not be stored; send it again",
    "TARGET_OFFLINE": "the target is not connected",
    "UNAUTHORIZED": "this device may not write to that target",
}
"""Failures that, when they hit every target, are answered as an error of the request."""


class Receipt:
    """The outcomes of one request; each target gets exactly one.

    Args:
        sender: who gets the receipt.
        id: the message's id as the sender is to know it, None when it gave none and need not know.
        targets: how many there are.
        now: loop time of acceptance.
    """

    __slots__ = (
        "_confirm",
        "_delivered",
        "_elapsed_ms",
        "_enqueued",
        "_failed",
        "_now",
        "_open",
        "_targets",
        "duplicate",
        "id",
        "sender",
    )

    def __init__(self, sender: DeviceId, id: str | None, targets: int, now: float) -> None:  # noqa: A002 - the wire's word
        self.sender = sender
        self.id = id
        self._targets = targets
        self._open = targets
        self._now = now
        self._delivered: list[str] = []
        self._enqueued: list[str] = []
        self._failed: dict[str, str] = {}
        self._confirm = False
        self._elapsed_ms: int | None = None  # of the first writing: a repeat gets the same receipt
        self.duplicate = False
        """The mailbox knew the message already, from before a restart."""

    @property
    def complete(self) -> bool:
        """Whether every target has its outcome."""
        return self._open == 0

    @property
    def worth_remembering(self) -> bool:
        """Whether a repeat is to get this receipt again; where all failed, a repeat is a new attempt."""
        return self._targets == 0 or len(self._failed) < self._targets

    def delivered(self, target: DeviceId, *, acknowledged: bool) -> None:
        """The target has the message; without an acknowledgement, its TCP has."""
        self._delivered.append(target)
        self._confirm = self._confirm or not acknowledged
        self._open -= 1

    def enqueued(self, target: DeviceId) -> None:
        """The message is committed to the mailbox."""
        self._enqueued.append(target)
        self._open -= 1

    def failed(self, target: DeviceId, code: str) -> None:
        """The message will not reach the target."""
        self._failed[target] = code
        self._open -= 1

    def _listed(self) -> tuple[dict[str, str], list[str], list[str]]:
        """Those targets that the receipt has room for: failed with their reasons, enqueued, delivered."""
        if self._targets <= PEER_TARGETS:
            return self._failed, self._enqueued, self._delivered
        room = _LISTED_BYTES
        reasons: dict[str, str] = {}
        for target, code in self._failed.items():
            room -= 2 * len(encode(target)) + len(code) + 5  # colon, commas, the quotes of the code
            if room < 0:
                break
            reasons[target] = code
        cut: list[list[str]] = []
        for ids in (self._enqueued, self._delivered):
            kept: list[str] = []
            for target in ids:
                room -= len(encode(target)) + 1
                if room < 0:
                    break
                kept.append(target)
            cut.append(kept)
        return reasons, cut[0], cut[1]

    def _summary(self) -> str:
        if self._open == 0 and len(self._delivered) == self._targets == 1:
            return "1 delivered"  # nearly every receipt
        parts = (("delivered", self._delivered), ("enqueued", self._enqueued), ("failed", self._failed))
        return ", ".join(f"{len(ids)} {name}" for name, ids in parts if ids) or "no targets"

    def message(self, now: float, *, duplicate: bool = False) -> PeerReceipt | PeerError:
        """Write the receipt; a request that failed as a whole, for one reason, gets an error instead."""
        id_ = UNSET if self.id is None else self.id
        if self._failed and len(self._failed) == self._targets:
            codes = set(self._failed.values())
            if len(codes) == 1 and codes <= _WHOLE.keys():
                code = codes.pop()
                return PeerError(code, _WHOLE[code], id=id_)
        if self._elapsed_ms is None:
            self._elapsed_ms = max(0, round((now - self._now) * 1000))
        reasons, enqueued, delivered = self._listed()
        return PeerReceipt(
            delivered=delivered,
            enqueued=enqueued,
            failed=list(reasons),
            summary=self._summary(),
            elapsed_ms=self._elapsed_ms,
            targets_count=self._targets,
            id=id_,
            confirm="written" if self._confirm else UNSET,
            reasons=reasons or UNSET,
            duplicate=True if duplicate or self.duplicate else UNSET,
        )
