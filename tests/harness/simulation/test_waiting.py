"""Who waits for what, in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from harness.simulation.waiting import in_words
from tests.harness.simulation.stage import host, simulated


async def numbers() -> AsyncIterator[int]:
    """None, ever."""
    await asyncio.Event().wait()
    yield 1


async def first() -> int:
    """Wait for a number."""
    async for number in numbers():
        return number
    return 0


async def outer() -> None:
    """Wait for the first."""
    await first()


@simulated
async def test_innermost_line():
    """The line is the innermost one that is not asyncio's, however deep; asynchronous generators are seen through."""
    task = host("gw").spawn(outer(), "reader")
    await asyncio.sleep(1)

    assert in_words(task).startswith("reader of gw: test_waiting.py:")
    assert in_words(task).endswith(" in numbers: await asyncio.Event().wait()")


@simulated
async def test_before_its_beginning():
    """A task that has not begun waits for its turn."""
    task = asyncio.create_task(outer(), name="new")

    assert in_words(task).startswith("new: test_waiting.py:")
    assert " in outer: " in in_words(task)


@simulated
async def test_waits_for_a_task():
    """Where a task waits for another, that one is named."""

    async def wait_for(other: asyncio.Task[None]) -> None:
        await other

    other = asyncio.create_task(outer(), name="other")
    task = asyncio.create_task(wait_for(other), name="one")
    await asyncio.sleep(1)

    assert in_words(task).endswith("await other (which waits for other)")
