"""The mailbox in memory: where it differs from others."""

from __future__ import annotations

import pytest

from gateway.errors import MailboxFailed
from gateway.peer.mailbox import Stored
from gateway.peer.memory_mailbox import MemoryMailbox
from tests.peer.letters import DEDUPE, PER_DEVICE, TOTAL, A, B, C, Clock, ids, letter


def _mailbox() -> MemoryMailbox:
    return MemoryMailbox(per_device=PER_DEVICE, total=TOTAL, dedupe=DEDUPE, wall_clock=Clock())


async def test_nothing_survives_it() -> None:
    """A new mailbox is empty, whatever another one has."""
    first = _mailbox()
    await first.open()
    await first.store([letter("1")])
    second = _mailbox()
    await second.open()

    assert await ids(second) == []


async def test_it_keeps_its_letters_while_closed() -> None:
    """The same mailbox opened again has what it had: a test can stop a gateway and start it."""
    mailbox = _mailbox()
    await mailbox.open()
    await mailbox.store([letter("1")])
    await mailbox.close()
    with pytest.raises(MailboxFailed):
        await mailbox.depth()
    await mailbox.open()

    assert await ids(mailbox) == ["1"]


def test_calls_are_done_at_once() -> None:
    """No call waits for anything, so it needs no loop."""
    mailbox = _mailbox()
    for call, expected in ((mailbox.open(), None), (mailbox.store([letter("1")]), [Stored.STORED])):
        with pytest.raises(StopIteration) as done:
            call.send(None)
        assert done.value.value == expected


async def test_emptied_mailbox_holds_nothing() -> None:
    """Devices that have come and gone leave no entry behind, nor do settled names after their time."""
    clock = Clock()
    mailbox = MemoryMailbox(per_device=PER_DEVICE, total=TOTAL, dedupe=DEDUPE, wall_clock=clock)
    await mailbox.open()
    await mailbox.store([letter("1"), letter("2")])
    await mailbox.set_aside(A, B, "1")
    await mailbox.purge(A)
    await mailbox.store([letter("3", to=C)])
    await mailbox.settle(C, [(B, "3")])
    clock.now += DEDUPE
    await mailbox.take_expired(1)

    assert mailbox._settled == {}
    assert mailbox._tally.settled == 0
    assert mailbox._waiting == {}
    assert mailbox._aside == {}
    assert mailbox._tally._shares == {}
