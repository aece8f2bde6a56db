"""The look below SQLite: what it tells, and that SQLite does not notice."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from harness.simulation import sqlite_writes
from harness.simulation.disk import Disk
from harness.simulation.sqlite_writes import Watch
from harness.simulation.writes import WriteLog

WATCH = sqlite_writes.watch()
pytestmark = pytest.mark.skipif(WATCH is None, reason="the SQLite of this Python cannot be watched")


class Told(WriteLog):
    """Counts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def wrote(self, file: str, at: int, data: bytes) -> None:
        """Count."""
        self.count[f"write {Path(file).name}"] += 1

    def synced(self, file: str) -> None:
        """Count."""
        self.count[f"sync {Path(file).name}"] += 1

    def removed(self, file: str) -> None:
        """Count."""
        self.count[f"remove {Path(file).name}"] += 1


@pytest.fixture
def watched() -> Watch:
    """The watch of this process."""
    assert WATCH is not None
    return WATCH


def database(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """A new one, with a table."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 20")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, body TEXT)")
    return connection


def test_what_is_told(watched: Watch, tmp_path: Path):
    """With full syncs each commit writes to the WAL and syncs it; the WAL goes with the last connection."""
    log = Told()
    (tmp_path / "below").mkdir()
    watched.follow(str(tmp_path), log)
    with watched.in_force():
        connection = database(tmp_path / "below" / "db")
        before = log.count["sync db-wal"]
        connection.execute("INSERT INTO rows VALUES (1, 'x')")
        assert log.count["sync db-wal"] == before + 1
        assert log.count["write db-wal"] > 3
        connection.close()
    watched.forget(str(tmp_path))

    assert log.count["remove db-wal"] == 1
    assert log.count["write db"] > 0


def test_others_are_not_told(watched: Watch, tmp_path: Path):
    """Other directories, and what is opened while it is not in force."""
    log = Told()
    watched.follow(str(tmp_path / "one"), log)
    (tmp_path / "one").mkdir()
    (tmp_path / "one-more").mkdir()
    with watched.in_force():
        database(tmp_path / "one-more" / "db").close()
        sqlite3.connect(":memory:").close()
    database(tmp_path / "one" / "db").close()
    watched.forget(str(tmp_path / "one"))

    assert not log.count


def test_forgotten_with_an_open_file(watched: Watch, tmp_path: Path):
    """What is still open when its log goes works on, to its end."""
    log = Told()
    watched.follow(str(tmp_path), log)
    with watched.in_force():
        connection = database(tmp_path / "db")
    watched.forget(str(tmp_path))
    told = sum(log.count.values())

    connection.execute("INSERT INTO rows VALUES (1, 'x')")
    connection.close()
    assert sum(log.count.values()) == told
    assert database_rows(tmp_path / "db") == {1}


def test_two_connections(watched: Watch, tmp_path: Path):
    """A reader beside the writer, as the gateway has at its start, and locks between them work as ever."""
    watched.follow(str(tmp_path), Told())
    with watched.in_force():
        writer = database(tmp_path / "db")
        writer.execute("INSERT INTO rows VALUES (1, 'x')")
        reader = sqlite3.connect(f"file:{tmp_path / 'db'}?mode=ro", uri=True)
        assert reader.execute("SELECT id FROM rows").fetchall() == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("INSERT INTO rows VALUES (2, 'x')")
        other = sqlite3.connect(tmp_path / "db", timeout=0, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        for connection in (other, reader, writer):
            connection.close()
    watched.forget(str(tmp_path))


def database_rows(path: Path) -> set[int]:
    """What is in a database."""
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("SELECT id FROM rows")}
    finally:
        connection.close()


def lost(watched: Watch, seed: int, synchronous: str) -> tuple[int, int]:
    """Commit some rows, with one more under way, and cut the power; return how many were committed, and are lost."""
    chance = random.Random(seed)
    disk = Disk("gw", watched, chance)
    with watched.in_force():
        connection = database(disk.path / "db", synchronous)
        assert disk.log is not None
        committed = set()
        for number in range(chance.randint(5, 40)):
            call = disk.log.began()
            connection.execute("INSERT INTO rows VALUES (?, ?)", (number, "x" * chance.randint(10, 2000)))
            disk.log.had_its_effect()
            disk.log.told(call)
            committed.add(number)
        disk.log.began()
        connection.execute("INSERT INTO rows VALUES (1000, ?)", ("y" * 3000,))
        disk.log.had_its_effect()
        disk.leave_to_the_next(power_cut=True)
        connection.close()
        try:
            left = database_rows(disk.path / "db")
        except sqlite3.OperationalError:  # not even the table
            left = set()
    disk.remove()
    assert left - committed <= {1000}
    return len(committed), len(committed - left)


def test_full_syncs_lose_nothing(watched: Watch):
    """What was committed with full syncs is there after a loss of power; with normal ones some of it is not."""
    full = [lost(watched, seed, "FULL") for seed in range(60)]
    normal = [lost(watched, seed, "NORMAL") for seed in range(60)]

    assert sum(committed for committed, _ in full) > 1000
    assert [missing for _, missing in full if missing] == []
    assert sum(missing for _, missing in normal) > 20
