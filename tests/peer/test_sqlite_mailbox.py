"""The durable mailbox: what survives what, how batches are committed, and what a failing disk does."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import MailboxFailed
from gateway.peer.mailbox import Depth, Letter, Stored
from gateway.peer.mailbox_file import VERSION, open_for_writing
from gateway.peer.sqlite_mailbox import SqliteMailbox
from tests.peer.letters import DEDUPE, A, B, C, Clock, event, ids, letter, sqlite_mailbox

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the mailbox is."""
    return tmp_path / "state" / "mailbox.db"


@pytest.fixture
def damaged(path: Path) -> Path:
    """A file that is no mailbox."""
    path.parent.mkdir()
    path.write_bytes(b"x" * 8192)
    return path


@pytest.fixture
async def mailbox(path: Path) -> AsyncIterator[SqliteMailbox]:
    """An open mailbox with plenty of room."""
    made = sqlite_mailbox(path, per_device=10_000, per_sender=100_000, total=100_000)
    await made.open()
    yield made
    await made.close()


def _statements(mailbox: SqliteMailbox) -> list[str]:
    """Return a list to which SQLite adds every statement from now on."""
    assert mailbox._file is not None
    seen: list[str] = []
    mailbox._file.connection.set_trace_callback(seen.append)
    return seen


class _Disk:
    """Breaks the statements of a mailbox that begin with a word."""

    def __init__(self, mailbox: SqliteMailbox) -> None:
        assert mailbox._table is not None
        self.broken = ""
        self._run = mailbox._table._run
        mailbox._table._run = self.run

    def run(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if self.broken and sql.startswith(self.broken):
            raise sqlite3.OperationalError("disk I/O error")
        return self._run(sql, *args)


# --- durability ---------------------------------------------------------------------------------------------------


async def test_everything_survives_reopening(path: Path) -> None:
    """Letters, events, what is set aside, what is settled, and the order; who acknowledges."""
    clock = Clock()
    first = sqlite_mailbox(path, wall_clock=clock)
    await first.open()
    await first.store([letter("1"), letter("2"), letter("3"), letter("4")])
    await first.add_event(event("e", count=3))
    await first.settle(A, [(B, "1"), (B, "4")])
    await first.set_aside(A, B, "2")
    await first.note_acknowledger(B, acknowledges=True)
    before = await first.depth()
    kept = await first.waiting(A, 10)
    await first.close()
    second = sqlite_mailbox(path, wall_clock=clock)
    await second.open()

    assert await second.waiting(A, 10) == kept
    assert await second.acknowledgers() == [B]
    assert before == await second.depth() == Depth(2, 1, 0.0)
    assert await second.store([letter("4"), letter("3")]) == [Stored.SETTLED, Stored.DUPLICATE]
    assert await second.store([letter(str(n)) for n in range(5, 9)]) == [*[Stored.STORED] * 3, Stored.FULL]
    assert await ids(second) == ["3", "e", "5", "6", "7"]
    await second.close()


async def test_acknowledged_letters_are_on_disk(mailbox: SqliteMailbox, path: Path) -> None:
    """What has been answered is seen by another process at once, without closing."""
    await mailbox.store([letter("1")])

    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as other:
        assert other.execute("SELECT id FROM letters").fetchall() == [("1",)]


async def test_settled_letters_leave_the_file(path: Path) -> None:
    """What a letter said goes when it is settled, its name after the dedupe time."""
    clock = Clock()
    mailbox = sqlite_mailbox(path, wall_clock=clock)
    await mailbox.open()
    await mailbox.store([letter("1")])
    await mailbox.settle(A, [(B, "1")])
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as other:
        assert other.execute("SELECT id, body, settled_at FROM letters").fetchall() == [("1", None, clock.now)]
        clock.now += DEDUPE
        await mailbox.take_expired(1)
        assert other.execute("SELECT * FROM letters").fetchall() == []
    assert mailbox._table is not None
    assert mailbox._table._tally.settled == 0
    await mailbox.close()


_STORING = """
import asyncio, itertools, os, sys, time
from gateway.peer.mailbox import Letter
from gateway.peer.sqlite_mailbox import SqliteMailbox

async def main(path, run):
    mailbox = SqliteMailbox(
        path, per_device=10**6, per_sender=10**6, total=10**6, dedupe=600, wall_clock=time.time, executor=None
    )
    await mailbox.open()
    def say(text):
        os.write(1, f"{text}\\n".encode())
    async def keep_storing(n):
        for i in itertools.count():
            id = f"{run}-{n}-{i}"
            await mailbox.store([Letter("aa", "bb", id, "peer", b"x" * 300, time.time(), time.time() + 9999)])
            say(f"stored {id}")
            if i % 3 == 0:
                await mailbox.settle("aa", [("bb", id)])
                say(f"settled {id}")
    await asyncio.gather(*(keep_storing(n) for n in range(20)))

asyncio.run(main(*sys.argv[1:]))
"""


def _run_and_kill(path: Path, run: int, after: int) -> list[str]:
    """Run a process that stores and settles, kill it once it has said ``after`` lines; return all that it said."""
    command = [sys.executable, "-c", _STORING, str(path), str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    return [line.decode().rstrip("\n") for line in said if line.endswith(b"\n")]


def test_nothing_acknowledged_is_lost_by_a_kill(path: Path) -> None:
    """Killed at any time, ten times over: what was stored is there or was being settled; what was settled is gone."""
    stored: set[str] = set()
    settled: set[str] = set()
    for run in range(10):
        for line in _run_and_kill(path, run, random.randint(1, 600)):
            word, id_ = line.split()
            (stored if word == "stored" else settled).add(id_)
        found = asyncio.run(_waiting(path))
        missing = {id_ for id_ in stored - settled - found if int(id_.rpartition("-")[2]) % 3}
        assert not missing
        assert not settled & found
    assert len(stored) > 10


async def _waiting(path: Path) -> set[str]:
    mailbox = sqlite_mailbox(path)
    await mailbox.open()
    found = {kept.id for kept in await mailbox.waiting(A, 10**6)}
    await mailbox.close()
    return found


# --- group commit -------------------------------------------------------------------------------------------------


async def test_concurrent_stores_share_a_commit(mailbox: SqliteMailbox) -> None:
    """200 callers of one turn cost one sync of the disk, not 200."""
    statements = _statements(mailbox)
    answers = await asyncio.gather(*(mailbox.store([letter(str(n))]) for n in range(200)))

    assert answers == [[Stored.STORED]] * 200
    assert statements.count("COMMIT") == 1
    assert len(await ids(mailbox)) == 200


async def test_busy_callers_keep_sharing_commits(mailbox: SqliteMailbox) -> None:
    """Callers that store one letter after the other stay together."""
    statements = _statements(mailbox)

    async def caller(n: int) -> None:
        for i in range(10):
            await mailbox.store([letter(f"{n}-{i}")])

    await asyncio.gather(*(caller(n) for n in range(50)))

    assert statements.count("COMMIT") == 10
    assert statements.count("BEGIN IMMEDIATE") == 10


async def test_cancelled_caller_does_not_break_the_batch(mailbox: SqliteMailbox) -> None:
    """The others are answered, and the mailbox goes on."""
    calls = [asyncio.create_task(mailbox.store([letter(str(n))])) for n in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()

    assert await calls[0] == [Stored.STORED]
    assert await calls[2] == [Stored.STORED]
    assert calls[1].cancelled()
    assert await ids(mailbox) == ["0", "1", "2"], "cancelling does not undo it"


async def test_close_finishes_what_was_called(path: Path) -> None:
    """Stores that were called before close are answered and kept."""
    mailbox = sqlite_mailbox(path, per_device=100, per_sender=100, total=100)
    await mailbox.open()
    calls = [asyncio.create_task(mailbox.store([letter(str(n))])) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(mailbox.close(), mailbox.close())

    assert all(call.done() for call in calls)
    assert await asyncio.gather(*calls) == [[Stored.STORED]] * 20
    assert len(await _waiting(path)) == 20


async def test_own_executor_is_used_and_left_alone(path: Path) -> None:
    """All work is done in the executor given; closing the mailbox does not shut it down."""
    with ThreadPoolExecutor(1, thread_name_prefix="mail") as executor:
        mailbox = sqlite_mailbox(path, executor)
        await mailbox.open()
        await mailbox.store([letter("1")])
        await mailbox.close()
        assert executor.submit(lambda: "alive").result() == "alive"


async def test_executor_that_is_gone(path: Path) -> None:
    """Calls fail, and say so to readiness; closing still lets the lock go."""
    executor = ThreadPoolExecutor(1)
    mailbox = sqlite_mailbox(path, executor)
    await mailbox.open()
    executor.shutdown()
    with pytest.raises(MailboxFailed, match="shutdown"):
        await mailbox.store([letter("1")])
    assert mailbox.failed is not None
    await mailbox.close()

    open_for_writing(str(path)).close()


# --- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["BEGIN", "INSERT", "COMMIT"])
async def test_failing_disk_fails_the_batch(mailbox: SqliteMailbox, where: str) -> None:
    """Nothing of the batch is there, each caller is told, and later ones are served when the disk is well again."""
    await mailbox.store([letter("before")])
    disk = _Disk(mailbox)
    disk.broken = where
    answers = await asyncio.gather(
        mailbox.settle(A, [(B, "before")]),
        mailbox.store([letter("1"), letter("2")]),
        mailbox.add_event(event("e")),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [MailboxFailed] * 3
    assert all(isinstance(answer, MailboxFailed) and "disk I/O error" in str(answer) for answer in answers)
    assert isinstance(answers[0], MailboxFailed)
    assert isinstance(answers[0].__cause__, sqlite3.OperationalError)
    assert mailbox.failed is not None
    assert "disk I/O error" in mailbox.failed
    disk.broken = ""
    assert await mailbox.store([letter("1")]) == [Stored.STORED]
    assert mailbox.failed is None
    assert await ids(mailbox) == ["before", "1"]
    assert await mailbox.depth() == Depth(2, 0, 0.0)


async def test_counts_are_right_after_a_failure(path: Path) -> None:
    """Limits are judged by what is kept, not by what was tried."""
    mailbox = sqlite_mailbox(path, per_device=2, total=3)
    await mailbox.open()
    await mailbox.store([letter("1")])
    disk = _Disk(mailbox)
    disk.broken = "COMMIT"
    for _ in range(3):
        with pytest.raises(MailboxFailed):
            await mailbox.store([letter("2"), letter("2", to=C)])
    with pytest.raises(MailboxFailed):
        await mailbox.purge(A)
    disk.broken = ""

    assert await mailbox.store([letter("2"), letter("3")]) == [Stored.STORED, Stored.FULL]
    assert await mailbox.store([letter("2", to=C), letter("3", to=C)]) == [Stored.STORED, Stored.FULL]
    await mailbox.close()


async def test_reading_does_not_hide_a_failure(mailbox: SqliteMailbox) -> None:
    """While nothing can be written, reading works, and the mailbox does not call itself well."""
    await mailbox.store([letter("1")])
    disk = _Disk(mailbox)
    disk.broken = "INSERT"
    with pytest.raises(MailboxFailed):
        await mailbox.store([letter("2")])
    for broken in ("INSERT", "DELETE", "COMMIT"):
        disk.broken = broken
        with contextlib.suppress(MailboxFailed):  # a commit that fails is that of the reading, too
            assert await ids(mailbox) == ["1"]
        assert mailbox.failed is not None
    disk.broken = ""
    assert await ids(mailbox) == ["1"]

    assert mailbox.failed is None, "a mailbox that nobody writes to finds out by itself that it can"
    assert await mailbox.depth() == Depth(1, 0, 0.0)
    assert mailbox._file is not None
    assert mailbox._file.connection.execute("SELECT count(*) FROM letters").fetchone() == (1,)


async def test_full_disk_and_recovery(mailbox: SqliteMailbox) -> None:
    """SQLite's own verdict on a full file: the batch fails, reading and settling go on, room brings it back."""
    assert mailbox._file is not None
    connection = mailbox._file.connection
    await mailbox.store([letter("0")])
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Letter(A, B, "big", "peer", b"x" * 50_000, 0.0, 2e9)
    with pytest.raises(MailboxFailed, match=r"full \(SQLITE_FULL\)"):
        await mailbox.store([letter("1"), big])

    assert "full" in str(mailbox.failed)
    assert [kept.id for kept in await mailbox.waiting(A, 10)] == ["0"]
    assert "full" in str(mailbox.failed), "there are still pages for small writes, but not for letters"
    assert await mailbox.settle(A, [(B, "0")]) == 1
    connection.execute("PRAGMA max_page_count = 1000000")
    assert await mailbox.store([letter("1"), big]) == [Stored.STORED] * 2
    assert mailbox.failed is None


_FILLING = """
import asyncio, resource, sys, time
from gateway.errors import MailboxFailed
from gateway.peer.mailbox import Letter
from gateway.peer.sqlite_mailbox import SqliteMailbox

async def main(path):
    mailbox = SqliteMailbox(
        path, per_device=10**6, per_sender=10**6, total=10**6, dedupe=600, wall_clock=time.time, executor=None
    )
    await mailbox.open()
    numbers = iter(range(10**6))
    async def store():
        id = str(next(numbers))
        await mailbox.store([Letter("aa", "bb", id, "peer", b"x" * 4000, time.time(), time.time() + 9999)])
        kept.append(id)
    kept = []
    await store()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    try:
        while True:
            await store()
    except MailboxFailed as error:
        print("failed", error)
    for _ in range(3):
        try:
            await store()
        except MailboxFailed:
            pass
    assert mailbox.failed
    assert [kept_.id for kept_ in await mailbox.waiting("aa", 10**6)] == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store()
    assert mailbox.failed is None
    await mailbox.close()
    print("kept", *kept)

asyncio.run(main(*sys.argv[1:]))
"""


def test_file_that_may_not_grow(path: Path) -> None:
    """The kernel refuses the write itself: nothing acknowledged is lost, nothing refused is kept."""
    done = subprocess.run(
        [sys.executable, "-c", _FILLING, str(path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    failed, kept = done.stdout.splitlines()

    assert failed.startswith("failed ")
    assert len(kept.split()) > 10
    assert asyncio.run(_waiting(path)) == set(kept.split()[1:])


async def test_other_writer_is_waited_for_and_then_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's shell that holds the file makes the batch fail, and no longer than it holds it."""
    monkeypatch.setattr("gateway.peer.mailbox_file.BUSY_SECONDS", 0.05)
    mailbox = sqlite_mailbox(path)
    await mailbox.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(MailboxFailed, match="locked"):
            await mailbox.store([letter("1")])
        shell.execute("COMMIT")

    assert await mailbox.store([letter("1")]) == [Stored.STORED]
    await mailbox.close()


@pytest.mark.parametrize(
    "wrong",
    [
        Letter(A, B, "\ud800", "peer", b"", 0.0, 2e9),
        Letter(A, B, "1", "peer", b"", 0.0, 2e9, count=2**70),
        Letter(A, B, "1", "peer", object(), 0.0, 2e9),  # type: ignore[arg-type]
        Letter(A, B, "1", "peer", b"", None, 2e9),  # type: ignore[arg-type]
    ],
    ids=["surrogate", "huge number", "no bytes", "no time"],
)
async def test_bad_value_is_its_callers_alone(mailbox: SqliteMailbox, wrong: Letter) -> None:
    """A letter that cannot be written fails its own call, whole, and no other's of the same batch."""
    before, bad, after = await asyncio.gather(
        mailbox.store([letter("before")]),
        mailbox.store([letter("with it"), wrong]),
        mailbox.store([letter("after")]),
        return_exceptions=True,
    )

    assert before == after == [Stored.STORED]
    assert isinstance(bad, MailboxFailed)
    assert bad.__cause__ is not None
    assert mailbox.failed is None
    assert await ids(mailbox) == ["before", "after"]
    assert (await mailbox.depth()).waiting == 2


# --- opening ------------------------------------------------------------------------------------------------------


async def test_refusals_come_out_of_open(path: Path) -> None:
    """A file of a newer version is refused; when it is put right, the same mailbox opens."""
    open_for_writing(str(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    mailbox = sqlite_mailbox(path)
    with pytest.raises(MailboxFailed, match="version"):
        await mailbox.open()
    with pytest.raises(MailboxFailed, match="not open"):
        await mailbox.depth()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION}")
    await mailbox.open()
    await mailbox.open()

    assert await mailbox.store([letter("1")]) == [Stored.STORED]
    await mailbox.close()


async def test_second_gateway_is_refused_until_the_first_is_closed(path: Path) -> None:
    """One gateway per file; the message names the process."""
    first, second = sqlite_mailbox(path), sqlite_mailbox(path)
    await first.open()
    with pytest.raises(MailboxFailed, match=f"process {os.getpid()} has the mailbox"):
        await second.open()
    await first.close()

    await second.open()
    await second.close()


async def test_cancelled_open_lets_go(path: Path) -> None:
    """A caller that goes away while the file is being opened leaves no lock behind."""
    with ThreadPoolExecutor(1) as executor:
        mailbox = sqlite_mailbox(path, executor)
        opening = asyncio.create_task(mailbox.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 5
        while True:
            # in the same thread, so after the opening, and sooner or later after the closing
            try:
                (await loop.run_in_executor(executor, open_for_writing, str(path))).close()
                break
            except MailboxFailed:
                assert loop.time() < deadline


async def test_cancelled_open_of_a_refused_file(damaged: Path) -> None:
    """Nobody is left to hear of the refusal; it is not reported as an error nobody looked at."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    with ThreadPoolExecutor(1) as executor:
        opening = asyncio.create_task(sqlite_mailbox(damaged, executor).open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.get_running_loop().run_in_executor(executor, bool)
    gc.collect()

    assert not reported


async def test_path_may_have_any_characters(tmp_path: Path) -> None:
    """Characters that mean something in a URI are only a name here."""
    mailbox = sqlite_mailbox(tmp_path / "a ?#%41&" / "mail=box?mode=memory.db")
    await mailbox.open()
    await mailbox.store([letter("1")])
    await mailbox.close()
    again = sqlite_mailbox(tmp_path / "a ?#%41&" / "mail=box?mode=memory.db")
    await again.open()

    assert await ids(again) == ["1"]
    await again.close()
