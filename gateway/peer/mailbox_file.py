"""The mailbox's SQLite file: who may open it, what it must look like, and how it is made."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.errors import MailboxFailed

APPLICATION = 0x57534D42  # "WSMB": tells a mailbox from any other program's SQLite file
VERSION = 2  # of the schema, in PRAGMA user_version
BUSY_SECONDS = 2.0  # another program (an operator's shell) may hold the write lock for so long
WAL_BYTES = 16 << 20  # the WAL is cut back to this after a burst; checkpoints keep it near 4 MiB
CACHE_KIBIBYTES = 16 << 10  # the names of 100,000 letters are 10 MiB of index

# AUTOINCREMENT: without it SQLite gives a deleted letter's position to the next one, and a reader that remembers
# positions would miss it. The indexes are partial, so that a letter leaves them when it is settled; they have the
# state in them all the same, since SQLite otherwise reads each row, and with it the body's page, to look it up.
SCHEMA = """
CREATE TABLE letters (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient TEXT NOT NULL,
    sender TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    body BLOB,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    confirm INTEGER NOT NULL,
    about TEXT NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'set aside', 'settled')),
    settled_at REAL
);
CREATE UNIQUE INDEX letters_by_name ON letters (recipient, sender, id);
CREATE INDEX letters_waiting ON letters (state, recipient, position, sender) WHERE state = 'waiting';
CREATE INDEX letters_expiring ON letters (state, expires, created) WHERE state = 'waiting';
CREATE INDEX letters_events ON letters (state, sender, recipient, kind, about, reason)
    WHERE state = 'waiting' AND sender = '';
CREATE INDEX letters_aside ON letters (state, recipient, expires) WHERE state = 'set aside';
CREATE INDEX letters_settled ON letters (state, settled_at) WHERE state = 'settled';
"""

# Since version 2; by number, so that the one noted longest ago is found. What was saved of a damaged file may have it.
ACKNOWLEDGERS = """
CREATE TABLE IF NOT EXISTS acknowledgers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL UNIQUE
);
"""


class MailboxFile:
    """The file, open for writing and locked against every other gateway until `close`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock

    def close(self) -> None:
        """Write the WAL back into the file, close it, let the lock go."""
        try:
            self.connection.close()
        finally:
            os.close(self._lock)


def open_for_writing(path: str, *, create: bool = True) -> MailboxFile:
    """Lock, check and open a mailbox; made with its directory if it is not there. Blocks.

    Raises:
        MailboxFailed: another process holds it, it is damaged, of a newer version or another program's, or it cannot
            be had in WAL mode with full syncs. The file is then as it was.
    """
    file = Path(os.path.realpath(path))
    with failures_told(file):
        if create:
            _make_directory(file.parent)
        elif not file.exists():
            raise MailboxFailed(f"there is no mailbox at {file}")
        lock = _lock(file)
        try:
            return MailboxFile(file, _open_checked(file), lock)
        except BaseException:
            os.close(lock)
            raise


@contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """Open a mailbox to read it, beside the gateway that has it open or without one. Blocks.

    Raises:
        MailboxFailed: it is not there, or no mailbox that this version can read.
    """
    file = Path(os.path.realpath(path))
    with failures_told(file):
        if not file.exists():
            raise MailboxFailed(f"there is no mailbox at {file}")
        with closing(_connect_read_only(file)) as connection:
            _check_identity(file, connection)
            if _is_new(connection):
                raise MailboxFailed(f"there is nothing in the mailbox {file} yet")
            yield connection


@contextmanager
def failures_told(file: Path) -> Iterator[None]:
    """Turn what the system and SQLite raise about a mailbox into `MailboxFailed`, which says what and which file."""
    try:
        yield
    except OSError as error:
        raise MailboxFailed(f"cannot open the mailbox {file}: {error.strerror or error}") from error
    except sqlite3.OperationalError as error:
        raise MailboxFailed(f"cannot open the mailbox {file}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(file, error) from error


# --- opening ------------------------------------------------------------------------------------------------------


def _lock(file: Path) -> int:
    # flock, not a file that is there or not: the kernel lets go of it however the process ends
    lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        by = _named(lock)
        os.close(lock)
        raise MailboxFailed(
            f"{by} has the mailbox {file} open (it holds {file.name}.lock); stop it first, or set another mailbox.path"
        ) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _named(lock: int) -> str:
    pid = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
    return f"process {pid}" if pid.isdecimal() else "another process"


def _open_checked(file: Path) -> sqlite3.Connection:
    if file.exists():
        _check(file)
    else:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _make_durable(file, connection)
        if _is_new(connection):
            connection.executescript(
                f"BEGIN IMMEDIATE; {SCHEMA} {ACKNOWLEDGERS} PRAGMA application_id = {APPLICATION}; "
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif _version(connection) == 1:
            connection.executescript(f"BEGIN IMMEDIATE; {ACKNOWLEDGERS} PRAGMA user_version = 2; COMMIT;")
        _sync_directory(file.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_durable(file: Path, connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    # read back, because SQLite answers a mode it cannot have with another one and no error
    if mode != "wal" or synchronous != 2:
        raise MailboxFailed(
            f"expected {file} in journal mode wal with synchronous 2 (full), found {mode} and {synchronous}; "
            f"put the mailbox on a local file system"
        )


# --- checking -----------------------------------------------------------------------------------------------------


def _check(file: Path) -> None:
    # read-only: closing the last writing connection would write the WAL back, into a file that must stay as it is
    with closing(_connect_read_only(file)) as connection:
        _check_identity(file, connection)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _damaged(file, found)


def _check_identity(file: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = _version(connection)
    if _is_new(connection) and not application and not version:
        return
    if application != APPLICATION:
        raise MailboxFailed(f"{file} is another program's SQLite file, not a mailbox; set another mailbox.path")
    if version > VERSION:
        raise MailboxFailed(
            f"{file} has version {version}, and this gateway knows versions up to {VERSION}; "
            f"run the newer gateway, or set another mailbox.path"
        )


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _is_new(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None


def _connect_read_only(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _damaged(file: Path, found: object) -> MailboxFailed:
    return MailboxFailed(
        f"the mailbox {file} is damaged ({found}); it has been left as it is. To begin with an empty one, move "
        f"{file.name}, {file.name}-wal and {file.name}-shm away together; docs/mailbox.md says how to save what can "
        f"be read"
    )


# --- the directory ------------------------------------------------------------------------------------------------


def _make_directory(directory: Path) -> None:
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # a new entry survives a loss of power only once the directory it is in has been synced
    for made in missing:
        _sync_directory(made.parent)


def _sync_directory(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
