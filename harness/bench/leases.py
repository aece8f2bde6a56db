"""Who has which board: a lock of the kernel for each, so that nothing stays locked after a crash.

The lock is an ``flock`` on a file named after the board. The kernel frees it when its process ends, however that
happens; so no lease has to expire, and none has to be cleaned away. What the file says is for people only: who holds
the lock. The files stay; they are empty while nobody does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import getpass
import os
import socket
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from gateway.identity import printable
from harness.bench.bench_file import BoardConfig
from harness.bench.errors import LockFailed

HOLDER_BYTES = 4096
"""Of a lock file that are read; what is written is far shorter."""
TEST_CHARACTERS = 200
"""Of a test's name."""
_LOOKED_AT = 0.05  # seconds in which a look at a lock, which takes it for microseconds, is over
_SHARED_DIRECTORY, _SHARED_FILE = 0o1777, 0o666


class Holder(msgspec.Struct, frozen=True):
    """Who holds a board.

    Attributes:
        pid, user, host: the process.
        worker: of pytest-xdist: ``gw0``; empty without it.
        test: what it is for at the moment.
        since: when it was taken; seconds since 1970.
    """

    pid: int
    user: str
    host: str
    worker: str = ""
    test: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        worker = f", {self.worker}" if self.worker else ""
        since = datetime.fromtimestamp(self.since).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        test = f", for {self.test}" if self.test else ""
        return printable(f"pid {self.pid} ({self.user}@{self.host}{worker}) since {since}{test}", 400)


def this_process(environ: Mapping[str, str] = os.environ) -> Holder:
    """Say who this process is."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return Holder(os.getpid(), user, socket.gethostname(), environ.get("PYTEST_XDIST_WORKER", ""))


class Lease:
    """A board that this process has until `release`; ``with`` releases it.

    Args:
        board: which one.
        path: of the file that is locked.
        descriptor: of it.
        holder: what the file is to say.

    Raises:
        LockFailed: nothing can be written to the file, which stays locked.

    Attributes:
        board: as above.
    """

    def __init__(self, board: BoardConfig, path: Path, descriptor: int, holder: Holder) -> None:
        self.board = board
        self._path = path
        self._descriptor = descriptor
        self._holder = holder
        self._say(holder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    @property
    def held(self) -> bool:
        """Whether it still is."""
        return self._descriptor >= 0

    def working_on(self, test: str) -> None:
        """Say what the board is for now, for those who wait for it.

        Raises:
            LockFailed: nothing can be written to the file; the board is held as before.
        """
        self._say(msgspec.structs.replace(self._holder, test=test[:TEST_CHARACTERS]))

    def release(self) -> None:
        """Give the board back; idempotent."""
        if not self.held:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            with contextlib.suppress(OSError):  # whom it names is of no account once it is not locked
                os.ftruncate(descriptor, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # children that were forked have the descriptor, too
        except OSError as error:
            raise LockFailed(self._path, error) from error
        finally:
            os.close(descriptor)

    def _say(self, holder: Holder) -> None:
        if not self.held:
            return
        text = msgspec.json.encode(holder) + b"\n"
        try:
            os.pwrite(self._descriptor, text, 0)
            os.ftruncate(self._descriptor, len(text))
        except OSError as error:
            raise LockFailed(self._path, error) from error


class Leases:
    """The leases of one directory, which all who use its boards name alike.

    Args:
        directory: made if it is not there, for all users of the machine.
        holder: who takes; None: this process.
    """

    def __init__(self, directory: str | Path, holder: Holder | None = None) -> None:
        self.directory = Path(directory)
        self._holder = holder or this_process()

    def take(self, board: BoardConfig, test: str = "") -> Lease | None:
        """Take a board; None: somebody else has it.

        A second lease of the same board is refused to the same process as well.

        Raises:
            LockFailed: the directory or the file cannot be used.
        """
        path = self._file(board.id)
        try:
            descriptor = self._locked(path)
        except OSError as error:
            raise LockFailed(path, error) from error
        if descriptor is None:
            return None
        holder = msgspec.structs.replace(self._holder, test=test[:TEST_CHARACTERS], since=time.time())
        try:
            return Lease(board, path, descriptor, holder)
        except BaseException:
            os.close(descriptor)
            raise

    def holder_of(self, board_id: str) -> Holder | None:
        """Return who has a board; None: nobody.

        Raises:
            LockFailed: the file cannot be read.
        """
        path = self._file(board_id)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return None if _try_lock(descriptor, fcntl.LOCK_SH) else _holder_in(descriptor)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LockFailed(path, error) from error

    def is_own(self, holder: Holder) -> bool:
        """Tell whether a holder is who takes here."""
        return (holder.pid, holder.host) == (self._holder.pid, self._holder.host)

    def _file(self, board_id: str) -> Path:
        return self.directory / f"{board_id}.lock"

    def _locked(self, path: Path) -> int | None:
        """Open and lock a file; None: it is locked."""
        deadline = time.monotonic() + _LOOKED_AT
        while True:
            descriptor = self._opened(path)
            ours = False
            try:
                if _try_lock(descriptor, fcntl.LOCK_EX):
                    if ours := _is_still(descriptor, path):
                        return descriptor
                elif os.fstat(descriptor).st_size or time.monotonic() > deadline:
                    return None
            finally:
                if not ours:
                    os.close(descriptor)
            # Somebody only looks whether it is free, or has just taken it; or the file was deleted.
            time.sleep(0.002)

    def _opened(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        # Without O_CREAT first: with it, Linux refuses files of other users in a directory like /tmp
        # (sysctl fs.protected_regular).
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        if not self.directory.is_dir():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._share(self.directory, _SHARED_DIRECTORY)
        descriptor = os.open(path, flags | os.O_CREAT, _SHARED_FILE)
        self._share(path, _SHARED_FILE)
        return descriptor

    def _share(self, path: Path, mode: int) -> None:
        """Let other users of the machine in, whatever the umask says; whoever made it does so."""
        with contextlib.suppress(PermissionError):
            path.chmod(mode)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    """Tell whether the file is still the one at the path: cleaners of directories for temporary files delete some."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder_in(descriptor: int) -> Holder:
    try:
        return msgspec.json.decode(os.pread(descriptor, HOLDER_BYTES, 0), type=Holder)
    except msgspec.DecodeError:  # it was taken just now, and does not say yet by whom
        return Holder(0, "unknown", "this machine", since=time.time())
