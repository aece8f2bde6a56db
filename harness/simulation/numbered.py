"""Tasks, futures and timers with a number: what would else go by addresses, or by chance, goes by their order."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from harness.simulation.processes import current_process


class NumberedTask(asyncio.Task[Any]):
    """A task with a hash that is the same in every run, so that sets of tasks have one order.

    Attributes:
        process: whose task it is.
        context: in which it runs.
    """

    _log_destroy_pending: bool  # asyncio's

    def __init__(
        self, number: int, coro: Any, loop: asyncio.AbstractEventLoop, name: str | None, context: contextvars.Context
    ) -> None:
        self._number = number  # before all else: asyncio puts the task into a set
        self.context = context
        self.process = context.get(current_process)
        super().__init__(coro, loop=loop, name=name or f"task {number}", context=context)

    def __hash__(self) -> int:
        return self._number


class NumberedFuture(asyncio.Future[Any]):
    """A future with a hash that is the same in every run."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


class NumberedTimer(asyncio.TimerHandle):
    """A timer that comes behind those that were set earlier for the same moment.

    On a real clock no two moments are the same, and what was set first comes first. On ours many are, and the heap
    would mix them.
    """

    __slots__ = ("_number",)
    # asyncio's, see events.py; for `virtual_time`
    _when: float
    _scheduled: bool
    _context: contextvars.Context

    def __init__(
        self,
        number: int,
        when: float,
        callback: Callable[..., object],
        args: Any,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self._number = number

    def __lt__(self, other: NumberedTimer) -> bool:  # type: ignore[override]  # all timers of the loop are of this class
        when = other._when
        return self._when < when or (self._when == when and self._number < other._number)
