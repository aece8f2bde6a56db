"""``wsdevice virtual-board``: as it is typed, what it prints, and what it keeps."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from harness.cli import main
from harness.virtual import cli, events
from harness.virtual.flash import SECTOR
from tests.harness.virtual.esptool_operations import esptool

LONG = 15.0
"""Seconds for a process to start, or to end, on a machine that is busy with other tests."""


class Served:
    """A board served by a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line of its output; what stands before it is kept."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"{pattern!r} is not in:\n{''.join(self.lines)}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal; return its exit code, with the rest of its output read."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=LONG)
        self.lines += rest.splitlines(keepends=True)
        return self.process.returncode


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """Serve a board; it is gone at the end, and killed if it hangs."""
    command = [sys.executable, "-m", "harness", "virtual-board", *arguments]
    env = {name: value for name, value in os.environ.items() if not name.startswith("WSDEVICE_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
        watchdog = threading.Timer(LONG, process.kill)
        watchdog.start()
        try:
            yield Served(process)
        finally:
            watchdog.cancel()
            watchdog.join()
            process.kill()


def test_flash_is_kept(tmp_path: Path):
    """It says where it is and who; what esptool writes is there again for the next one, with the same MAC."""
    (tmp_path / "payload").write_bytes(b"\0" * SECTOR)
    flash, macs = tmp_path / "flash.bin", []
    for command in ("write-flash 0x1000 payload", "verify-flash 0x1000 payload"):
        with served("--chip", "esp32c3", "--flash-file", str(flash), "--pty", "--access-point", "lab:secret") as board:
            macs.append(board.line(r"virtual ESP32-C3, MAC (\S+), 4 MB of flash; not real are its CPU, radio")[1])
            url = board.line(r"port: +(rfc2217://127\.0\.0\.1:\d+)$")[1]
            assert Path(board.line(r"device: (\S+) ")[1]).is_char_device()
            board.line(f"try: .* --port {url} flash-id")
            board.line("Ctrl-C ends it")
            code, said = esptool(url, command.split(), tmp_path)
            assert code == 0, said
            board.line(r"reset \(power_on\), download mode")
            board.line("has gone")
            assert board.end(signal.SIGINT) == 0
        assert not any("secret" in line for line in board.lines)
    assert flash.stat().st_size == 4 << 20
    assert macs[0] == macs[1]


def test_download_mode_and_sigterm():
    """It begins as with BOOT held; SIGTERM ends it as Ctrl-C does."""
    with served("--download", "--mac", "02-00-00-00-00-0a", "--flash-size", "16mb") as board:
        board.line("virtual ESP32-S3, MAC 02:00:00:00:00:0a, 16 MB of flash")
        board.line(r"reset \(power_on\), download mode")
        assert board.end(signal.SIGTERM) == 0


def test_repetitions_are_counted(capsys: pytest.CaptureFixture[str]):
    """With nothing flashed the chip is reset for ever; one line says so, and one how often, and the flash is saved."""

    class Board:
        saved = 0

        def save(self) -> None:
            self.saved += 1

    board, queue = Board(), SimpleQueue()
    happened = [events.Reset(1.0, "boot_watchdog", False)] * 4 + [events.ClientDisconnected(2.5, "url")] * 2
    for event in [*happened, None]:
        queue.put(event)
    cli._tell(board, queue, 0.5)

    assert capsys.readouterr().out.splitlines() == [
        "    0.500 s  reset (boot_watchdog), runs what is flashed",
        "             the same again: 3 times",
        "    2.000 s  the host at url has gone",
    ]
    assert board.saved == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--flash-size", "3MB"], "expected one of 1MB, 2MB, 4MB, 8MB, 16MB, 32MB, got '3MB'"),
        (["--mac", "02:00"], "expected a MAC like 02:00:00:00:00:01, got '02:00'"),
        (["--mac", "hello!"], "expected a MAC like"),
        (["--access-point", ":secret"], "expected SSID:PASSWORD with an SSID of 1 to 32 bytes"),
        (["--access-point", "x" * 33], "expected SSID:PASSWORD with an SSID of 1 to 32 bytes"),
        (["--port", "70000"], "expected a port from 0 to 65535"),
    ],
)
def test_mistyped(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str):
    """What cannot be is refused before anything begins."""
    with pytest.raises(SystemExit) as ended:
        main(["virtual-board", *arguments])

    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


def test_cannot_begin(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A chip that is none, a file that is no flash: the exit code says that nothing was begun."""
    assert main(["virtual-board", "--chip", "esp8266"]) == 2
    assert "wsdevice: expected one of esp32, esp32s3, esp32c3, got 'esp8266'" in capsys.readouterr().err

    (tmp_path / "flash.bin").write_bytes(b"short")
    assert main(["virtual-board", "--flash-file", str(tmp_path / "flash.bin")]) == 2
    assert "got 5; is it another board's?" in capsys.readouterr().err
