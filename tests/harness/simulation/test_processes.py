"""Processes, and what they have open."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from harness.simulation.hosts import Host
from harness.simulation.loop import SimulatedLoop, run
from harness.simulation.processes import OpenFiles, Process, current_process, noting


def is_open(descriptor: int) -> bool:
    """Whether the system knows it."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_closes_what_is_open(tmp_path: Path):
    """Descriptors and databases are closed, except what was closed already."""
    files = OpenFiles()
    left, closed = (os.open(tmp_path / name, os.O_CREAT) for name in ("left", "closed"))
    files.opened(left)
    files.opened(closed)
    database = sqlite3.connect(tmp_path / "db")
    files.connected(database)
    os.close(closed)
    files.closed(closed)
    files.close()

    assert not is_open(left)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
    files.close()


def test_leaves_others_alone(tmp_path: Path):
    """A number that has become another file's, unseen, is not closed."""
    files = OpenFiles()
    mine = os.open(tmp_path / "mine", os.O_CREAT)
    files.opened(mine)
    with os.fdopen(mine):
        pass
    other = os.open(tmp_path / "other", os.O_CREAT)
    assert other == mine
    files.close()

    assert is_open(other)
    os.close(other)


def test_noted_for_the_process_that_opens(tmp_path: Path):
    """What is opened is noted for the current process, and for nobody where there is none."""
    opening = noting(os.open, OpenFiles.opened)
    first = opening(tmp_path / "test", os.O_CREAT)
    process = Process("gw", 1)
    token = current_process.set(process)
    second = opening(tmp_path / "process", os.O_CREAT)
    current_process.reset(token)
    process.files.close()

    assert (is_open(first), is_open(second)) == (True, False)
    os.close(first)


def test_closed_with_the_loop():
    """What a process that outlives the simulation has open is closed with the loop: no ``close`` of its own comes."""
    opened: list[Any] = []

    async def program(host: Host) -> None:
        opened.append(os.open(host.disk.path / "lock", os.O_CREAT))
        opened.append(sqlite3.connect(host.disk.path / "db"))

    async def main(loop: SimulatedLoop) -> None:
        host = loop.network.host("gw")
        await host.spawn(program(host))

    run(main)
    descriptor, database = opened

    assert not is_open(descriptor)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.execute("SELECT 1")
