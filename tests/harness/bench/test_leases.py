"""One board, one holder; and none once the holder's process has ended, however it did."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.bench.errors import LockFailed
from harness.bench.leases import Holder, Leases, this_process
from tests.harness.bench.benches import a_board

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from harness.bench.bench_file import BoardConfig
from harness.bench.leases import Leases
board = BoardConfig(id="b1", chip="esp32s3", mac="24:6f:28:aa:bb:01")
lease = Leases(sys.argv[1]).take(board, "test_of_another[1]")
print("held" if lease else "refused", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path):
    """Start processes that take board b1; returns each with what it said."""
    with contextlib.ExitStack() as ended:

        def start():
            process = subprocess.Popen(
                [sys.executable, "-c", HOLD, str(tmp_path)],
                cwd=ROOT,
                env=os.environ | {"PYTEST_XDIST_WORKER": "gw7"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            ended.callback(process.stdout.close)
            ended.callback(process.stdin.close)
            ended.callback(process.wait, 10)
            ended.callback(process.kill)
            return process, process.stdout.readline().strip()

        yield start


def test_one_holder(tmp_path):
    """A board that is held is refused, to its holder as well; released, it is free."""
    leases, board = Leases(tmp_path), a_board()
    with leases.take(board) as lease:
        assert lease.held
        assert lease.board is board
        assert leases.take(board) is None
        assert Leases(tmp_path).take(board) is None
        assert leases.take(a_board(2)).held
    assert not lease.held

    assert leases.take(board).held


def test_released_twice(tmp_path):
    """A second release does nothing: not even to whoever has it then."""
    leases, board = Leases(tmp_path), a_board()
    lease = leases.take(board)
    lease.release()
    with leases.take(board):
        lease.release()

        assert leases.take(board) is None


def test_killed(tmp_path, another):
    """A process that is killed with SIGKILL leaves nothing locked."""
    process, said = another()
    leases = Leases(tmp_path)
    assert said == "held"
    assert leases.take(a_board()) is None

    process.send_signal(signal.SIGKILL)
    process.wait(10)

    assert leases.holder_of("b1") is None
    assert leases.take(a_board()).held


def test_holder(tmp_path, another):
    """Whoever waits is told who has it: process, user, host, worker, since when, and for which test."""
    process, _ = another()

    holder = Leases(tmp_path).holder_of("b1")

    assert (holder.pid, holder.worker, holder.test) == (process.pid, "gw7", "test_of_another[1]")
    assert abs(time.time() - holder.since) < 60
    me = this_process({})
    assert re.fullmatch(
        rf"pid {process.pid} \({me.user}@{re.escape(me.host)}, gw7\) since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d, for test_of_another\[1\]",
        str(holder),
    )


def test_refused_to_another(tmp_path, another):
    """A lease holds against other processes."""
    with Leases(tmp_path).take(a_board()):
        assert another()[1] == "refused"


def test_working_on(tmp_path):
    """What a board is for may change while it is held; a shorter name leaves nothing of a longer one."""
    leases = Leases(tmp_path)
    with leases.take(a_board(), "a test with a long name") as lease:
        lease.working_on("short")
        assert leases.holder_of("b1").test == "short"
        assert leases.is_own(leases.holder_of("b1"))
    lease.working_on("nothing, it is not held any more")

    assert leases.holder_of("b1") is None
    assert (tmp_path / "b1.lock").read_text() == ""


def test_forked_child(tmp_path):
    """A child that was forked does not keep a lease that was released."""
    leases = Leases(tmp_path)
    lease = leases.take(a_board())
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lease._descriptor])
    try:
        lease.release()

        assert leases.take(a_board()).held
    finally:
        child.kill()
        child.wait(10)


def test_looks_do_not_take(tmp_path):
    """Whoever only looks, ever so often, keeps nobody from taking."""
    leases = Leases(tmp_path)
    leases.take(a_board()).release()
    stop = threading.Event()

    def look():
        while not stop.is_set():
            leases.holder_of("b1")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            leases.take(a_board()).release()
    finally:
        stop.set()
        looking.join(5)


def test_nothing_is_left_open(tmp_path):
    """Neither taking nor refusing nor looking leaves a file open: a long run does each thousands of times."""
    leases = Leases(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with leases.take(a_board()):
            assert leases.take(a_board()) is None
            leases.holder_of("b1")

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def fails(code):
    """Return what fails with an error of the system."""

    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


def test_disk_full(tmp_path, monkeypatch):
    """A lease that cannot say who holds it is not given, and not held."""
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fails(errno.ENOSPC))
        with pytest.raises(LockFailed, match=r"b1\.lock: .* No space left on device"):
            Leases(tmp_path).take(a_board())

    assert Leases(tmp_path).take(a_board()).held


def test_disk_full_later(tmp_path, monkeypatch):
    """A lease that cannot say what it is for says so, and is held on; to be released it need not say anything."""
    lease = Leases(tmp_path).take(a_board())
    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fails(errno.ENOSPC))
        broken.setattr(os, "ftruncate", fails(errno.EIO))
        with pytest.raises(LockFailed, match="No space left on device"):
            lease.working_on("another")
        assert Leases(tmp_path).take(a_board()) is None
        lease.release()

    assert Leases(tmp_path).take(a_board()).held


def test_no_locks_on_this_file_system(tmp_path, monkeypatch):
    """A directory of a server without locks is named, with the setting; nothing stays open."""
    leases = Leases(tmp_path)
    leases.take(a_board()).release()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as broken:
        broken.setattr(fcntl, "flock", fails(errno.ENOLCK))
        for refused in (lambda: leases.take(a_board()), lambda: leases.holder_of("b1")):
            with pytest.raises(LockFailed, match=r"b1\.lock: the lock of a board cannot be used: No locks available"):
                refused()

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_deleted_file(tmp_path):
    """A lock on a file that a cleaner deleted is no lock: the next one is on the file that is there."""
    first = Leases(tmp_path).take(a_board())
    (tmp_path / "b1.lock").unlink()
    with Leases(tmp_path).take(a_board()):
        first.release()

        assert Leases(tmp_path).take(a_board()) is None


def test_says_nothing_yet(tmp_path):
    """Between the lock and its words, somebody has it."""
    lease = Leases(tmp_path).take(a_board())
    os.ftruncate(lease._descriptor, 0)

    assert Leases(tmp_path).holder_of("b1").user == "unknown"
    assert Leases(tmp_path).take(a_board()) is None
    lease.release()


def test_never_held(tmp_path):
    """A board that nobody ever had is free; looking makes no files."""
    assert Leases(tmp_path / "locks").holder_of("b1") is None
    assert not (tmp_path / "locks").exists()


def test_for_all_users(tmp_path):
    """Whatever the umask says, other users of the machine can lock, too."""
    old = os.umask(0o077)
    try:
        Leases(tmp_path / "a" / "locks").take(a_board()).release()
    finally:
        os.umask(old)

    assert (tmp_path / "a" / "locks").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "a" / "locks" / "b1.lock").stat().st_mode & 0o777 == 0o666


def test_no_directory(tmp_path):
    """A directory that cannot be had is named, with the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LockFailed, match=r"file/b1\.lock: the lock of a board cannot be used: .*; lock_dir of"):
        Leases(tmp_path / "file").take(a_board())
    with pytest.raises(LockFailed, match="cannot be used"):
        Leases(tmp_path / "file").holder_of("b1")


def test_no_link(tmp_path):
    """A link in the place of a lock is not followed: in a directory of all users, anyone may have put it there."""
    (tmp_path / "b1.lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(LockFailed, match="symbolic links"):
        Leases(tmp_path).take(a_board())


def test_holder_is_json(tmp_path):
    """Scripts can read who has a board."""
    with Leases(tmp_path, Holder(1, "ann", "lab", "gw0")).take(a_board(), "test_x"):
        read = json.loads((tmp_path / "b1.lock").read_text())

    assert read | {"since": 0} == {
        "pid": 1,
        "user": "ann",
        "host": "lab",
        "worker": "gw0",
        "test": "test_x",
        "since": 0,
    }


def test_this_process_without_a_name(monkeypatch):
    """A container's user may have no name: its number is one."""
    monkeypatch.setattr("getpass.getuser", lambda: {}["uid"])

    assert this_process({}).user == str(os.getuid())
