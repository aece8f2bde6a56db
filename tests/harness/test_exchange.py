"""Frames as people read them: in columns, abbreviated, in colour where there is one."""

from __future__ import annotations

import io
import itertools
import json
import os

import pytest
from websockets.frames import Close, Opcode

from harness.exchange import Exchange, abbreviated, said_in
from harness.records import FramePassed, Happened

LONG_HELLO = {
    "type": "hello",
    "version": 1,
    "features": {"mcp": True},
    "transport": "websocket",
    "audio_params": {"format": "opus", "sample_rate": 16000},
}


def encoded(message: object) -> bytes:
    """A message as it is on the wire."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def passed(payload: bytes, opcode: Opcode = Opcode.TEXT, *, sent: bool = True) -> FramePassed:
    """A frame that passed 1.5 s after the beginning."""
    return FramePassed(at=101.5, device="door", sent=sent, opcode=opcode, payload=payload)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of eighty columns that knows colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def exchange(out: io.StringIO) -> Exchange:
    """An exchange with one device, called ``door``."""
    return Exchange(out, ["door"], began=100.0)


class TestAbbreviated:
    """Messages in a given width."""

    def test_fits(self):
        """What fits is shown as it is on the wire, to the last column."""
        text = b'{"type":"pong"}'

        assert abbreviated(text, len(text)) == '{"type":"pong"}'

    def test_less_and_less(self):
        """First goes what says little, then what is in objects, longest first, then the end."""
        steps = [
            encoded(LONG_HELLO).decode(),
            (
                '{"type":"hello","features":{"mcp":true},"transport":"websocket",'
                '"audio_params":{"format":"opus","sample_rate":16000},...}'
            ),
            '{"type":"hello","features":{"mcp":true},"audio_params":{"format":"opus","sample_rate":16000},...}',
            '{"type":"hello","features":{"mcp":true},"audio_params":{...},...}',
            '{"type":"hello","features":{...},"audio_params":{...},...}',
        ]
        for step, following in itertools.pairwise(steps):
            assert abbreviated(encoded(LONG_HELLO), len(step)) == step
            assert abbreviated(encoded(LONG_HELLO), len(step) - 1) == following
        assert abbreviated(encoded(LONG_HELLO), 40) == '{"type":"hello","features":{...},"aud...'

    def test_objects_alone(self):
        """Where nothing is left out, nothing says so."""
        assert abbreviated(b'{"type":"a","payload":{"text":"a long text"}}', 40) == '{"type":"a","payload":{...}}'

    @pytest.mark.parametrize(
        "text", [b"[1,2,3,4,5,6,7,8,9]", b'{"type":"cut off', b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5"]
    )
    def test_no_object(self, text: bytes):
        """What is no message is cut off."""
        shown = abbreviated(text, 10)

        assert len(shown) == 10
        assert shown.endswith("...")

    def test_unprintable(self):
        """Control characters do not reach the terminal."""
        assert abbreviated(b'{"a":"\x1b[2J"}', 40) == r'{"a":"\x1b[2J"}'


def test_other_frames():
    """Audio, control frames and Close are described."""
    assert said_in(passed(b"x" * 120, Opcode.BINARY), 40) == "<audio, 120 bytes>"
    assert said_in(passed(b"", Opcode.PING), 40) == "<ping, 0 bytes>"
    assert said_in(passed(Close(4001, "replaced").serialize(), Opcode.CLOSE), 40) == "<close 4001 replaced>"
    assert said_in(passed(b"x" * 120, Opcode.BINARY), 10) == "<audio,..."


class TestLines:
    """What is printed."""

    def test_columns(self):
        """Time, from whom to whom, and what, one below the other, not wider than the terminal."""
        out = io.StringIO()
        shown = exchange(out)
        shown.record(passed(b'{"type":"ping"}'))
        shown.record(passed(b'{"type":"pong"}', sent=False))
        shown.record(passed(encoded(LONG_HELLO)))
        shown.record(Happened(101.75, "door", "end of TCP", fault=True))
        shown.record(Happened(101.75, "door", "is connected"))

        assert out.getvalue().splitlines() == [
            '  1.500  door    -> gateway  {"type":"ping"}',
            '  1.500  gateway -> door     {"type":"pong"}',
            '  1.500  door    -> gateway  {"type":"hello","features":{...},"audio_params":...',
            "  1.750  door    -> gateway  <end of TCP>",
        ]

    def test_sentences(self):
        """Sentences are broken to the width, and those of a step are indented."""
        out = io.StringIO()
        shown = exchange(out)
        shown.say("word " * 20)
        shown.step(1, "word " * 20)
        shown.line("  as it is")

        lines = out.getvalue().splitlines()
        assert [len(line) for line in lines] == [79, 19, 0, 77, 27, 10]
        assert lines[3].startswith("1. word ")
        assert lines[4].startswith("   word ")

    def test_narrow(self, monkeypatch: pytest.MonkeyPatch):
        """However narrow the terminal, something is shown of what was said."""
        monkeypatch.setenv("COLUMNS", "10")
        out = io.StringIO()
        exchange(out).record(passed(b'{"type":"pong"}'))

        assert out.getvalue().endswith('  {"type":"pong"}\n')

    def test_narrow_encoding(self):
        """What the stream cannot encode is replaced, and nothing is raised."""
        with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as out:
            exchange(out).record(passed('{"text":"茶"}'.encode()))

            assert out.buffer.getvalue().endswith(b'{"text":"?"}\n')

    def test_reader_has_gone(self):
        """When whoever reads has gone, the rest is not printed, and nothing is raised."""
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as out:
            shown = exchange(out)
            shown.line("nobody reads this")
            shown.line("nor this")


class TestColours:
    """Only where they are wanted."""

    def test_terminal(self):
        """Each way has a colour on a terminal."""
        out = Terminal()
        shown = exchange(out)
        shown.record(passed(b'{"type":"ping"}'))
        shown.record(passed(b'{"type":"pong"}', sent=False))

        up, down = out.getvalue().splitlines()
        assert up == '\x1b[2m  1.500\x1b[0m  \x1b[36mdoor    -> gateway  {"type":"ping"}\x1b[0m'
        assert "\x1b[32m" in down

    @pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_not_wanted(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str):
        """Not with ``NO_COLOR``, nor on a dumb terminal."""
        monkeypatch.setenv(variable, value)
        out = Terminal()
        exchange(out).step(1, "A step.")

        assert "\x1b" not in out.getvalue()

    def test_empty_no_color(self, monkeypatch: pytest.MonkeyPatch):
        """An empty ``NO_COLOR`` is none."""
        monkeypatch.setenv("NO_COLOR", "")
        out = Terminal()
        exchange(out).step(1, "A step.")

        assert out.getvalue() == "\n\x1b[1m1. A step.\x1b[0m\n"

    def test_no_terminal(self):
        """Not in a file or a pipe."""
        out = io.StringIO()
        exchange(out).step(1, "A step.")

        assert out.getvalue() == "\n1. A step.\n"
