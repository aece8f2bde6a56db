"""The disk of a host: a real directory, of which each process gets what the one before left."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

_FAST = Path("/dev/shm")  # noqa: S108 - Linux's memory file system: a sync takes no time there


class Disk:
    """A directory of the host; made when it is first asked for, removed with the simulation.

    When a process dies its successor finds a copy in the state of that moment: the dead one can change nothing any
    more, and holds no lock on it. As work in the executor is done in one piece, that state is one between two
    operations; for SQLite with full syncs, what is in the files then has been synced.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._base: Path | None = None
        self._generation = 0
        self._removal: Callable[[], object] | None = None

    @property
    def path(self) -> Path:
        """The directory, for the process that runs now."""
        if self._base is None:
            parent = _FAST if _FAST.is_dir() else None
            self._base = Path(tempfile.mkdtemp(prefix=f"wsdevice-{self._host}-", dir=parent))
            # for a loop that nobody closes; in the memory file system what is left behind takes memory
            self._removal = weakref.finalize(self, shutil.rmtree, self._base, ignore_errors=True)
            self._directory(0).mkdir()
        return self._directory(self._generation)

    def leave_to_the_next(self) -> None:
        """Keep the state of this moment for the process to come."""
        if self._base is None:
            return
        old = self.path
        self._generation += 1
        # -shm is the memory that SQLite's connections share; without any of them it is made anew from the WAL
        shutil.copytree(old, self.path, symlinks=True, ignore=shutil.ignore_patterns("*-shm"))

    def remove(self) -> None:
        """Remove the directory; idempotent."""
        self._base = None
        if self._removal is not None:
            self._removal()

    def _directory(self, generation: int) -> Path:
        assert self._base is not None
        return self._base / str(generation)
