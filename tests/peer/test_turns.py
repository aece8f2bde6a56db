"""Work in several turns of the loop, each sender's in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.identity import DeviceId
from gateway.peer.turns import Turns
from gateway.tasks import Tasks
from tests.virtual_time import virtual_time

A, B = DeviceId("aa"), DeviceId("bb")


def work(log: list[str], name: str, turns: int) -> Iterator[None]:
    """Note what is done in each of so many turns."""
    for turn in range(turns):
        if turn:
            yield
        log.append(f"{name}{turn}")


@virtual_time
async def test_short_work_is_done_at_once():
    """What needs one turn, or none, leaves nothing behind."""
    log: list[str] = []
    tasks = Tasks("test")
    turns = Turns(tasks)
    turns.do(A, work(log, "one", 1))
    turns.do(A, work(log, "none", 0))
    assert log == ["one0"]
    assert len(turns) == len(tasks) == 0


@virtual_time
async def test_long_work():
    """Of long work one part is done in each turn; what its sender wants meanwhile comes after it, others' at once."""
    log: list[str] = []
    tasks = Tasks("test")
    turns = Turns(tasks)
    turns.do(A, work(log, "long", 4))
    turns.do(A, work(log, "next", 2))
    turns.do(A, work(log, "last", 1))
    turns.do(B, work(log, "other", 1))
    assert log == ["long0", "other0"]
    for _ in range(3):
        before = len(log)
        await asyncio.sleep(0)
        assert len(log) <= before + 2  # at a border, the end of one and the beginning of the next
    assert await tasks.finish(1)
    assert log == ["long0", "other0", "long1", "long2", "long3", "next0", "next1", "last0"]
    assert len(turns) == 0
    turns.do(A, work(log, "again", 1))
    assert log[-1] == "again0"


@virtual_time
async def test_work_that_fails():
    """A bug in one's work, which its owner logs, is no reason not to do the sender's work ever after."""

    def broken() -> Iterator[None]:
        yield
        raise ZeroDivisionError

    log: list[str] = []
    tasks = Tasks("test")
    turns = Turns(tasks)
    turns.do(A, broken())
    await tasks.finish(1)
    turns.do(A, work(log, "next", 1))
    assert log == ["next0"]
