"""The durable mailbox, with a note of what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gateway.identity import DeviceId
from gateway.peer.mailbox import Letter, Notice, Stored
from gateway.peer.sqlite_mailbox import SqliteMailbox
from harness.exploration.chronicle import Chronicle
from harness.faults.moments import of_mailbox
from harness.invariants.facts import AcknowledgerKept, Kept, Settled


class NotedMailbox(SqliteMailbox):
    """Notes answers as its callers get them: what a process that dies has not heard of is in no note.

    Args:
        path: as of `SqliteMailbox`.
        life: of the gateway.
        chronicle: takes the notes.
        moment: is told of each call, by the name that schedules of faults know it by.
        options: as of `SqliteMailbox`.
    """

    def __init__(
        self,
        path: str,
        life: int,
        chronicle: Chronicle,
        moment: Callable[[Iterable[str]], None],
        **options: Any,
    ) -> None:
        super().__init__(path, **options)
        self._life = life
        self._chronicle = chronicle
        self._moment = moment

    async def store(self, letters: Sequence[Letter]) -> list[Stored]:
        """See `Mailbox.store`."""
        self._moment(of_mailbox("store"))
        answers = await super().store(letters)
        for letter, answer in zip(letters, answers, strict=True):
            if letter.kind == "peer" and answer in (Stored.STORED, Stored.DUPLICATE):
                self._note(Kept, letter.recipient, letter.sender, letter.id, is_new=answer is Stored.STORED)
        return answers

    async def settle(self, recipient: DeviceId, letters: Sequence[tuple[str, str]]) -> int:
        """See `Mailbox.settle`."""
        self._moment(of_mailbox("settle"))
        count = await super().settle(recipient, letters)
        for sender, id_ in letters:
            self._note(Settled, recipient, sender, id_)
        return count

    async def add_event(self, letter: Letter, *, sent: bool = False) -> None:
        """See `Mailbox.add_event`."""
        self._moment(of_mailbox("add_event"))
        await super().add_event(letter, sent=sent)

    async def set_aside(
        self,
        recipient: DeviceId,
        sender: str,
        id: str,  # noqa: A002 - the wire's word
        notice: Letter | None = None,
    ) -> bool:
        """See `Mailbox.set_aside`."""
        self._moment(of_mailbox("set_aside"))
        return await super().set_aside(recipient, sender, id, notice)

    async def take_expired(self, limit: int, notice: Notice | None = None) -> list[Letter]:
        """See `Mailbox.take_expired`."""
        self._moment(of_mailbox("take_expired"))
        return await super().take_expired(limit, notice)

    async def note_acknowledger(self, device: DeviceId, *, acknowledges: bool) -> None:
        """See `Mailbox.note_acknowledger`."""
        self._moment(of_mailbox("note_acknowledger"))
        await super().note_acknowledger(device, acknowledges=acknowledges)
        at = self._chronicle.loop.time()
        self._chronicle.add(AcknowledgerKept(at=at, life=self._life, device=device, acknowledges=acknowledges))

    def _note(self, kind: Any, recipient: DeviceId, sender: str, id_: str, **more: Any) -> None:
        at = self._chronicle.loop.time()
        self._chronicle.add(kind(at=at, life=self._life, recipient=recipient, sender=sender, id=id_, **more))
