"""The disk of a host: a real directory, of which each process gets what the one before left."""

from __future__ import annotations

import random
import shutil
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

from harness.simulation.sqlite_writes import Watch
from harness.simulation.writes import WriteLog

_FAST = Path("/dev/shm")  # noqa: S108 - Linux's memory file system: a sync takes no time there


class Disk:
    """A directory of the host; made when it is first asked for, removed with the simulation.

    When a process dies its successor finds a copy in the state of that moment: the dead one can change nothing any
    more, and holds no lock on it.

    Where SQLite is watched, its databases are as they may be then: a call that was under way has come as far as chance
    will have it, and after a loss of power what was not synced is there, or not, or torn. Elsewhere, and for all other
    files, work in the executor is done in one piece, and what was written is kept.

    Args:
        host: its name.
        watch: of SQLite; None: it is not watched.
        chance: for what is lost.
    """

    def __init__(self, host: str, watch: Watch | None = None, chance: random.Random | None = None) -> None:
        self._host = host
        self._watch = watch
        self._chance = chance or random.Random(host)  # noqa: S311 - it is to be foreseen
        self._log = WriteLog()
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
            self._follow()
        return self._directory(self._generation)

    @property
    def log(self) -> WriteLog | None:
        """What is written by the process that runs now; None where nobody watches."""
        return None if self._watch is None else self._log

    def leave_to_the_next(self, *, power_cut: bool = False) -> None:
        """Keep the state of this moment for the process to come; after a loss of power, what is left of it."""
        if self._base is None:
            return
        old = self.path
        self._generation += 1
        # -shm is the memory that SQLite's connections share; without any of them it is made anew from the WAL
        shutil.copytree(old, self.path, symlinks=True, ignore=shutil.ignore_patterns("*-shm"))
        if self._watch is None:
            return
        left = (self._log.after_power_cut if power_cut else self._log.after_kill)(self._chance)
        for file, content in left.items():
            copy = self.path / Path(file).relative_to(old)
            if copy.exists():
                copy.write_bytes(content)
        self._stop_following(old)
        self._log = WriteLog()
        self._follow()

    def remove(self) -> None:
        """Remove the directory; idempotent."""
        if self._base is not None:
            self._stop_following(self.path)
        self._base = None
        if self._removal is not None:
            self._removal()

    def _follow(self) -> None:
        if self._watch is not None:
            self._watch.follow(str(self.path), self._log)

    def _stop_following(self, directory: Path) -> None:
        if self._watch is not None:
            self._watch.forget(str(directory))

    def _directory(self, generation: int) -> Path:
        assert self._base is not None
        return self._base / str(generation)
