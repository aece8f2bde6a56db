"""Tests of `gateway.observe.log_writer`."""

from __future__ import annotations

import io
import os
import threading

import pytest

from gateway.observe.log_writer import LogWriter

LONG = 10.0


class _Gate(io.StringIO):
    """A stream that takes nothing until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.opened = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        assert self.opened.wait(LONG)
        return super().write(text)


def _writer(stream, lines_max: int = 10_000) -> LogWriter:
    return LogWriter(stream, lambda count: f"dropped {count}", lines_max)


def _put(writer: LogWriter, line: str) -> bool:
    if writer.has_room():
        writer.put(line)
        return True
    return False


def test_lines_come_in_their_order():
    """All of them, each with its end, however many are written at once."""
    stream = io.StringIO()
    writer = _writer(stream)
    lines = [str(n) for n in range(5000)]
    for line in lines:
        writer.put(line)

    assert writer.flush(LONG)
    assert stream.getvalue().split("\n") == [*lines, ""]
    assert writer.close(LONG)
    assert writer.close(LONG)


def test_full_queue_drops_and_tells():
    """As many as the limit wait; those past it are dropped, and told once somebody reads."""
    stream = _Gate()
    writer = _writer(stream, 3)
    writer.put("first")
    assert stream.entered.wait(LONG)

    assert [_put(writer, f"line {n}") for n in range(5)] == [True, True, True, False, False]
    assert not writer.flush(0.05)
    stream.opened.set()
    assert writer.flush(LONG)
    writer.put("later")
    assert writer.close(LONG)

    lines = stream.getvalue().splitlines()
    assert [line for line in lines if "dropped" not in line] == ["first", "line 0", "line 1", "line 2", "later"]
    assert [line for line in lines if "dropped" in line] == ["dropped 2"]


def test_close_waits_no_longer_than_its_time():
    """A stream that takes nothing is given up; nothing is taken after that."""
    stream = _Gate()
    writer = _writer(stream)
    writer.put("first")

    assert not writer.close(0.05)
    assert not writer.has_room()
    assert writer.flush(LONG)
    stream.opened.set()


def test_closed_stream():
    """A stream that refuses costs its lines; once it takes lines again, their number is told."""

    class Refusing(io.StringIO):
        refuses = True

        def write(self, text: str) -> int:
            if self.refuses:
                raise ValueError("I/O operation on closed file")
            return super().write(text)

    stream = Refusing()
    writer = _writer(stream)
    writer.put("one")
    assert writer.flush(LONG)
    stream.refuses = False
    writer.put("two")
    assert writer.close(LONG)

    assert stream.getvalue() == "two\ndropped 1\n"


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "客厅"), ("ascii", "\\u5ba2\\u5385")])
def test_descriptor(encoding, shown):
    """A stream with a descriptor is written to there, all of it, also when it has been closed meanwhile."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        stream = os.fdopen(writing, "w", encoding=encoding)
        writer = _writer(stream)
        stream.close()
        writer.put("客厅")
        writer.put("x" * 200_000)
        assert reader.readline().decode() == shown + "\n"
        assert len(reader.readline()) == 200_001
        assert writer.close(LONG)
        assert reader.read() == b""
