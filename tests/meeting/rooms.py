"""A room: meetings with a pool and a mailbox that do as a test says."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.config import MeetingConfig
from gateway.device.outbox import Sent
from gateway.errors import PoolBusy
from gateway.meeting.conclusion import SendSummary
from gateway.meeting.meeting import Meetings
from gateway.meeting.snapshot import Snapshots
from tests.fake_session import FakeSession, Records, say
from tests.virtual_time import wall


class Room:
    """Meetings on virtual time.

    Attributes:
        pool_busy: the pool refuses.
        pool_seconds: how long its work takes.
        mail_fails: the mailbox refuses.
        present: who is there.
        mail: (device, summary) of each summary that was left in a mailbox.
        calls: names of the functions that ran in the pool.
        at_once: how many ran at the same time, at most.
    """

    def __init__(
        self,
        config: MeetingConfig | None = None,
        summarizer: Any = None,
        *,
        test_mode: bool = True,
        send_summary: SendSummary | None = None,
    ) -> None:
        self.records = Records()
        self.snapshots = Snapshots(test_mode=test_mode)
        self.pool_busy = False
        self.pool_seconds = 0.0
        self.mail_fails = False
        self.mail: list[tuple[str, Any]] = []
        self.present: dict[str, FakeSession] = {}
        self.calls: list[str] = []
        self.at_once = 0
        self._running = 0
        self.meetings = Meetings(
            config or MeetingConfig(),
            self.records.observers,
            self.snapshots,
            self.run,
            send_summary or self.send_summary,
            summarizer,
            wall,
        )

    async def run(self, work: Any, *args: Any) -> Any:
        """Do as the worker pool does."""
        if self.pool_busy:
            raise PoolBusy("busy")
        self.calls.append(work.__name__)
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        try:
            await asyncio.sleep(self.pool_seconds)
            return work(*args)
        finally:
            self._running -= 1

    async def send_summary(self, device: str, summary: Any) -> bool:
        """Do as the courier does, with a device that has what could be sent to it."""
        session = self.present.get(device)
        if session is not None and session.send_json(summary) is not Sent.FAILED:
            return True
        if not self.mail_fails:
            self.mail.append((device, summary))
        return not self.mail_fails

    def enter(self, device: str = "dev-0001", **features: bool) -> FakeSession:
        """Let a device come online."""
        session = self.present[device] = FakeSession(device, self.records, **features)
        self.meetings.on_online(session)
        return session

    def leave(self, session: FakeSession) -> None:
        """Let it go offline."""
        self.present.pop(session.device, None)
        self.meetings.on_offline(session)
        session.broken = True

    def snippet(self, session: FakeSession, *texts: str, **fields: Any) -> dict[str, Any]:
        """Let a device say something, and return the answer."""
        say(self.meetings, session, "meeting", phase="snippet", items=[{"text": text} for text in texts], **fields)
        return session.messages[-1]

    def ask(self, session: FakeSession, phase: Any, **fields: Any) -> None:
        """Let a device send any step of a meeting."""
        say(self.meetings, session, "meeting", phase=phase, **fields)
