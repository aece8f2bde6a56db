"""The mailbox file: how it is made, who may open it, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.errors import MailboxFailed
from gateway.peer import mailbox_file
from gateway.peer.mailbox_file import APPLICATION, VERSION, open_for_writing, reading

_INSERT = (
    "INSERT INTO letters (recipient, sender, id, kind, created, expires, confirm, about, count, reason)"
    " VALUES ('a', 'b', 'c', 'peer', 0, 0, 0, '', 0, '')"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the mailbox is to be."""
    return tmp_path / "state" / "mailbox.db"


@pytest.fixture
def made(path: Path) -> Path:
    """A mailbox that has been made and closed."""
    open_for_writing(str(path)).close()
    return path


@contextmanager
def _plain(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def _refusal(path: Path) -> str:
    """Open a mailbox that must be refused, and return why; it must be as it was before."""
    before = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    with pytest.raises(MailboxFailed) as refused:
        open_for_writing(str(path))
    after = {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    assert after[path.name] == before[path.name]
    assert after.get(f"{path.name}-wal", b"") == before.get(f"{path.name}-wal", b"")
    return str(refused.value)


def test_file_is_made_for_its_owner_only(path: Path) -> None:
    """With its directory; what others may read is nothing, the WAL included."""
    umask = os.umask(0)
    try:
        with closing(open_for_writing(str(path))):
            modes = {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()}
    finally:
        os.umask(umask)

    assert oct(path.parent.stat().st_mode & 0o777) == "0o700"
    assert set(modes) == {"mailbox.db", "mailbox.db-wal", "mailbox.db-shm", "mailbox.db.lock"}
    assert set(modes.values()) == {"0o600"}


def test_every_commit_is_synced(path: Path) -> None:
    """WAL with full syncs, as SQLite itself says."""
    with closing(open_for_writing(str(path))) as file:
        assert file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert file.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert file.connection.execute("PRAGMA locking_mode").fetchone() == ("normal",), "operators read beside us"


def test_file_says_what_it_is(made: Path) -> None:
    """Its kind and version stand in its header."""
    with _plain(made) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_closing_leaves_one_file(made: Path) -> None:
    """The WAL is written back; only the lock file stays beside it."""
    assert sorted(file.name for file in made.parent.iterdir()) == ["mailbox.db", "mailbox.db.lock"]


def test_journal_mode_is_read_back(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite does not give full syncs in WAL mode, the mailbox is not opened."""

    class Weak(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("FULL", "NORMAL"), *args)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Weak, **kwargs))

    assert "found wal and 1" in _refusal(made)


def test_journal_mode_other_than_wal_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite answers with the mode that is, without an error: a reader in the way keeps it."""
    with _plain(made) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")

    class Stubborn(sqlite3.Connection):
        def execute(self, sql: str, *args: object) -> sqlite3.Cursor:
            return super().execute(sql.replace("= WAL", "= DELETE"), *args)  # type: ignore[arg-type]

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Stubborn, **kwargs))

    assert "found delete and 2" in _refusal(made)


# --- refusals -----------------------------------------------------------------------------------------------------


def test_something_that_is_no_database_is_refused(path: Path) -> None:
    """The message names the file and says what to do."""
    path.parent.mkdir()
    path.write_bytes(b"Dear diary, " * 1000)

    reason = _refusal(path)
    assert str(path) in reason
    assert "damaged" in reason
    assert "move mailbox.db, mailbox.db-wal and mailbox.db-shm away" in reason


def test_damaged_file_is_refused(made: Path) -> None:
    """A file whose inside has been overwritten is found out by the check."""
    with _plain(made) as connection:
        connection.execute("BEGIN")
        for n in range(500):
            connection.execute(_INSERT.replace("'c'", f"'{n}'"))
        connection.execute("COMMIT")
    content = bytearray(made.read_bytes())
    for page in range(3, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    made.write_bytes(content)

    assert "damaged" in _refusal(made)


def test_truncated_file_is_refused(made: Path) -> None:
    """A file that has lost its end is found out."""
    made.write_bytes(made.read_bytes()[:8192])

    assert "damaged" in _refusal(made)


def test_refused_file_keeps_its_wal(made: Path, tmp_path: Path) -> None:
    """What a killed gateway had in the WAL is still there after the refusal, for a repair."""
    with closing(open_for_writing(str(made))) as file:
        file.connection.execute(_INSERT)
        killed = tmp_path / "killed"
        shutil.copytree(made.parent, killed)
    content = bytearray((killed / "mailbox.db").read_bytes())
    content[:100] = b"\x00" * 100
    (killed / "mailbox.db").write_bytes(content)
    assert (killed / "mailbox.db-wal").stat().st_size > 0

    assert "damaged" in _refusal(killed / "mailbox.db")


def test_older_version_is_brought_up_to_date(made: Path) -> None:
    """One of version 1 gets what it lacks, and keeps what it has; so does one that says less of itself than it has."""
    with _plain(made) as connection:
        connection.execute("INSERT INTO acknowledgers (device) VALUES ('aa')")
        connection.execute("PRAGMA user_version = 1")
    with closing(open_for_writing(str(made))) as file:
        assert file.connection.execute("SELECT device FROM acknowledgers").fetchall() == [("aa",)]
    with _plain(made) as connection:
        connection.execute("DROP TABLE acknowledgers")
        connection.execute("PRAGMA user_version = 1")
    with reading(str(made)):
        pass  # which changes nothing

    with closing(open_for_writing(str(made))) as file:
        assert file.connection.execute("SELECT device FROM acknowledgers").fetchall() == []
        assert file.connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_newer_version_is_refused(made: Path) -> None:
    """An older gateway does not touch what it does not know."""
    with _plain(made) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")

    assert f"version {VERSION + 1}" in _refusal(made)


def test_other_programs_database_is_refused(path: Path) -> None:
    """A path that points to another program's file is a mistake of the configuration."""
    path.parent.mkdir()
    with _plain(path) as connection:
        connection.execute("CREATE TABLE precious (x)")

    assert "another program's" in _refusal(path)


def test_empty_file_becomes_a_mailbox(path: Path) -> None:
    """As left by a gateway that was killed while making it."""
    path.parent.mkdir()
    path.touch()
    open_for_writing(str(path)).close()

    with reading(str(path)) as connection:
        assert connection.execute("SELECT count(*) FROM letters").fetchone() == (0,)


@pytest.mark.parametrize("where", ["a/file/mailbox.db", "."])
def test_path_that_cannot_be_had_is_told(tmp_path: Path, where: str) -> None:
    """A directory that is a file, and a file that is a directory."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()

    with pytest.raises(MailboxFailed, match="cannot open the mailbox"):
        open_for_writing(str(tmp_path / where))


# --- one at a time ------------------------------------------------------------------------------------------------


def test_second_gateway_is_refused(path: Path) -> None:
    """The message names the process that has it; a link is no way round."""
    with closing(open_for_writing(str(path))):
        (path.parent / "link.db").symlink_to(path)
        assert f"process {os.getpid()} has the mailbox" in _refusal(path)
        assert f"process {os.getpid()} has the mailbox" in _refusal(path.parent / "link.db")
    open_for_writing(str(path)).close()


def test_refused_gateway_leaves_the_lock_alone(path: Path) -> None:
    """However often others are refused, the first one keeps the file, and its pid in the lock."""
    with closing(open_for_writing(str(path))):
        for _ in range(2):
            _refusal(path)
        assert (path.parent / "mailbox.db.lock").read_text() == f"{os.getpid()}\n"


def test_lock_without_a_name(made: Path) -> None:
    """A holder that has not written its pid yet is told as such."""
    with (made.parent / "mailbox.db.lock").open("r+") as lock:
        lock.truncate(0)
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process has the mailbox" in _refusal(made)


def test_lock_that_cannot_be_written(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room for the pid refuses the mailbox, and the lock is let go."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        assert "No space left on device" in _refusal(made)
    open_for_writing(str(made)).close()


def test_refusal_for_damage_lets_the_lock_go(made: Path) -> None:
    """After a repair the same process can open it."""
    good = made.read_bytes()
    made.write_bytes(b"x" * 8192)
    _refusal(made)
    made.write_bytes(good)

    open_for_writing(str(made)).close()


def test_no_descriptor_is_left_behind(made: Path) -> None:
    """Neither opening and closing nor a refusal leaks a file."""

    def open_files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = open_files()
    open_for_writing(str(made)).close()
    with closing(open_for_writing(str(made))):
        _refusal(made)
    made.write_bytes(b"x" * 8192)
    _refusal(made)

    assert open_files() == before


def test_file_must_be_there_where_it_is_not_to_be_made(path: Path) -> None:
    """Neither file nor directory appears."""
    with pytest.raises(MailboxFailed, match="no mailbox at"):
        open_for_writing(str(path), create=False)
    with pytest.raises(MailboxFailed, match="no mailbox at"), reading(str(path)):
        pytest.fail("must not be opened")

    assert not path.parent.exists()


# --- reading ------------------------------------------------------------------------------------------------------


def test_operator_reads_beside_the_gateway(path: Path) -> None:
    """What is committed is seen at once; the reader cannot write."""
    with closing(open_for_writing(str(path))) as file, reading(str(path)) as connection:
        assert connection.execute("SELECT count(*) FROM letters").fetchone() == (0,)
        file.connection.execute(_INSERT)
        assert connection.execute("SELECT count(*) FROM letters").fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM letters")


def test_reader_refuses_what_is_no_mailbox(path: Path) -> None:
    """The same sentences as on opening it."""
    path.parent.mkdir()
    path.write_bytes(b"x" * 8192)
    with pytest.raises(MailboxFailed, match="damaged"), reading(str(path)):
        pytest.fail("must not be opened")
    path.write_bytes(b"")
    with pytest.raises(MailboxFailed, match="nothing in the mailbox"), reading(str(path)):
        pytest.fail("must not be opened")


def test_new_directories_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each directory that has got a new entry, so that a loss of power does not take the whole mailbox."""
    synced: list[Path] = []
    sync = mailbox_file._sync_directory
    monkeypatch.setattr(mailbox_file, "_sync_directory", lambda where: (synced.append(where), sync(where)))
    deep = path.parent / "deep" / "mailbox.db"
    open_for_writing(str(deep)).close()

    assert set(synced) == {path.parent.parent, path.parent, deep.parent}
