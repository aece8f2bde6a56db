"""Histories of boards: appended, bounded, and read after whatever happened."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench import health as module
from harness.bench.errors import HistoryFailed
from harness.bench.health import KEPT, RECENT, Health, _events

ROOT = Path(__file__).parents[3]
HOUR = 3600.0


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        """Return the time."""
        return self.now


@pytest.fixture
def clock():
    """Return the clock."""
    return Clock()


@pytest.fixture
def health(tmp_path, clock):
    """Return the histories of a new bench."""
    return Health(tmp_path / "state", clock)


def test_nothing_happened(health):
    """A new board is well, and looking makes no files."""
    board = health.of("b1")

    assert (board.recent_faults, board.quarantine, board.events) == (0, None, ())
    assert not health.directory.exists()


def test_events(health, clock):
    """What happened is kept in order, with its time, its words and its test; each board has its own."""
    health.rig_fault("b1", "the port vanished\n", "test_x[1]")
    clock.now += 1
    health.recovery("b1", "EN reset helped (0.3 s)")
    health.rig_fault("b2", "another board's")

    assert [(event.at - 1_700_000_000, event.kind, event.text, event.test) for event in health.of("b1").events] == [
        (0, "rig_fault", "the port vanished\\n", "test_x[1]"),
        (1, "recovery", "EN reset helped (0.3 s)", ""),
    ]


def test_recent_faults(health, clock):
    """Faults of the last day count, older ones do not."""
    health.rig_fault("b1", "old")
    clock.now += RECENT - 1
    assert health.of("b1").recent_faults == 1
    health.rig_fault("b1", "new")
    clock.now += 1

    assert health.of("b1").recent_faults == 1


def test_quarantine(health, clock):
    """A quarantine holds until it is cleared, for days, and whatever else happens; then faults are forgiven."""
    health.rig_fault("b1", "port")
    health.quarantine("b1", "nothing helped", "test_x")
    clock.now += 100 * HOUR
    health.recovery("b1", "someone tried again")
    assert health.of("b1").quarantine.text == "nothing helped"

    assert health.clear("b1", "new cable")

    assert (health.of("b1").quarantine, health.of("b1").recent_faults) == (None, 0)
    assert health.of("b1").events[-1].text == "new cable"
    assert not health.clear("b1")


def test_bounded(health):
    """A history does not grow for ever; a quarantine outlives what came after it."""
    health.quarantine("b1", "nothing helped")
    for number in range(2 * KEPT):
        health.rig_fault("b1", f"fault {number}")

    board = health.of("b1")

    assert len(board.events) == KEPT + 1
    assert board.quarantine.text == "nothing helped"
    assert [board.events[0].kind, board.events[-1].text] == ["quarantined", f"fault {2 * KEPT - 1}"]


def test_not_shortened_before(health):
    """Nothing is forgotten while there is room; and what is kept stays in its order, quarantine included."""
    for number in range(2 * KEPT - 1):
        health.rig_fault("b1", f"fault {number}")
    health.quarantine("b1", "nothing helped")
    assert len(health.of("b1").events) == 2 * KEPT
    health.rig_fault("b1", "last")

    events = health.of("b1").events
    assert len(events) == KEPT
    assert [event.text for event in events[-2:]] == ["nothing helped", "last"]
    assert events[0].kind == "rig_fault"


def test_cleared_outlives(health):
    """That a board was cleared is kept as well: a quarantine from before does not come back."""
    health.quarantine("b1", "nothing helped")
    health.clear("b1")
    for number in range(2 * KEPT):
        health.rig_fault("b1", f"fault {number}")

    assert health.of("b1").quarantine is None
    assert KEPT <= health.of("b1").recent_faults <= 2 * KEPT


def test_texts_are_short(health):
    """What a board's error says may be long, or hostile; the history is for people."""
    health.rig_fault("b1", "\x1b[2J" + "x" * 10_000)

    (event,) = health.of("b1").events
    assert event.text.startswith("\\x1b[2J")
    assert len(event.text) <= 501


@pytest.mark.parametrize("torn", ['{"at":1.0,"kind":"rig_', "\x00\x00\x00", '{"at":1.0,"kind":"other","text":""}\n'])
def test_torn(health, torn):
    """A line that a crash cut, or that another release wrote, costs that line only."""
    health.rig_fault("b1", "first")
    with (health.directory / "b1.jsonl").open("a") as file:
        file.write(torn)

    health.rig_fault("b1", "second")

    assert [event.text for event in health.of("b1").events] == ["first", "second"]


@given(st.binary(max_size=80))
def test_any_bytes(data):
    """Whatever a file holds, it is read."""
    assert isinstance(_events(data), tuple)


def test_many_processes(health):
    """Several workers write at once, past the length at which the file is replaced, and nothing is lost or torn."""
    code = (
        "import sys\n"
        "from harness.bench.health import Health\n"
        "for number in range(150): Health(sys.argv[1]).rig_fault('b1', f'{sys.argv[2]} {number}')\n"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(health.directory), name], cwd=ROOT)
        for name in ("a", "b", "c")
    ]
    assert [writer.wait(20) for writer in writers] == [0, 0, 0]

    events = health.of("b1").events
    assert 2 * KEPT >= len(events) >= KEPT
    for name in "abc":
        numbers = [int(event.text[2:]) for event in events if event.text[0] == name]
        assert numbers == list(range(150 - len(numbers), 150))


def test_no_directory(tmp_path):
    """A directory that cannot be had is named, with the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(HistoryFailed, match=r"file/b1\.jsonl: what is kept of a board cannot be used: .*state_dir"):
        Health(tmp_path / "file").rig_fault("b1", "x")
    with pytest.raises(HistoryFailed, match="cannot be used"):
        Health(tmp_path / "file").of("b1")


def test_another_process_that_was_stopped_in_the_middle(health, monkeypatch):
    """It is waited for, but not for ever."""
    monkeypatch.setattr(module, "WRITTEN", 0.05)
    health.rig_fault("b1", "x")
    with (health.directory / "b1.writing").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(HistoryFailed, match=r"another process has been writing for 0\.05 s"):
            health.rig_fault("b1", "y")
        monkeypatch.setattr(module, "WRITTEN", 10.0)
        timer = threading.Timer(0.05, fcntl.flock, (other, fcntl.LOCK_UN))
        timer.start()
        health.rig_fault("b1", "z")
        timer.join()

    assert [event.text for event in health.of("b1").events] == ["x", "z"]
