"""Whatever devices, the pool, the mailbox and restarts do: what was taken is in exactly one summary in the end."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meeting.summary import Summary
from gateway.observe.events import SnippetsTaken
from tests.meeting.houses import House
from tests.virtual_time import timers, virtual_time

IDS = st.sampled_from([None, None, "m1", "m2"])
STEPS = st.one_of(
    st.tuples(st.just("say"), IDS),
    st.tuples(st.just("finalize"), IDS),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 13, 61, 700])),
    st.tuples(st.sampled_from(["leave", "enter", "mode", "pool", "mail", "socket", "restart"]), st.none()),
)


class Everything:
    """A summarizer whose summary is all that was said; one sentence a snippet."""

    def digest(self, notes: Any, batch: Any) -> Any:
        """Keep everything."""
        return [*(notes or []), *(snippet.text for snippet in batch)]

    def summarize(self, notes: Any) -> Summary:
        """Return everything."""
        return Summary(bullets=notes)


class Story:
    """One device's story, step by step."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.house = House(directory, summarizer=Everything())
        self.session: Any = None
        self.sent: list[dict[str, Any]] = []
        self.mail: list[Any] = []
        self.taken: list[str] = []
        self.said = 0

    async def step(self, name: str, argument: Any) -> None:
        """Do one step, if it can be done now."""
        if name in {"say", "finalize", "mode", "leave", "socket"} and self.session is None:
            return
        await getattr(self, name)(argument)

    async def say(self, id_: str | None) -> None:
        """Say something new."""
        self.said += 1
        text = f"text {self.said}"
        self.house.ask(self.session, "snippet", items=[{"text": text}], meeting_id=id_)
        if self.house.records.of(SnippetsTaken)[-1].taken:
            self.taken.append(text)

    async def finalize(self, id_: str | None) -> None:
        """Ask for the summary."""
        self.house.ask(self.session, "finalize", meeting_id=id_)

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def mode(self, _: None) -> None:
        """Enter the meeting mode."""
        self.house.meetings.on_mode_start(self.session, "meeting")

    async def leave(self, _: None) -> None:
        """Go offline."""
        self.house.leave(self.session)
        self.sent += self.session.messages
        self.session = None

    async def enter(self, _: None) -> None:
        """Come online."""
        if self.session is None:
            self.session = self.house.enter()

    async def pool(self, _: None) -> None:
        """The pool is busy, or not any more."""
        self.house.pool_busy = not self.house.pool_busy

    async def mail_(self, _: None) -> None:
        """The mailbox fails, or works again."""
        self.house.mail_fails = not self.house.mail_fails

    async def socket(self, _: None) -> None:
        """The socket takes nothing, or takes something again."""
        self.session.broken = not self.session.broken

    async def restart(self, _: None) -> None:
        """Stop the gateway and start another."""
        if self.session is not None:
            await self.leave(None)
        await self.house.stop()
        self.mail += self.house.mail
        self.house = House(self.directory, summarizer=Everything())
        await self.house.start()

    async def end(self) -> None:
        """Everything works again, the device goes for good, and time passes."""
        self.house.pool_busy = self.house.mail_fails = False
        if self.session is not None:
            await self.leave(None)
        await asyncio.sleep(800)
        self.mail += self.house.mail
        assert self.house.meetings.attendees() == ()
        await self.house.stop()
        assert timers() == []

    def summarized(self) -> list[str]:
        """Return what is in the summaries that were sent or mailed, without the repeated ones."""
        texts = []
        for message in self.sent:
            if message.get("phase") == "summary" and "idempotent" not in message:
                texts += message["bullets"]
        for _, summary in self.mail:
            texts += summary.bullets
        return texts


@settings(deadline=None, max_examples=150)
@given(st.lists(STEPS, max_size=30))
def test_nothing_is_lost(steps):
    """Each snippet that was taken is in one summary that went out, once, and in the order in which it was said."""

    @virtual_time
    async def check():
        with tempfile.TemporaryDirectory() as directory:
            story = Story(Path(directory))
            await story.house.start()
            for name, argument in [("enter", None), *steps]:
                await story.step({"mail": "mail_"}.get(name, name), argument)
            await story.end()
        assert sorted(story.summarized()) == sorted(story.taken)

    check()
