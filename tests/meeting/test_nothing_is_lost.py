"""Whatever devices, lines, the pool, the mailbox and restarts do: what was taken is in one summary in the end."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meeting.summary import Summary
from gateway.observe.events import SnippetsTaken
from gateway.peer import courier
from tests.meeting.houses import House
from tests.peer.post_office import Office, open_office
from tests.virtual_time import virtual_time

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
    """One device's story, step by step, with a real courier between its meetings and its line."""

    def __init__(self, directory: Path, office: Office) -> None:
        self.directory = directory
        self.office = office
        self.device = office.device("dev-0001", online=False)
        self.house = self.new_house()
        self.taken: list[str] = []
        self.said = 0

    def new_house(self) -> House:
        """Begin with what was put away."""
        return House(self.directory, summarizer=Everything(), send_summary=self.send_summary)

    async def send_summary(self, device: Any, summary: Any) -> bool:
        """By the courier of the moment."""
        return await self.office.courier.send_summary(device, summary)

    async def step(self, name: str, argument: Any) -> None:
        """Do one step, if it can be done now."""
        if name in {"say", "finalize", "mode", "leave", "socket"} and self.device.session is None:
            return
        await getattr(self, name)(argument)

    async def say(self, id_: str | None) -> None:
        """Say something new."""
        self.said += 1
        text = f"text {self.said}"
        self.house.ask(self.device.session, "snippet", items=[{"text": text}], meeting_id=id_)
        if self.office.of(SnippetsTaken)[-1].taken:
            self.taken.append(text)

    async def finalize(self, id_: str | None) -> None:
        """Ask for the summary."""
        self.house.ask(self.device.session, "finalize", meeting_id=id_)

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def mode(self, _: None) -> None:
        """Enter the meeting mode."""
        self.house.meetings.on_mode_start(self.device.session, "meeting")

    async def leave(self, _: None) -> None:
        """Go offline; what is on the way is lost."""
        session = self.device.session
        self.device.disconnect()
        self.house.meetings.on_offline(session)

    async def enter(self, _: None) -> None:
        """Come online."""
        if self.device.session is None:
            self.device.connect()
            self.house.meetings.on_online(self.device.session)

    async def pool(self, _: None) -> None:
        """The pool is busy, or not any more."""
        self.house.pool_busy = not self.house.pool_busy

    async def mail_(self, _: None) -> None:
        """The mailbox fails, or works again."""
        self.office.mailbox.failing = set() if self.office.mailbox.failing else {"*"}

    async def socket(self, _: None) -> None:
        """The line is dead, which nobody notices, or is alive again."""
        self.device.wire.stalled = not self.device.wire.stalled
        if not self.device.wire.stalled:
            self.device.channel.arrive()

    async def restart(self, _: None) -> None:
        """Stop the gateway and start another."""
        if self.device.session is not None:
            await self.leave(None)
        await self.stop()
        self.house = self.new_house()
        await self.office.restart()
        await self.house.start()

    async def stop(self) -> None:
        """Stop what the gateway stops before the courier."""
        for feature in reversed(self.house.features):
            await feature.stop()

    async def end(self) -> None:
        """Everything works again, the device comes for its mail and goes for good, and time passes."""
        self.house.pool_busy = False
        self.office.mailbox.failing = set()
        if self.device.session is not None:
            await self.leave(None)
        await asyncio.sleep(70)
        await self.enter(None)
        await asyncio.sleep(10)
        await self.leave(None)
        await asyncio.sleep(610)
        assert self.house.meetings.attendees() == ()
        await self.stop()
        await self.office.close()

    def summarized(self) -> list[str]:
        """Return what is in the summaries that came, without the repeated ones; one that came twice is one."""
        frames = [one for one in self.device.frames if one.get("phase") == "summary" and "idempotent" not in one]
        return [text for bullets in {tuple(one["bullets"]) for one in frames} for text in bullets]


@settings(deadline=None, max_examples=150)
@given(st.lists(STEPS, max_size=30))
def test_nothing_is_lost(steps):
    """Each snippet that was taken is in one summary that its device has got in the end."""

    @virtual_time
    async def check():
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            patch.setattr(courier, "_EXPIRY_CHECK", 60.0)  # nothing expires, and a look a second takes its time
            story = Story(Path(directory), await open_office())
            await story.house.start()
            for name, argument in [("enter", None), *steps]:
                await story.step({"mail": "mail_"}.get(name, name), argument)
            await story.end()
        assert sorted(story.summarized()) == sorted(story.taken)

    check()
