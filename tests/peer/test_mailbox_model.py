"""Every mailbox against a model, over any sequence of calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.identity import DeviceId
from gateway.peer.mailbox import Letter, Mailbox, Stored
from gateway.peer.memory_mailbox import MemoryMailbox
from tests.peer.letters import DEDUPE, PER_DEVICE, TOTAL, A, B, Clock, InlineExecutor, event, letter, sqlite_mailbox

_PER_SENDER = PER_DEVICE - 1  # so that each of the limits is met


class _Model:
    """What a mailbox does, said as plainly as can be: lists of what is kept, in order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.kept: list[Letter] = []
        self.aside: list[Letter] = []
        self.settled: dict[tuple[str, str, str], float] = {}
        self.unseen: set[str] = set()

    def is_good(self, one: Letter) -> bool:
        return one.expires > self.clock.now

    def of(self, to: str) -> list[Letter]:
        return [one for one in self.kept if one.recipient == to and self.is_good(one)]

    def store(self, new: Letter) -> Stored:
        if _find(self.kept, _name_of(new)):
            return Stored.DUPLICATE
        if self.settled.get(_name_of(new), -1e9) > self.clock.now - DEDUPE:
            return Stored.SETTLED
        old = _find(self.aside, _name_of(new))
        letters = [one for one in self.kept if one.kind == "peer"]
        share = sum(one.recipient == new.recipient for one in letters)
        sent = sum(one.sender == new.sender for one in letters)
        if share >= PER_DEVICE or sent >= _PER_SENDER or len(letters) + len(self.aside) - bool(old) >= TOTAL:
            return Stored.FULL
        if old:
            self.aside.remove(old)
        self.settled.pop(_name_of(new), None)
        self.kept.append(new)
        return Stored.STORED

    def add_event(self, new: Letter, sent: bool) -> None:
        key = (new.recipient, new.kind, new.about, new.reason)
        same = [one for one in self.of(new.recipient) if (one.recipient, one.kind, one.about, one.reason) == key]
        if same and same[-1].id in self.unseen and not sent:
            self.kept.remove(same[-1])
            new = msgspec.structs.replace(new, count=new.count + same[-1].count)
        elif sum(one.kind != "peer" for one in self.kept) >= TOTAL:
            own = [one for one in self.kept if one.recipient == new.recipient and one.kind != "peer"]
            if not own:
                return
            self.kept.remove(own[0])
        self.kept.append(new)
        if not sent:
            self.unseen.add(new.id)

    def waiting(self, to: str, limit: int) -> list[Letter]:
        found = self.of(to)[:limit]
        self.unseen -= {one.id for one in found}
        return found

    def settle(self, name: tuple[str, str, str]) -> int:
        found = _find(self.kept, name) or _find(self.aside, name)
        if not found:
            return 0
        (self.kept if found in self.kept else self.aside).remove(found)
        self.settled[name] = self.clock.now
        if len(self.settled) > TOTAL:
            del self.settled[next(iter(self.settled))]
        return 1

    def set_aside(self, name: tuple[str, str, str]) -> bool:
        found = _find(self.kept, name)
        if found:
            self.kept.remove(found)
            self.aside.append(found)
        return found is not None

    def take_expired(self, limit: int) -> list[Letter]:
        due = [one for one in self.kept if not self.is_good(one)]
        taken = sorted(due, key=lambda one: (one.expires, one.created))[:limit]
        self.kept = [one for one in self.kept if one not in taken]
        self.aside = [one for one in self.aside if self.is_good(one)]
        self.settled = {name: at for name, at in self.settled.items() if at > self.clock.now - DEDUPE}
        return taken

    def purge(self, to: str) -> int:
        before = len(self.kept) + len(self.aside)
        self.kept = [one for one in self.kept if one.recipient != to]
        self.aside = [one for one in self.aside if one.recipient != to]
        self.settled = {name: at for name, at in self.settled.items() if name[0] != to}
        return before - len(self.kept) - len(self.aside)


def _name_of(one: Letter) -> tuple[str, str, str]:
    return one.recipient, one.sender, one.id


def _find(letters: list[Letter], name: tuple[str, str, str]) -> Letter | None:
    return next((one for one in letters if _name_of(one) == name), None)


_DEVICES = st.sampled_from([A, B])
_NAMES = st.tuples(_DEVICES, st.sampled_from(["s", "t"]), st.sampled_from(["1", "2", "3"]))


class _MailboxesAgree(RuleBasedStateMachine):
    """Any sequence of calls has the same answers from every mailbox as from the model."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # in memory where there is such a directory: what is tried here is not durability
        self.directory = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.clock = Clock()
        self.model = _Model(self.clock)
        self.events = 0
        memory = MemoryMailbox(
            per_device=PER_DEVICE, per_sender=_PER_SENDER, total=TOTAL, dedupe=DEDUPE, wall_clock=self.clock
        )
        self.runner.run(memory.open())
        self.mailboxes = [memory, self.new_sqlite()]

    def new_sqlite(self) -> Mailbox:
        path = Path(self.directory.name) / "mailbox.db"
        mailbox = sqlite_mailbox(path, InlineExecutor(), per_sender=_PER_SENDER, wall_clock=self.clock)
        self.runner.run(mailbox.open())
        return mailbox

    def teardown(self) -> None:
        try:
            for device in (A, B):  # here, since an event that was read is merged no more
                self.waiting(device, 1000)
        finally:
            for mailbox in self.mailboxes:
                self.runner.run(mailbox.close())
            self.runner.close()
            self.directory.cleanup()

    def agree(self, call: Callable[[Mailbox], Coroutine[Any, Any, Any]], expected: Any) -> None:
        for mailbox in self.mailboxes:
            assert self.runner.run(call(mailbox)) == expected, mailbox
        self.clock.now += 0.001  # so that names are not settled at the same time

    @rule(names=st.lists(_NAMES, max_size=4), life=st.sampled_from([5.0, 50.0, 2000.0]))
    def store(self, names: list[tuple[DeviceId, str, str]], life: float) -> None:
        letters = [letter(id_, to, sender, life=life, now=self.clock.now) for to, sender, id_ in names]
        self.agree(lambda mailbox: mailbox.store(letters), [self.model.store(one) for one in letters])

    @rule(
        to=_DEVICES,
        about=st.sampled_from(["x", "y"]),
        count=st.integers(1, 3),
        life=st.sampled_from([5.0, 2000.0]),
        sent=st.booleans(),
    )
    def add_event(self, to: DeviceId, about: str, count: int, life: float, sent: bool) -> None:
        self.events += 1
        new = event(f"e{self.events}", to, about=about, count=count, life=life, now=self.clock.now)
        self.agree(lambda mailbox: mailbox.add_event(new, sent=sent), self.model.add_event(new, sent))

    @rule(to=_DEVICES, sent=st.booleans(), read=st.booleans())
    def two_events(self, to: DeviceId, sent: bool, read: bool) -> None:
        """Which may merge; by themselves the steps that it takes come one after the other too rarely."""
        self.add_event(to, "x", 1, 2000.0, sent)
        if read:
            self.waiting(to, 10)
        self.add_event(to, "x", 2, 2000.0, False)

    @rule(to=_DEVICES, limit=st.integers(1, 3))
    def waiting(self, to: DeviceId, limit: int) -> None:
        self.agree(lambda mailbox: mailbox.waiting(to, limit), self.model.waiting(to, limit))

    @rule(name=_NAMES)
    def settle(self, name: tuple[DeviceId, str, str]) -> None:
        self.agree(lambda mailbox: mailbox.settle(name[0], [name[1:]]), self.model.settle(name))

    @rule(name=_NAMES)
    def set_aside(self, name: tuple[DeviceId, str, str]) -> None:
        self.agree(lambda mailbox: mailbox.set_aside(*name), self.model.set_aside(name))

    @rule(to=_DEVICES, aside=st.booleans())
    def finish_first(self, to: DeviceId, aside: bool) -> None:
        for first in self.model.of(to)[:1]:
            name = (to, first.sender, first.id)
            if aside:
                self.set_aside(name)
            else:
                self.settle(name)

    @rule(limit=st.integers(1, 4))
    def take_expired(self, limit: int) -> None:
        self.agree(lambda mailbox: mailbox.take_expired(limit), self.model.take_expired(limit))

    @rule(to=_DEVICES)
    def purge(self, to: DeviceId) -> None:
        self.agree(lambda mailbox: mailbox.purge(to), self.model.purge(to))

    @rule(seconds=st.sampled_from([1.0, 10.0, 300.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        for mailbox in self.mailboxes:
            self.runner.run(mailbox.close())
        self.runner.run(self.mailboxes[0].open())
        self.mailboxes[1] = self.new_sqlite()
        self.model.unseen.clear()

    @invariant()
    def as_many_are_kept(self) -> None:
        depth = (len(self.model.kept), len(self.model.aside))
        for mailbox in self.mailboxes:
            found = self.runner.run(mailbox.depth())
            assert (found.waiting, found.set_aside) == depth, mailbox


_MailboxesAgree.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestMailboxesAgree = _MailboxesAgree.TestCase
