"""``wsdevice flash`` and ``wsdevice monitor``, as they are called."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.board import cli as module
from harness.board.esptool_output import Progress
from harness.cli import main
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from tests.harness.board.serial_server import SerialServer
from tests.harness.board.virtual import MAC, Talks, board
from tests.harness.fakes.stub import SOON


def test_flash(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A build is found and written, and said to be; one for another chip is refused, and the board goes on."""

    class Counted(Talks):
        """Counts how often it is started."""

        starts = 0

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            Counted.starts += 1

    build = str(make_build(tmp_path / "build", CHIPS["esp32s3"], version="1.2.3").path)
    with board(boot=Counted) as (virtual, config):
        port = config.console.url
        assert main(["flash", build, "--port", port]) == 0
        assert virtual.flash.read(0, 1) == b"\xe9"
        other = str(make_build(tmp_path / "other", CHIPS["esp32"]).path)
        before = Counted.starts
        assert main(["flash", other, "--port", port, "--all"]) == 1
        assert Counted.starts == before + 1
    out, err = capsys.readouterr()
    (first,) = out.splitlines()
    assert re.fullmatch(rf"wrote bootloader.bin, .*ota_0: \d+ KiB \(.* s\): gateway_device 1.2.3, esp32s3 {MAC}", first)
    assert "This chip is ESP32-S3, not ESP32. Wrong chip argument?" in err


def test_no_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What is no build is said to be none, and no port is touched."""
    assert main(["flash", str(tmp_path), "--port", "/dev/ttyNONE7"]) == 1
    assert "expected a build" in capsys.readouterr().err


def test_monitor(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Lines are printed with their times, crashes are described, and the board is reset first if it is asked for."""
    with SerialServer() as server:
        said = b"I (31) app: hello\r\nabort() was called at PC 0x42007f0a on core 0\nRebooting...\n"
        threading.Timer(0.1, lambda: server.say(said)).start()
        arguments = ["--port", server.url, "--reset", "--seconds", "0.4", "--log", str(tmp_path / "log")]
        assert main(["monitor", *arguments]) == 0
        assert server.line.moves[-3:] == ["R1", "D0", "R0"] or server.line.moves[-4:] == ["R1", "D0", "R0", "D0"]
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r" *\d+\.\d{4}   I \(31\) app: hello", out[0])
    assert "--- abort: abort() at 0x42007f0a on core 0" in out
    assert any(line.startswith("---   not decoded:") for line in out)
    assert "app: hello" in (tmp_path / "log").read_text()


def test_monitor_without_a_port(capsys: pytest.CaptureFixture[str]):
    """A port that is not there is said to be missing; one that goes for good ends it."""
    assert main(["monitor", "--port", "/dev/ttyNONE7"]) == 1
    assert "there is no such device" in capsys.readouterr().err


def test_port_that_goes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A port that goes for good ends the monitor, with what was said until then."""
    monkeypatch.setattr(
        module.Console.__init__, "__kwdefaults__", {**module.Console.__init__.__kwdefaults__, "returns_within": 0.1}
    )
    server = SerialServer()
    threading.Timer(0.1, lambda: (server.say(b"last\n"), server.close())).start()
    assert main(["monitor", "--port", server.url]) == 1
    out = capsys.readouterr().out
    assert "last" in out
    assert "- lost: it did not come back within 0.1 s" in out


def test_interrupted(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C ends the monitor, without an error."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with SerialServer() as server:
        monkeypatch.setattr(module, "ResetLines", interrupt)
        assert main(["monitor", "--port", server.url, "--reset"]) == 0


def test_terminal_that_stands_still(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Lines beyond those that may wait are counted, and said to be left out."""
    monkeypatch.setattr(module, "WAITING", 2)
    slow = threading.Event()
    real = module._shown
    monkeypatch.setattr(module, "_shown", lambda line, **how: (slow.wait(SOON), real(line, **how))[1])
    with SerialServer() as server:
        threading.Timer(0.05, lambda: server.say(b"".join(b"%d\n" % number for number in range(9)))).start()
        threading.Timer(0.3, slow.set).start()
        assert main(["monitor", "--port", server.url, "--seconds", "0.4"]) == 0
    assert "lines came while the terminal stood still, and were left out)" in capsys.readouterr().out


class Terminal:
    """A stream that says what it is."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.written = ""
        self.isatty = lambda: is_terminal

    def write(self, text: str) -> None:
        """Keep it."""
        self.written += text

    def flush(self) -> None:
        """Nothing waits."""


def test_progress():
    """Progress is shown on a terminal, in one line that is gone afterwards, and nowhere else."""
    terminal = Terminal(is_terminal=True)
    with module._progress(terminal) as tell:  # type: ignore[arg-type]
        assert tell is not None
        tell(Progress(0x10000, 45.5))
    assert terminal.written == "\r  0x00010000   45.5 %\r\x1b[K"
    with module._progress(Terminal(is_terminal=False)) as tell:  # type: ignore[arg-type]
        assert tell is None


def test_without_pyserial():
    """Where the extra is not installed, it is said which one is missing."""
    code = "import sys; sys.modules['serial'] = None; from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    for command in (["flash", ".", "--port", "/dev/x"], ["monitor", "--port", "/dev/x"]):
        argv = [sys.executable, "-c", code, *command]
        ended = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=20)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "wsdevice: serial ports need pyserial: pip install 'wsdevice[hil]'\n"
