"""A console: what is said on it is kept in order, through pauses and unplugged cables, and can be waited for."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.board import console as module
from harness.board import line_record
from harness.board.console import Console
from harness.board.console_lines import Line
from harness.board.errors import BoardCrashed, LineMissing, NoLines, PortBusy, PortMissing, PortVanished
from harness.board.serial_ports import OpenPort, open_port
from harness.errors import Misuse
from harness.redaction import Redactor
from tests.harness.board.serial_server import SOON, SerialServer


@pytest.fixture
def server() -> Iterator[SerialServer]:
    """A serial server."""
    with SerialServer() as server:
        yield server


@pytest.fixture
def console(server: SerialServer) -> Iterator[Console]:
    """A console on its port."""
    with Console("bench-1", server.url) as console:
        yield console


def later(act: Callable[[], object]) -> threading.Timer:
    """Do something while the test waits."""
    timer = threading.Timer(0.02, act)
    timer.start()
    return timer


def until(console: Console, holds: Callable[[], bool]) -> None:
    """Wait until something holds of a console."""
    with console._news:
        assert console._news.wait_for(holds, SOON), console.tail()


def test_said_before_and_after(server: SerialServer, console: Console):
    """A line is found if it was said already, or is said while it is waited for; a regular expression finds, too."""
    began = time.monotonic()
    server.say(b"I (312) wifi: Got IP\r\nrest")
    line = console.expect("Got IP", SOON)
    timer = later(lambda: server.say(b" of it: 42\n"))

    assert console.expect(re.compile(r"it: \d+$"), SOON).text == "rest of it: 42"
    assert (line.text, line.kind, line.number) == ("I (312) wifi: Got IP", "said", 0)
    assert began <= line.at <= time.monotonic()
    timer.join()


def test_each_line_is_expected_once(server: SerialServer, console: Console):
    """Waiting again for the same words waits for the next such line; from a given line on, it may be an old one."""
    server.say(b"boot\nboot\nlast\n")
    first, second = console.expect("boot", SOON), console.expect("boot", SOON)
    assert (first.number, second.number) == (0, 1)
    console.expect("last", SOON)
    with pytest.raises(LineMissing):
        console.expect("boot", 0.0)
    assert console.expect("boot", 0.0, since=1) == second
    assert console.expect("boot", 0.0, since=0) == first


def test_missing(server: SerialServer, console: Console):
    """What did not come is told with what did, the unfinished line too, and what was waited for."""
    server.say("one\nGrüße\nunfini".encode())
    console.expect("one", SOON)
    until(console, lambda: "unfini" in console.tail())
    with pytest.raises(LineMissing) as caught:
        console.expect(re.compile("never|ever"), 0.05)

    text = str(caught.value)
    assert text.startswith("bench-1's console expected a line with /never|ever/, but after 0.1 s it had not come")
    assert text.endswith("    one\n    Grüße\n    unfini")
    assert (caught.value.verdict, caught.value.seconds >= 0.05) == ("firmware", True)
    with pytest.raises(AssertionError, match="it had not come"):
        console.expect("x", 0.0)


def test_paused(server: SerialServer, console: Console):
    """While another program has the port nothing is read or written, and the gap is in the log, and in errors."""
    server.say(b"before\nhalf")
    console.expect("before", SOON)
    until(console, lambda: "half" in console.tail())
    with console.paused("flashing"):
        with Console("other", server.url) as other:
            server.say(b"for the other\n")
            other.expect("for the other", SOON)
        with pytest.raises(PortBusy, match="it is paused"):
            console.write_line("x")
        console.note("flashed 3 parts")
    server.say(b"after\n")
    console.expect("after", SOON)

    shown = [(line.kind, re.sub(r"\d+\.\d", "N", line.text)) for line in console.lines()]
    assert shown == [
        ("said", "before"),
        ("said", "half"),
        ("gap", "paused: flashing"),
        ("note", "flashed 3 parts"),
        ("gap", "read again after N s"),
        ("said", "after"),
    ]
    with pytest.raises(LineMissing, match="it may have been missed: paused: flashing") as caught:
        console.expect("boot", 0.0, since=0)
    assert caught.value.verdict == "rig"


def test_not_had_again(server: SerialServer, console: Console, monkeypatch: pytest.MonkeyPatch):
    """A port that cannot be had again after a pause is an error there, and for everybody who waits later."""
    monkeypatch.setattr(module, "REOPEN", 0.0)
    with pytest.raises(PortMissing, match="nothing listens"), console.paused("flashing"):
        server.close()
    assert console.state == "lost"
    for _ in range(2):
        with pytest.raises(PortMissing):
            console.expect("x", SOON)
    assert console.lines()[-1].text.startswith("lost: nothing listens")


def test_vanishes_and_comes_back(server: SerialServer, console: Console):
    """A port that vanishes is looked for, and read on when it is back; who waits meanwhile goes on waiting."""
    server.say(b"one\nhal")
    console.expect("one", SOON)
    until(console, lambda: "hal" in console.tail())
    server.hang_up()
    until(console, lambda: console.state == "open" and server.clients == 2)
    timer = later(lambda: server.say(b"two\n"))
    console.expect("two", SOON)
    timer.join()

    kinds = [line.kind for line in console.lines()]
    assert kinds == ["said", "said", "gap", "gap", "said"]
    assert console.lines()[2].text == "vanished: the port is gone: connection failed: the server closed the connection"
    assert console.lines()[3].text.startswith("back after 0.")


def test_stays_away(server: SerialServer):
    """A port that does not come back in time is lost: who waits is told so at once, and not after the whole time."""
    with Console("bench-1", server.url, returns_within=0.1) as console:
        timer = later(server.close)
        began = time.monotonic()
        with pytest.raises(PortMissing, match=r"did not come back within 0.1 s: nothing listens there"):
            console.expect("x", 30)
        assert time.monotonic() - began < SOON
        with pytest.raises(PortVanished, match="it is lost"):
            console.write_line("x")
        timer.join()


def test_closed_while_away(server: SerialServer):
    """A console can be closed while its port is away, and its thread ends."""
    console = Console("bench-1", server.url)
    console.open()
    server.close()
    until(console, lambda: console.state == "away")
    console.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "console of bench-1"]


def test_closed_while_it_is_looked_for(server: SerialServer, monkeypatch: pytest.MonkeyPatch):
    """A reader that is still opening the port when its time is up gives it back, and does not go on as the next one."""
    monkeypatch.setattr(module, "_JOIN", 0.05)
    opening, go_on = threading.Event(), threading.Event()
    opened: list[OpenPort] = []
    console = Console("bench-1", server.url)
    console.open()

    def slow(name: str, baud: int) -> OpenPort:
        opening.set()
        assert go_on.wait(SOON)
        opened.append(open_port(name, baud))
        return opened[-1]

    with monkeypatch.context() as patched:
        patched.setattr(module, "open_port", slow)
        reader = console._reader
        assert reader is not None
        server.hang_up()
        assert opening.wait(SOON)
        console.close()
        go_on.set()
        reader.join(SOON)
    assert (console.state, opened[0]._closed) == ("closed", True)

    with console:
        server.say(b"one\n")
        console.expect("one", SOON)
        assert console.state == "open"


def test_reader_that_fails(server: SerialServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Whatever ends the reader ends the waiting, too, and is in the log."""
    with Console("bench-1", server.url) as console:
        monkeypatch.setattr(console, "_take", lambda _: 1 // 0)
        server.say(b"one\n")
        with pytest.raises(PortVanished, match="reading it failed: ZeroDivisionError"):
            console.expect("one", SOON)
        assert console.state == "lost"
    assert "the console of bench-1 is not read any more" in caplog.text


def test_lines_are_written_as_a_whole(server: SerialServer, console: Console, monkeypatch: pytest.MonkeyPatch):
    """Two who write at once do not write into each other's line, be the port ever so slow."""
    port = console._port
    assert port is not None
    write = port.write

    def in_pieces(data: bytes) -> None:
        for at in range(0, len(data), 4):
            write(data[at : at + 4])
            time.sleep(0.001)

    monkeypatch.setattr(port, "write", in_pieces)
    lines = [letter * 40 for letter in "abc"]
    threads = [threading.Thread(target=console.write_line, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    server.wait(lambda: server.received.count(b"\n") == 3)

    assert sorted(server.received.decode().splitlines()) == lines


def test_missing_while_it_is_away(server: SerialServer, console: Console):
    """Who begins to wait when nothing can be heard is told so, and it is the rig's fault."""
    with (
        console.paused("flashing"),
        pytest.raises(LineMissing, match="may have been missed: the console is paused") as it,
    ):
        console.expect("x", 0.0, since=console.position)

    assert it.value.verdict == "rig"


def test_closed_while_waited_for(server: SerialServer):
    """Who waits on a console that is closed is told so at once; what was said can still be asked for."""
    console = Console("bench-1", server.url)
    console.open()
    with pytest.raises(Misuse, match="expected a console that is closed, bench-1's is open"):
        console.open()
    server.say(b"one\n")
    console.expect("one", SOON)
    timer = later(console.close)
    with pytest.raises(LineMissing, match="the console was closed"):
        console.expect("x", 30)
    timer.join()
    console.close()
    assert console.expect("one", 0.0, since=0).text == "one"
    with console.paused("nothing is open"):
        pass
    assert console.state == "closed"


def test_written(server: SerialServer, tmp_path: Path):
    """What is written arrives, and is among the lines without its secrets; it is not what the board said."""
    log = tmp_path / "logs" / "bench-1.log"
    with Console("bench-1", server.url, log=log, redactor=Redactor(["hunter22"])) as console:
        console.write_line('wsdevice 1 provision {"token": "hunter22"}')
        server.wait(lambda: b"\n" in server.received)
        server.say(b"\x1b[0;31mE (5) wifi: no hunter22\x1b[0m\n")
        console.expect("hunter22", SOON)
        with pytest.raises(LineMissing):
            console.expect("provision", 0.0, since=0)

    assert server.received == b'wsdevice 1 provision {"token": "hunter22"}\n'
    assert "hunter22" not in console.lines()[0].text
    head, *lines = log.read_text().splitlines()
    assert re.match(r"---- bench-1, \d{4}-\d\d-\d\dT", head)
    assert [line[12:35] for line in lines] == ["> wsdevice 1 provision ", "  E (5) wifi: no ***"]
    assert "hunter22" not in log.read_text()
    assert all(re.match(r" *\d+\.\d{4}$", line[:11]) for line in lines)


def test_log_that_cannot_be_written(server: SerialServer, caplog: pytest.LogCaptureFixture):
    """A full disk costs the log file, which is said once, and not the console."""
    with Console("bench-1", server.url, log=Path("/dev/full")) as console:
        server.say(b"one\ntwo\n")
        console.expect("two", SOON)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "is given up" in caplog.text


def test_watched(server: SerialServer, console: Console, caplog: pytest.LogCaptureFixture):
    """Watchers are shown each line in order; one that fails is heard of, and left out; one that is detached, too."""
    seen: list[Line] = []

    def fail(line: Line) -> None:
        raise RuntimeError(line.text)

    detach = console.watch(seen.append)
    console.watch(fail)
    server.say(b"one\ntwo\n")
    console.expect("two", SOON)
    until(console, lambda: len(seen) == 2)
    detach()
    detach()
    server.say(b"three\n")
    console.expect("three", SOON)

    assert [line.text for line in seen] == ["one", "two"]
    assert caplog.text.count("a watcher of bench-1's console failed") == 1


def test_oldest_are_dropped(server: SerialServer, console: Console, monkeypatch: pytest.MonkeyPatch):
    """Only so many lines are kept; the rest is counted, and numbers go on; who looks for a dropped one is told."""
    monkeypatch.setattr(line_record, "KEPT", 3)
    console._lines = type(console._lines)(maxlen=3)
    server.say(b"".join(b"line %d\n" % number for number in range(10)))
    assert console.expect("line 9", SOON).number == 9

    assert (console.dropped, console.position) == (7, 10)
    assert [line.text for line in console.lines(8)] == ["line 8", "line 9"]
    assert [line.number for line in console.lines()] == [7, 8, 9]
    with pytest.raises(LineMissing, match="7 lines are not kept any more"):
        console.expect("line 2", 0.0, since=0)


def test_alarm(server: SerialServer, console: Console):
    """An alarm reaches who gets to its line without having found its own, once it is known what it is about."""
    crash = BoardCrashed("bench-1", "panic", "Guru Meditation", [])
    server.say(b"one\nGuru Meditation\nCPU halted\nrst:0xc\nboot\n")
    console.expect("rst", SOON)
    console.expect("boot", SOON)
    alarm = console.alarm(1)
    timer = later(lambda: console.settle(alarm, crash))

    assert console.expect("one", 0.0, since=0).number == 0
    with pytest.raises(BoardCrashed):
        console.expect("boot", SOON, since=0)
    timer.join()
    with pytest.raises(BoardCrashed):
        console.expect("never", SOON, since=1)
    assert console.expect("boot", 0.0, since=2).number == 4
    console.calm()
    assert console.expect("boot", 0.0, since=0).number == 4


def test_alarm_about_nothing(server: SerialServer, console: Console):
    """An alarm that turns out to be none lets everybody go on; one that is never settled costs the time, no more."""
    server.say(b"looks bad\nfine\n")
    console.expect("fine", SOON)
    alarm = console.alarm(0)
    with pytest.raises(LineMissing):
        console.expect("fine", 0.05, since=0)
    timer = later(lambda: console.settle(alarm, None))
    assert console.expect("fine", SOON, since=0).number == 1
    timer.join()


def test_lines_moved(server: SerialServer, console: Console):
    """The console moves its port's lines; a port without any says so."""
    console.set_lines(dtr=False, rts=True)
    assert (console.has_lines, console.plays_resets) == (True, False)
    assert server.line.moves[-2:] == ["R1", "D0"]
    with SerialServer(raw=True) as plain, Console("bench-2", plain.url) as other:
        assert not other.has_lines
        with pytest.raises(NoLines, match="the console of bench-2, has none"):
            other.set_lines(dtr=False, rts=True)


def test_found_anew(server: SerialServer):
    """The port is asked for whenever it is opened: it may be called something else by then."""
    with SerialServer() as second:
        places = iter([server.url, second.url])
        with Console("bench-1", lambda: next(places)) as console:
            with console.paused("plugged elsewhere"):
                pass
            second.say(b"here\n")
            console.expect("here", SOON)
