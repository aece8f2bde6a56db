"""The disk of a host."""

from __future__ import annotations

import sqlite3

from harness.simulation.disk import Disk


def test_made_when_it_is_asked_for():
    """A disk nobody looks at is no directory."""
    disk = Disk("gw")
    disk.leave_to_the_next()
    disk.remove()
    assert disk.path.is_dir()
    disk.remove()


def test_left_to_the_next():
    """The next process finds what was there, in another directory that the dead one cannot reach."""
    disk = Disk("gw")
    old = disk.path
    (old / "directory").mkdir()
    (old / "directory" / "file").write_text("1")
    disk.leave_to_the_next()
    (old / "directory" / "file").write_text("2")

    assert disk.path != old
    assert (disk.path / "directory" / "file").read_text() == "1"
    disk.remove()
    assert not old.exists()


def test_removed_with_its_owner():
    """A disk that nobody removes goes with the loop it belongs to."""
    disk = Disk("gw")
    path = disk.path
    del disk

    assert not path.parent.exists()


def test_database_that_nobody_closed():
    """What SQLite has committed is there, without the connection that has it open, and what it has not is not."""
    disk = Disk("gw")
    first = sqlite3.connect(disk.path / "db", isolation_level=None)
    first.execute("PRAGMA journal_mode = WAL")
    first.execute("CREATE TABLE letters (body)")
    first.execute("INSERT INTO letters VALUES ('committed')")
    first.execute("BEGIN")
    first.execute("INSERT INTO letters VALUES ('not committed')")
    disk.leave_to_the_next()
    second = sqlite3.connect(disk.path / "db")

    assert second.execute("SELECT body FROM letters").fetchall() == [("committed",)]
    assert sorted(path.name for path in disk.path.iterdir() if path.name != "db-shm") == ["db", "db-wal"]
    first.close()
    second.close()
    disk.remove()
