"""The disk of a host."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from harness.errors import Misuse
from harness.simulation import sqlite_writes
from harness.simulation.disk import Disk
from harness.simulation.loop import SimulatedLoop, run


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


@pytest.mark.skipif(sqlite_writes.watch() is None, reason="the SQLite of this Python cannot be watched")
class TestTorn:
    """Deaths in the middle of a commit, and power cuts, of the gateway's own mailbox."""

    def rows(self, seed: int, *, power_cut: bool) -> list[int]:
        """Die while the second of two commits is under way; return what is there."""

        async def main(loop: SimulatedLoop) -> list[int]:
            host, found = loop.network.host("gw"), []

            def write() -> None:
                connection = sqlite3.connect(host.disk.path / "db", isolation_level=None)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("CREATE TABLE IF NOT EXISTS rows (id)")
                connection.execute("INSERT INTO rows VALUES (1)")
                found.append(connection)

            async def work() -> None:
                await asyncio.get_running_loop().run_in_executor(None, write)
                await asyncio.get_running_loop().run_in_executor(None, found[0].execute, "INSERT INTO rows VALUES (2)")

            host.spawn(work())
            while not found or found[0].total_changes < 2:  # noqa: ASYNC110 - it is done, and nobody told, for a moment
                await asyncio.sleep(0.0001)
            (host.power_off if power_cut else host.kill)()
            connection = sqlite3.connect(host.disk.path / "db")
            rows = [row[0] for row in connection.execute("SELECT id FROM rows")]
            connection.close()
            return rows

        return run(main, seed, torn_disks=True)

    @pytest.mark.parametrize("power_cut", [False, True])
    def test_in_the_middle_of_a_call(self, power_cut: bool):
        """What was done is there; what was being done may be, or not: nobody has been told."""
        found = {tuple(self.rows(seed, power_cut=power_cut)) for seed in range(12)}
        assert found == {(1,), (1, 2)}


def test_cannot_be_watched(monkeypatch: pytest.MonkeyPatch):
    """Where the SQLite of a Python cannot be reached, who asks for it is told."""
    monkeypatch.setattr(sqlite_writes, "_watch", [None])
    with pytest.raises(Misuse, match="whose SQLite can be watched"):
        SimulatedLoop(torn_disks=True)
