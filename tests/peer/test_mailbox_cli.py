"""What ``wsdevice mailbox`` prints, and what it refuses."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.identity import DeviceId
from gateway.peer import mailbox_cli
from gateway.peer.mailbox import Letter
from gateway.peer.sqlite_mailbox import SqliteMailbox
from tests.peer.letters import NOW, A, B, C, event, ids, letter, sqlite_mailbox


class _Terminal:
    """Runs the commands on one mailbox and keeps what they print."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.now = NOW

    def list(self, device: DeviceId | None = None) -> str:
        out, err = io.StringIO(), io.StringIO()
        self.code = mailbox_cli.list_devices(self.path, device, now=self.now, out=out, err=err)
        return self.printed(out, err)

    def show(self, device: DeviceId, *, bodies: bool = False) -> str:
        out, err = io.StringIO(), io.StringIO()
        self.code = mailbox_cli.show(self.path, device, bodies=bodies, now=self.now, out=out, err=err)
        return self.printed(out, err)

    def purge(self, device: DeviceId) -> str:
        out, err = io.StringIO(), io.StringIO()
        self.code = mailbox_cli.purge(self.path, device, out=out, err=err)
        return self.printed(out, err)

    def printed(self, out: io.StringIO, err: io.StringIO) -> str:
        """Return the one of the two streams that the exit code says."""
        assert bool(out.getvalue()) is (self.code == 0)
        assert bool(err.getvalue()) is (self.code != 0)
        return out.getvalue() + err.getvalue()


@pytest.fixture
def terminal(tmp_path: Path) -> _Terminal:
    """The commands, on the mailbox of this test."""
    return _Terminal(str(tmp_path / "mailbox.db"))


@pytest.fixture
async def mailbox(terminal: _Terminal) -> AsyncIterator[SqliteMailbox]:
    """That mailbox, open in a gateway."""
    made = sqlite_mailbox(Path(terminal.path))
    await made.open()
    yield made
    await made.close()


async def test_list_shows_each_device(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """While the gateway runs: what waits, what is set aside, how old the oldest is; settled letters are gone."""
    await mailbox.store([letter("1"), letter("2"), letter("3"), letter("1", to=C, now=NOW - 3600), letter("1", to=B)])
    await mailbox.add_event(event("e"))
    await mailbox.set_aside(A, B, "2")
    await mailbox.settle(A, [(B, "3")])
    await mailbox.settle(B, [(B, "1")])
    terminal.now += 65

    assert terminal.list().splitlines() == [
        "device  waiting  set aside  oldest",
        "aa      2        1          1m 5s",
        "cc      1        0          1h 1m",
    ]
    assert terminal.list(C).splitlines()[1:] == ["cc      1        0          1h 1m"]
    assert terminal.list(DeviceId("unknown")) == "device  waiting  set aside  oldest\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (3599, "59m 59s"),
        (3600, "1h 0m"),
        (86399, "23h 59m"),
        (86400, "1d 0h"),
    ],
)
async def test_ages_are_for_people(mailbox: SqliteMailbox, terminal: _Terminal, seconds: float, text: str) -> None:
    """The two largest units say enough; a clock that was put back gives no negative age."""
    await mailbox.store([letter("1")])
    terminal.now += seconds

    assert terminal.list().splitlines()[1].endswith(f"  {text}")


async def test_show_lists_the_letters_of_a_device(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """In the order of delivery, with their state, without what they say."""
    await mailbox.store([letter("1", life=10), letter("two", sender="sender-of-it"), letter("gone"), letter("x", to=C)])
    await mailbox.add_event(event("e", count=3))
    await mailbox.set_aside(A, "sender-of-it", "two")
    await mailbox.settle(A, [(B, "gone")])
    terminal.now += 10

    assert terminal.show(A).splitlines() == [
        "id   sender        kind            bytes  created               expires               state",
        "1    bb            peer            9      1970-01-12 13:46:40Z  1970-01-12 13:46:50Z  expired",
        "two  sender-of-it  peer            11     1970-01-12 13:46:40Z  1970-01-12 13:48:20Z  set aside",
        "e    (gateway)     redelivered x3  0      1970-01-12 13:46:40Z  1970-01-12 13:48:20Z  waiting",
    ]
    assert len(terminal.show(DeviceId("unknown")).splitlines()) == 1


async def test_bodies_are_shown_only_when_asked_for(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """Each below its letter, whole, and fit for a terminal."""
    secret = '{"text":"' + "秘密 " * 100 + '\x1b[2J"}'
    await mailbox.store([Letter(A, B, "1", "peer", secret.encode() + b"\xff", NOW, NOW + 9), letter("2")])

    assert "秘密" not in terminal.show(A)
    lines = terminal.show(A, bodies=True).splitlines()
    assert len(lines) == 5
    assert lines[2] == "    " + secret.replace("\x1b", "\\x1b") + "\ufffd"
    assert lines[4] == '    {"n":"2"}'


async def test_names_cannot_drive_the_terminal(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """What peers chose themselves is printed harmlessly, however it got in."""
    nasty = DeviceId("a\x1b[2Jb")
    await mailbox.store([Letter(nasty, "s\r\n", "i\x00d", "peer", b"", NOW, NOW + 9)])

    for text in (terminal.list(), terminal.show(nasty)):
        assert "\x1b" not in text
        assert "\r" not in text
        assert "\x00" not in text
        assert len(text.splitlines()) == 2


async def test_purge_is_refused_while_a_gateway_runs(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """It names the process to be stopped; nothing is deleted."""
    await mailbox.store([letter("1")])
    text = terminal.purge(A)

    assert terminal.code == 1
    assert f"process {os.getpid()} has the mailbox" in text
    assert text.endswith("stop it first\n"), "another mailbox.path would be another mailbox"
    assert await ids(mailbox) == ["1"]


async def test_purge_deletes_what_a_device_has(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """With the gateway stopped; others keep theirs, and a gateway started afterwards agrees."""
    await mailbox.store([letter("1"), letter("2"), letter("3"), letter("1", to=C)])
    await mailbox.set_aside(A, B, "2")
    await mailbox.settle(A, [(B, "3")])
    await mailbox.close()

    assert terminal.purge(A) == "deleted 2 letters of aa\n"
    assert terminal.purge(A) == "deleted 0 letters of aa\n"
    again = sqlite_mailbox(Path(terminal.path))
    await again.open()
    assert (await again.depth()).waiting == 1
    assert await ids(again, C) == ["1"]
    await again.close()


async def test_stopped_gateways_mailbox_can_be_read(mailbox: SqliteMailbox, terminal: _Terminal) -> None:
    """Reading needs no running gateway, and keeps none from starting."""
    await mailbox.store([letter("1")])
    await mailbox.close()

    assert "aa      1" in terminal.list()
    assert "peer" in terminal.show(A)
    again = sqlite_mailbox(Path(terminal.path))
    await again.open()
    assert await ids(again) == ["1"]
    await again.close()


def test_missing_mailbox_is_told(terminal: _Terminal) -> None:
    """No command makes a file."""
    for text in (terminal.list(), terminal.show(A), terminal.purge(A)):
        assert terminal.code == 1
        assert text == f"wsdevice mailbox: there is no mailbox at {terminal.path}\n"
    assert not list(Path(terminal.path).parent.iterdir())


def test_damaged_mailbox_is_told(terminal: _Terminal) -> None:
    """The message says what to do, and the file stays as it is."""
    Path(terminal.path).write_bytes(b"x" * 8192)
    for text in (terminal.list(), terminal.show(A), terminal.purge(A)):
        assert terminal.code == 1
        assert "damaged" in text
    assert Path(terminal.path).read_bytes() == b"x" * 8192


def test_mailbox_in_memory_is_told() -> None:
    """There is no file to look into."""
    terminal = _Terminal(":memory:")
    for text in (terminal.list(), terminal.show(A), terminal.purge(A)):
        assert terminal.code == 1
        assert "there is no file" in text
