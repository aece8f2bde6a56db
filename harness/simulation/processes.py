"""To which process of which host the running code belongs."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.simulation.executor import Pool


class Process:
    """One run of the programs of a host: from its first task to a kill or a loss of power.

    Attributes:
        host: the host's name.
        number: of the runs of this host, from 1.
        alive: whether its tasks may still run.
        pools: the threads it would have, by executor.
        files: what the system closes for it when it dies.
    """

    def __init__(self, host: str, number: int) -> None:
        self.host = host
        self.number = number
        self.alive = True
        self.pools: dict[Executor | None, Pool] = {}
        self.files = OpenFiles()


current_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("simulated_process", default=None)
"""Inherited by everything a task of it begins; None: the test itself, which is at home on the default host."""


class OpenFiles:
    """File descriptors and databases a process has open; the real one would be freed of them by its end."""

    def __init__(self) -> None:
        self._descriptors: dict[int, tuple[int, int]] = {}  # with the file that each is open on
        self._databases: list[sqlite3.Connection] = []

    def close(self) -> None:
        """Close what is open. A database is closed in an orderly way: its host's disk has been copied before."""
        databases, self._databases = self._databases, []
        for database in databases:
            database.close()
        descriptors, self._descriptors = self._descriptors, {}
        for descriptor, file in descriptors.items():
            # a file object made of it may have closed it, unseen, and the number be somebody else's by now
            with contextlib.suppress(OSError):
                if _file_of(descriptor) == file:
                    os.close(descriptor)

    def opened(self, descriptor: int) -> None:
        """Note a descriptor."""
        self._descriptors[descriptor] = _file_of(descriptor)

    def closed(self, descriptor: int) -> None:
        """Forget a descriptor."""
        self._descriptors.pop(descriptor, None)

    def connected(self, database: sqlite3.Connection) -> None:
        """Note a database."""
        self._databases.append(database)


def _file_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def noting(open_file: Callable[..., Any], note: Callable[[OpenFiles, Any], None]) -> Callable[..., Any]:
    """Wrap a function that opens or closes something, so that the process that calls it knows."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = open_file(*args, **kwargs)
        process = current_process.get()
        if process is not None:
            note(process.files, args[0] if result is None else result)
        return result

    return wrapped
