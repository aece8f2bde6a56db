"""The simulated TCP against the kernel's: the same script on both, and both ends are told the same."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest

from harness.simulation.loop import run
from tests.harness.simulation.stage import Ear, a_moment, cut_off, pair

Case: TypeAlias = Callable[[list[Ear], bool], Coroutine[Any, Any, Any]]

MANY = 16 << 20
"""Bytes: more than the buffers of two kernels take."""


async def close(ears: list[Ear], buffered: bool) -> Any:
    """Close."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.close()
    await a_moment()
    return one.said, other.said


async def close_behind_data(ears: list[Ear], buffered: bool) -> Any:
    """Write, then close: it all arrives first."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.write(b"x" * 10_000)
    one.transport.close()
    await a_moment()
    return one.said, other.said, len(other.heard)


async def close_with_unread(ears: list[Ear], buffered: bool) -> Any:
    """Close while something is unread: a reset."""
    one, other = ears[:] = await pair(near={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    await a_moment()
    one.transport.close()
    await a_moment()
    return one.said, other.said


async def write_then_close_with_unread(ears: list[Ear], buffered: bool) -> Any:
    """What was sent before a reset is read before it."""
    one, other = ears[:] = await pair(near={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    await a_moment()
    one.transport.write(b"last words")
    await a_moment()
    one.transport.close()
    await a_moment()
    return one.said, other.said, bytes(other.heard)


async def abort(ears: list[Ear], buffered: bool) -> Any:
    """Abort: no reset, as one might think."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.abort()
    await a_moment()
    return one.said, other.said


async def abort_behind_data(ears: list[Ear], buffered: bool) -> Any:
    """What the kernel has taken goes out all the same."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.write(b"x" * 1000)
    one.transport.abort()
    await a_moment()
    return one.said, other.said, len(other.heard)


async def abort_with_unread(ears: list[Ear], buffered: bool) -> Any:
    """Abort while something is unread: a reset."""
    one, other = ears[:] = await pair(near={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    await a_moment()
    one.transport.abort()
    await a_moment()
    return one.said, other.said


async def abort_with_unsent(ears: list[Ear], buffered: bool) -> Any:
    """Abort with more written than the kernel took: a part arrives, then the end."""
    one, other = ears[:] = await pair(far={"paused": True}, buffered=buffered)
    one.transport.write(b"x" * MANY)
    await a_moment()
    one.transport.abort()
    await a_moment()
    other.transport.resume_reading()
    async with asyncio.timeout(5):
        await other.lost
    return one.said, other.said, 0 < len(other.heard) < MANY


async def half_close(ears: list[Ear], buffered: bool) -> Any:
    """Close one side; the other answers, then closes."""
    one, other = ears[:] = await pair(far={"keeps": True}, buffered=buffered)
    one.transport.write_eof()
    await a_moment()
    other.transport.write(b"answer")
    await a_moment()
    other.transport.close()
    await a_moment()
    return one.said, other.said, bytes(one.heard)


async def half_close_not_kept(ears: list[Ear], buffered: bool) -> Any:
    """Close one side; the other does not care to go on."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.write_eof()
    await a_moment()
    return one.said, other.said


async def write_to_closed(ears: list[Ear], buffered: bool) -> Any:
    """Write to a socket that was closed: the first write goes out, the second finds the reset."""
    one, other = ears[:] = await pair(far={"keeps": True}, buffered=buffered)
    one.transport.close()
    await a_moment()
    other.transport.write(b"anybody?")
    await a_moment()
    before = list(other.said)
    other.transport.write(b"no")
    await a_moment()
    return one.said, before, other.said


async def reset_while_paused(ears: list[Ear], buffered: bool) -> Any:
    """A reader that is paused does not notice a reset until it reads."""
    one, other = ears[:] = await pair(near={"paused": True}, far={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    await a_moment()
    one.transport.abort()
    await a_moment()
    before = list(other.said)
    other.transport.resume_reading()
    await a_moment()
    return one.said, before, other.said


async def reset_behind_unread(ears: list[Ear], buffered: bool) -> Any:
    """A reader that is paused reads what came before the reset, or does it?"""
    one, other = ears[:] = await pair(near={"paused": True}, far={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    one.transport.write(b"came before")
    await a_moment()
    one.transport.abort()
    await a_moment()
    other.transport.resume_reading()
    await a_moment()
    return one.said, other.said, bytes(other.heard)


async def reset_while_paused_then_write(ears: list[Ear], buffered: bool) -> Any:
    """A reader that is paused notices a reset when it writes."""
    one, other = ears[:] = await pair(near={"paused": True}, far={"paused": True}, buffered=buffered)
    other.transport.write(b"unread")
    await a_moment()
    one.transport.abort()
    await a_moment()
    other.transport.write(b"still there?")
    await a_moment()
    return one.said, other.said


async def reset_with_unsent(ears: list[Ear], buffered: bool) -> Any:
    """A writer with more than the kernel took notices a reset at once, whether it reads or not."""
    one, other = ears[:] = await pair(near={"paused": True}, far={"paused": True}, buffered=buffered)
    other.transport.write(b"x" * MANY)
    await a_moment()
    one.transport.abort()
    await a_moment()
    return one.said, other.said


async def end_while_paused(ears: list[Ear], buffered: bool) -> Any:
    """A reader that is paused does not notice the end of the stream either."""
    one, other = ears[:] = await pair(far={"paused": True}, buffered=buffered)
    one.transport.write(b"last words")
    one.transport.close()
    await a_moment()
    before = list(other.said)
    other.transport.resume_reading()
    await a_moment()
    return one.said, before, other.said, bytes(other.heard)


async def slow_reader(ears: list[Ear], buffered: bool) -> Any:
    """A reader that is paused pauses the writer; close waits until everything is read."""
    one, other = ears[:] = await pair(far={"paused": True}, buffered=buffered)
    one.transport.write(b"x" * MANY)
    one.transport.close()
    await a_moment()
    before = list(one.said), one.transport.get_write_buffer_size() > 0, one.transport.is_closing()
    other.transport.resume_reading()
    async with asyncio.timeout(5):
        await other.lost
        await one.lost
    return before, one.said, other.said, len(other.heard)


async def resumed_writer(ears: list[Ear], buffered: bool) -> Any:
    """A writer that was paused goes on once what it wrote is read."""
    one, other = ears[:] = await pair(far={"paused": True}, buffered=buffered)
    one.transport.write(b"x" * MANY)
    await a_moment()
    other.transport.resume_reading()
    async with asyncio.timeout(5):
        while len(other.heard) < MANY:  # noqa: ASYNC110 - both loops have to be asked
            await asyncio.sleep(0.001)
    await a_moment()
    return one.said, one.transport.get_write_buffer_size()


async def data_refused(ears: list[Ear], buffered: bool) -> Any:
    """A protocol that raises loses its connection, and its peer sees the end of it."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    one, other = ears[:] = await pair(far={"raises": ZeroDivisionError()}, buffered=buffered)
    one.transport.write(b"divide this")
    await a_moment()
    return one.said, other.said


async def write_after_end(ears: list[Ear], buffered: bool) -> Any:
    """Write behind the end: an error after write_eof, nothing after close."""
    one, other = ears[:] = await pair(far={"keeps": True}, buffered=buffered)
    one.transport.write_eof()
    try:
        one.transport.write(b"too late")
    except RuntimeError as error:
        refused = str(error)
    else:
        refused = ""
    await a_moment()
    other.transport.close()
    other.transport.write(b"too late")
    await a_moment()
    return refused, one.said, other.said


async def end_while_closing(ears: list[Ear], buffered: bool) -> Any:
    """Closing already, write_eof does nothing, and what is written while the buffer is not empty goes out."""
    one, other = ears[:] = await pair(far={"paused": True}, buffered=buffered)
    one.transport.write(b"x" * MANY)
    one.transport.close()
    one.transport.write_eof()
    one.transport.write(b"more")
    other.transport.resume_reading()
    async with asyncio.timeout(5):
        await other.lost
        await one.lost
    return one.said, other.said, len(other.heard) - MANY


async def both_close(ears: list[Ear], buffered: bool) -> Any:
    """Both close at the same time."""
    one, other = ears[:] = await pair(buffered=buffered)
    one.transport.close()
    other.transport.close()
    await a_moment()
    return one.said, other.said


async def refused(*_: Any) -> Any:
    """Nobody listens."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Ear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await a_moment()
    with pytest.raises(ConnectionRefusedError) as error:
        await loop.create_connection(Ear, "127.0.0.1", port)
    return error.value.errno


async def in_use(*_: Any) -> Any:
    """Somebody listens already."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Ear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OSError) as error:  # noqa: PT011 - its number is what is compared
        await loop.create_server(Ear, "127.0.0.1", port)
    server.close()
    return error.value.errno


async def unknown_name(*_: Any) -> Any:
    """No such host."""
    with pytest.raises(OSError) as error:  # noqa: PT011 - its class is what is compared
        await asyncio.get_running_loop().create_connection(Ear, "no-such-host.invalid", 1)
    return type(error.value).__name__


CASES: list[Case] = [
    close,
    close_behind_data,
    close_with_unread,
    write_then_close_with_unread,
    abort,
    abort_behind_data,
    abort_with_unread,
    abort_with_unsent,
    half_close,
    half_close_not_kept,
    write_to_closed,
    reset_while_paused,
    reset_behind_unread,
    reset_while_paused_then_write,
    reset_with_unsent,
    end_while_paused,
    slow_reader,
    resumed_writer,
    data_refused,
    write_after_end,
    end_while_closing,
    both_close,
    refused,
    in_use,
    unknown_name,
]


async def played(case: Case, buffered: bool) -> Any:
    """What a case shows; whatever it has left open is closed."""
    ears: list[Ear] = []
    result = copy.deepcopy(await case(ears, buffered))
    await cut_off(*ears)
    return result


@pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_same_as_the_kernel(case: Case, buffered: bool):
    """Both ends of a simulated connection are told what those of a real one are told."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        real = runner.run(played(case, buffered))
    simulated = run(lambda _: played(case, buffered))

    assert simulated == real
