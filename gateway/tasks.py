"""Background tasks with an owner: held, reported when they fail, cancelled and awaited at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.errors import Misuse

_log = logging.getLogger(__name__)


def is_being_cancelled() -> bool:
    """Whether the running task was told to end.

    Where it was not, a CancelledError in it is that of other work, which it awaited and which failed it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Tasks:
    """The tasks of one owner (a connection, a session, the gateway).

    A task that fails is logged with its traceback and does not harm its siblings. After `cancel`, no task can be
    added. Order: tasks are cancelled in the order they were added.
    """

    def __init__(self, owner: str, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        self._owner = owner
        self._on_failure = on_failure
        # a dict, not a set: its order is that of adding, which keeps shutdown the same in every run
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def closed(self) -> bool:
        """Whether `cancel` has been called."""
        return self._closed

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that this owner holds until it ends.

        Raises:
            Misuse: the owner is closed; the coroutine has been closed and will not run.
        """
        if self._closed:
            coroutine.close()
            raise Misuse(f"expected a live owner for task {name!r}, but {self._owner} has ended")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._owner}: {name}")
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Cancel all tasks and take no more; idempotent, does not wait."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()

    async def finish(self, timeout: float) -> bool:
        """Wait for all tasks to end by themselves, for ``timeout`` seconds at most; return whether they have."""
        waiting = [task for task in self._tasks if task is not asyncio.current_task()]
        if not waiting:
            return True
        _, pending = await asyncio.wait(waiting, timeout=timeout)
        return not pending

    async def close(self, timeout: float) -> bool:
        """Cancel all tasks and wait for them, for ``timeout`` seconds at most.

        Returns:
            Whether all have ended; those that have not are logged by name and stay held.
        """
        self.cancel()
        current = asyncio.current_task()
        waiting = [task for task in self._tasks if task is not current]
        if not waiting:
            return True
        _, pending = await asyncio.wait(waiting, timeout=timeout)
        for task in pending:
            _log.error("task %r did not end within %.1f s of being cancelled", task.get_name(), timeout)
        return not pending

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error("task %r failed", task.get_name(), exc_info=error)
            if self._on_failure is not None:
                self._on_failure(task.get_name(), error)
