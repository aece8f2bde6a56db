"""A person is asked on the terminal, and only where one is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from harness.bench.bench_file import PowerConfig
from harness.board.person import Person
from harness.board.power import PowerFailed


@pytest.fixture
def terminal():
    """A terminal, and the end where the person sits."""
    person, program = os.openpty()
    yield os.ttyname(program), person
    os.close(person)
    os.close(program)


def supply(path, environ=None, seconds=1.0):
    """Make a supply that asks there."""
    config = PowerConfig(kind="person", seconds=seconds, off_seconds=0, probed="2026-11-20")
    return Person("s3-01", config, environ=environ or {}, terminal=path)


def test_asks(terminal):
    """The board is named, and Enter is waited for."""
    path, person = terminal
    asked = []

    def sit_there():
        for _ in range(2):
            text = b""
            while b"press Enter" not in text:
                text += os.read(person, 1024)
            asked.append(text.decode())
            os.write(person, b"\n")

    sitting = threading.Thread(target=sit_there)
    sitting.start()
    supply(path).cycle()
    sitting.join(5)

    assert ["take the power of board s3-01" in asked[0], "give power to board s3-01" in asked[1]] == [True, True]


def test_nobody(terminal):
    """Nobody answers for ever; a person has ten times what a command has."""
    open_files = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(PowerFailed, match=r"power of s3-01: cannot switch it on: nobody pressed Enter within 0\.1 s"):
        supply(terminal[0], seconds=0.01).on()

    assert len(list(Path("/proc/self/fd").iterdir())) == open_files


def test_typed_ahead(terminal):
    """An Enter of before is no answer: nobody has seen the question yet."""
    path, person = terminal
    os.write(person, b"\n")
    with pytest.raises(PowerFailed, match="nobody pressed Enter"):
        supply(path, seconds=0.02).off()


@pytest.mark.parametrize("value", ["true", "1", "yes"])
def test_ci(terminal, value):
    """In CI nobody is there."""
    with pytest.raises(PowerFailed, match="it takes a person, and in CI there is none"):
        supply(terminal[0], {"CI": value}).off()


def test_no_terminal(tmp_path):
    """Without a terminal nobody can be asked."""
    with pytest.raises(PowerFailed, match="there is no terminal: No such file"):
        supply(str(tmp_path / "tty"), {"CI": "false"}).off()


def test_not_trusted(terminal):
    """Recovery goes on by itself: it does not wait for people."""
    assert not supply(terminal[0]).trusted
