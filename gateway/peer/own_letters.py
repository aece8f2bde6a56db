"""What the gateway itself has to say to a device, as letters."""

from __future__ import annotations

import secrets

from gateway.identity import DeviceId
from gateway.observe.clock import WallClock
from gateway.peer.mailbox import Letter, Notice
from gateway.protocol.messages import MeetingSummary, encode


class OwnLetters:
    """Writes letters without a sender.

    Args:
        wall_clock: for their dates.
        life: seconds until they expire.
    """

    def __init__(self, wall_clock: WallClock, life: float) -> None:
        self._wall_clock = wall_clock
        self._life = life

    def event(self, device: str, kind: str, about: str, *, count: int = 0, reason: str = "") -> Letter:
        """Write what became of messages a device has sent; `gateway.peer.mailbox.EVENT_KINDS` has the kinds."""
        return self._write(device, kind, self._wall_clock(), about=about, count=count, reason=reason)

    def summary(self, device: DeviceId, summary: MeetingSummary) -> Letter:
        """Write the summary of a meeting."""
        return self._write(device, "summary", self._wall_clock(), body=encode(summary))

    def notice_of_expiry(self) -> Notice:
        """Make what writes ``expired`` events, each for one letter that expires now."""
        now = self._wall_clock()  # here: a notice may be made in any thread

        def notice(letter: Letter) -> Letter | None:
            if letter.kind != "peer":
                return None
            return self._write(letter.sender, "expired", now, about=letter.recipient, count=1, reason="ttl")

        return notice

    def _write(
        self,
        device: str,
        kind: str,
        now: float,
        *,
        about: str = "",
        count: int = 0,
        reason: str = "",
        body: bytes = b"",
    ) -> Letter:
        return Letter(
            recipient=DeviceId(device),
            sender="",
            id=secrets.token_hex(8),
            kind=kind,
            body=body,
            created=now,
            expires=now + self._life,
            about=about,
            count=count,
            reason=reason,
        )
