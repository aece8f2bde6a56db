"""The exceptions of a bench.

::

    HarnessError
    ├── Misuse
    │   ├── BadBenchFile           every fault of a bench file, in one list
    │   ├── BenchIncomplete        something the file points to is not there: a password, a rig
    │   ├── NoSuchBoard            an id that no board has
    │   └── NothingMatches         no board of the bench could ever be the one that was asked for
    └── WorldError
        ├── NoBoardFree            those that match are held by others, or quarantined
        ├── NoBoardWell            those that could be had have faults of the rig
        ├── NotOnline              the gateway has not seen the board, or sees it still
        ├── LockFailed             the files of the leases cannot be used
        ├── HistoryFailed          the files of what is kept of the boards cannot be used
        └── RigFailed              the process of the virtual boards did not do what it was asked
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from gateway.errors import ConfigurationFault
from harness.errors import HarnessError, Misuse, WorldError


class BadBenchFile(Misuse):
    """A bench file has faults; all of them are listed.

    Attributes:
        faults: each fault, with its file and line.
    """

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class BenchIncomplete(Misuse):
    """Something that the bench file points to is not there."""


class NoSuchBoard(Misuse):
    """No board has the id that was asked for.

    Attributes:
        board: the id.
        known: those there are.
    """

    def __init__(self, board: str, known: Sequence[str]) -> None:
        super().__init__(board, known)
        self.board = board
        self.known = tuple(known)

    def __str__(self) -> str:
        return f"expected one of the boards {', '.join(self.known)}, got {self.board!r}"


class _NoBoard:
    """What is wrong with each board of a bench.

    Attributes:
        wanted: what was asked for, in words.
        because: why each board is not it, by id.
    """

    wanted: str
    because: Mapping[str, str]

    def _list(self) -> str:
        return "\n".join(f"  {board}: {why}" for board, why in self.because.items())


class NothingMatches(_NoBoard, Misuse):
    """No board of the bench could ever be the one that was asked for: waiting would not help."""

    def __init__(self, wanted: str, because: Mapping[str, str]) -> None:
        super().__init__(wanted, because)
        self.wanted = wanted
        self.because = dict(because)

    def __str__(self) -> str:
        return f"no board of the bench can be {self.wanted}:\n{self._list()}"


class NoBoardFree(_NoBoard, WorldError):
    """The boards that match are held by others, or quarantined, and stayed so.

    Attributes:
        seconds: how long was waited.
    """

    def __init__(self, wanted: str, because: Mapping[str, str], seconds: float) -> None:
        super().__init__(wanted, because, seconds)
        self.wanted = wanted
        self.because = dict(because)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no board was free within {self.seconds:.1f} s that is {self.wanted}:\n{self._list()}"


class NoBoardWell(WorldError):
    """The rig has failed each board that was tried, and no other one is left.

    Attributes:
        faults: of the boards that were tried, by id, in that order.
        others: why each of the others was not tried, by id.
    """

    verdict: ClassVar[Literal["rig"]] = "rig"

    def __init__(self, faults: Mapping[str, HarnessError], others: Mapping[str, str]) -> None:
        super().__init__(faults, others)
        self.faults = dict(faults)
        self.others = dict(others)

    def __str__(self) -> str:
        head = f"the rig failed {', '.join(self.faults)}; no other board can take the place:"
        tried = [f"  {board} was tried: {_indented(str(error))}" for board, error in self.faults.items()]
        others = [f"  {board}: {why}" for board, why in self.others.items()]
        return "\n".join([head, *tried, *others])


class NotOnline(WorldError):
    """The gateway has not seen the board, or sees it still."""


class _FileUnusable(WorldError):
    """A file that the bench file says the place of cannot be used.

    Attributes:
        path: of the file.
        why: what the system says.
    """

    what: ClassVar[str]
    setting: ClassVar[str]

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(path, error)
        self.path = path
        self.why = error.strerror or str(error)

    def __str__(self) -> str:
        return f"{self.path}: {self.what} cannot be used: {self.why}; {self.setting}"


class LockFailed(_FileUnusable):
    """The directory or a file of the leases cannot be used."""

    what = "the lock of a board"
    setting = "lock_dir of the bench file names the directory"


class HistoryFailed(_FileUnusable):
    """A file of what is kept of the boards cannot be used: their health, what they were told and flashed with."""

    what = "what is kept of a board"
    setting = "state_dir of the bench file names its directory"


class RigFailed(WorldError):
    """The process that serves the virtual boards did not start, ended, or did not answer."""


def _indented(text: str) -> str:
    """Return a text of several lines as a part of another one."""
    return text.replace("\n", "\n  ")
