"""What `wsdevice boards check` finds, and says."""

from __future__ import annotations

import pytest

from harness.bench import check as check_module
from harness.bench.bench_file import ConsoleConfig, FlashConfig, PowerConfig
from harness.bench.check import Finding, check, heard_nothing, report
from harness.bench.health import Health
from harness.bench.identifying import Identity
from harness.bench.leases import Holder, Leases
from harness.board.errors import NoSync, PortMissing
from harness.virtual.board import VirtualBoard
from tests.harness.bench.benches import a_bench, a_board

FINE = Finding("ok")
GOOD = Identity("esp32s3", "24:6f:28:aa:bb:01", 16)


@pytest.fixture
def lines(tmp_path):
    """Check a board; return the cells of its line, and what is to be done."""

    def check_one(board, answer=GOOD, console=FINE, *, quarantine=""):
        def ask(call):
            if isinstance(answer, Exception):
                raise answer
            return answer

        bench = a_bench(tmp_path, board)
        if quarantine:
            Health(bench.state_dir).quarantine(board.id, quarantine)
        checked = check(bench, ask=ask, listen=lambda board: console)
        text = report(checked).split("\n\n")[0].splitlines()
        todo = report(checked).splitlines()[3:]
        return text[1].split(), todo, checked[0].wrong

    return check_one


def test_all_well(lines):
    """A board that is as the file says needs nothing."""
    board = a_board(caps=["flash:16M"], power=PowerConfig(kind="en"))

    assert lines(board) == (["b1", "esp32s3", "ok", "ok", "ok", "ok", "ok", "ok", "free"], [], False)


UNPROBED = "recovery does not use it: switch it off, see the board go dark, and write the day into power.probed"
SWAPPED = "were boards swapped? 'wsdevice boards scan' tells which one is where"


@pytest.mark.parametrize(
    ("answer", "caps", "cells", "todo"),
    [
        (
            PortMissing("USB 1-1.4", "no serial port is in this socket"),
            [],
            "WRONG ? ? ? ? -",
            "port: USB 1-1.4: no serial port is in this socket",
        ),
        (
            NoSync("identify", "it does not answer\n  lines"),
            [],
            "WRONG ? ? ? ? -",
            "port: identify: it does not answer",
        ),
        (
            Identity("esp32c3", "24:6f:28:aa:bb:01", 4),
            [],
            "ok WRONG ok ok ok -",
            f"chip: expected the chip ESP32-S3 of the bench file, found ESP32-C3; {SWAPPED}",
        ),
        (
            Identity("esp32s3", "24:6f:28:aa:bb:09", 4),
            [],
            "ok ok WRONG ok ok -",
            f"MAC: expected the MAC 24:6f:28:aa:bb:01 of the bench file, found 24:6f:28:aa:bb:09; {SWAPPED}",
        ),
        (GOOD, ["flash:8M"], "ok ok ok WRONG ok -", "flash: expected flash:8M of its caps, found 16 MiB"),
    ],
)
def test_wrong(lines, answer, caps, cells, todo):
    """What is wrong is marked, and told with what to do; what it hides is not guessed at."""
    assert lines(a_board(caps=caps), answer) == (["b1", "esp32s3", *cells.split(), "free"], [f"b1: {todo}"], True)


def test_console(lines):
    """What the console is judged to be stands in its column."""
    cells, todo, wrong = lines(a_board(), console=Finding("WRONG", "silent"))

    assert (cells[6], todo, wrong) == ("WRONG", ["b1: console: silent"], True)


def test_notes_are_no_faults(lines):
    """What is only worth to be known does not fail the check."""
    assert lines(a_board(), Identity("esp32s3", "24:6f:28:aa:bb:01", 0)) == (
        ["b1", "esp32s3", "ok", "ok", "ok", "note", "ok", "-", "free"],
        ["b1: flash: its size could not be told"],
        False,
    )


@pytest.mark.parametrize(
    ("status", "probed", "mark", "todo"),
    [
        (("echo", "on"), "2026-11-20", "ok", []),
        (
            ("echo", "on"),
            "",
            "note",
            [f"b1: power: {UNPROBED}"],
        ),
        (("echo", "off"), "2026-11-20", "WRONG", ["b1: power: it is switched off"]),
        (
            ("/nowhere/relay",),
            "2026-11-20",
            "WRONG",
            ["b1: power: asking for its state failed: '/nowhere/relay' cannot be run: No such file or directory"],
        ),
    ],
)
def test_power(lines, status, probed, mark, todo):
    """A supply is asked, without switching it; one that nobody has seen working is noted."""
    power = PowerConfig(kind="shell", off=("x",), on=("x",), status=status, probed=probed)

    cells, told, _ = lines(a_board(power=power))

    assert (cells[7], told) == (mark, todo)


def test_held(tmp_path):
    """A board that somebody holds is left alone, and nothing is wrong with that."""
    board = a_board()
    bench = a_bench(tmp_path, board)
    with Leases(bench.lock_dir, Holder(123, "ann", "lab")).take(board):
        (checked,) = check(bench, ask=lambda call: pytest.fail("it was asked"))

    assert not checked.wrong
    assert "?      held by pid 123 (ann@lab) since" in report([checked]).splitlines()[1]
    assert Leases(bench.lock_dir).holder_of("b1") is None


def test_quarantined(lines):
    """A board in quarantine is looked at, and its way out is told."""
    cells, todo, wrong = lines(a_board(), quarantine="nothing helped")

    assert (cells[2:], wrong) == (["ok", "ok", "ok", "ok", "ok", "-", "quarantined"], True)
    assert todo == ["b1: quarantined: nothing helped; once it is well: wsdevice boards clear b1 --bench bench.toml"]


@pytest.mark.parametrize(
    ("said", "was_reset", "finding"),
    [
        ([], True, "WRONG nothing came for 4 s after a reset; do its TX and RTS reach this port?"),
        ([], False, "note it said nothing for 4 s, and cannot be reset through its port"),
        (["\\x80\\xe2x\\x00\\xfe"], True, "WRONG what comes is no text; is 115200 its baud rate (console.baud)?"),
        (["hello, world"], True, "note no line of a ROM or of ESP-IDF among what came: hello, world"),
    ],
)
def test_heard_nothing(said, was_reset, finding):
    """Silence, noise and other talk are told apart."""
    judged = heard_nothing(said, a_board(), was_reset=was_reset)

    assert f"{judged.mark} {judged.text}" == finding


# --- a console that is listened to ----------------------------------------------------------------------------


class Says:
    """What runs on a board: says something once when it boots, and nothing more."""

    def __init__(self, text=b"ESP-ROM:esp32s3-20210327\r\n"):
        self.text = text
        self.boots = 0

    def __call__(self, machine, cause):
        """Boot."""
        self.boots += 1
        machine.uart_send(self.text)
        return self

    def boot_button(self, pressed):
        """Not listened to."""

    def uart_received(self, data):
        """Not listened to."""

    def stop(self):
        """Nothing runs."""


@pytest.fixture
def listened(monkeypatch):
    """Check boards whose chip is not asked, by their consoles; returns the mark, and what is to be done."""
    monkeypatch.setattr(check_module, "LISTEN", 0.3)

    def listen(board):
        finding = check_module._listen(board)
        return finding.mark, finding.text

    return listen


@pytest.mark.parametrize(
    ("text", "baud", "mark", "why"),
    [
        (b"ESP-ROM:esp32s3-20210327\r\n", 115200, "ok", ""),
        (b"ets Jul 29 2019 12:21:46\r\n", 115200, "ok", ""),
        (b"I (24) boot: hello\r\n", 115200, "ok", ""),
        (b"hello\r\nworld\r\n", 115200, "note", "no line of a ROM or of ESP-IDF among what came: world"),
        (b"", 115200, "WRONG", "nothing came for 0.3 s after a reset; do its TX and RTS reach this port?"),
        (b"I (24) boot: hello\r\n", 9600, "WRONG", "what comes is no text; is 9600 its baud rate (console.baud)?"),
    ],
)
def test_listens(listened, text, baud, mark, why):
    """The board is reset, once, and what it says then is judged."""
    boot = Says(text)
    with VirtualBoard("esp32s3", boot=boot) as virtual:
        virtual.power_on()
        console = ConsoleConfig(url=virtual.rfc2217().url, baud=baud)

        assert listened(a_board(console=console)) == (mark, why)
        assert boot.boots == 2


def test_listens_without_lines(listened):
    """A board that cannot be reset through its port is only listened to."""
    boot = Says()
    with VirtualBoard("esp32s3", boot=boot) as virtual:
        virtual.power_on()
        board = a_board(console=ConsoleConfig(url=virtual.raw_tcp().url), flash=FlashConfig(reset="none"))

        assert listened(board) == ("note", "it said nothing for 0.3 s, and cannot be reset through its port")
        assert boot.boots == 1


def test_lines_of_the_console(listened):
    """Where a chip is flashed through its own USB port, its bridge still resets it as bridges do."""
    boot = Says()
    with VirtualBoard("esp32s3", boot=boot) as virtual:
        virtual.power_on()
        flash = FlashConfig(via="usb", usb_location="1-1", reset="none")

        assert listened(a_board(console=ConsoleConfig(url=virtual.rfc2217().url), flash=flash)) == ("ok", "")


def test_nobody_to_listen_to(listened):
    """A console that cannot be opened is wrong."""
    assert listened(a_board(console=ConsoleConfig(url="rfc2217://127.0.0.1:1"))) == (
        "WRONG",
        "nothing listens there; is the serial server running?",
    )
