"""Steps of starting and stopping: one that must not be cut in its middle, and one that must not keep the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.tasks import Tasks

_log = logging.getLogger(__name__)

T = TypeVar("T")

UNWIND_WAIT = 1.0
"""Seconds for what has been cancelled."""


async def to_its_end(step: Coroutine[Any, Any, T]) -> T:
    """Do a step that leaves something behind when it is cut; cancelled, give way only when it has ended."""
    task = asyncio.get_running_loop().create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()):
            _log.error("a step failed after it had been given up", exc_info=error)
        raise


async def cut_short(task: asyncio.Task[Any], timeout: float) -> bool:
    """Cancel a task and wait for it, ``timeout`` seconds at most; return whether it has ended, of itself or so."""
    task.cancel()
    _, late = await asyncio.wait((task,), timeout=timeout)
    if late:
        _log.error("the %s did not end within %.0f s of being cancelled", task.get_name(), timeout)
    return not late


async def ends_well(step: Coroutine[Any, Any, None], name: str, timeout: float) -> bool:
    """Do a step that may be foreign code: it has ``timeout`` seconds and then a moment to unwind, and may fail.

    Returns:
        Whether it ended by itself, in time and without an exception; what went wrong is logged.
    """
    failed: list[str] = []
    tasks = Tasks("gateway", lambda task, _error: failed.append(task))
    task = tasks.spawn(step, name)
    in_time = await tasks.finish(timeout)
    if not in_time:
        _log.error("the %s took longer than %.0f s", name, timeout)
    await tasks.close(UNWIND_WAIT)
    return in_time and not failed and not task.cancelled()
