"""``wsdevice boards``, without boards; with virtual ones see test_virtual_rig."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.bench import scan as scan_module
from harness.bench.health import Health
from harness.cli import main

ROOT = Path(__file__).parents[3]
BENCH = """\
schema = 1
[bench]
name = "lab"
lock_dir = "{0}/locks"
state_dir = "{0}/state"
[[board]]
id = "s3-01"
chip = "esp32s3"
mac = "24:6f:28:aa:bb:cc"
console = {{ url = "rfc2217://127.0.0.1:1" }}
"""


@pytest.fixture
def bench(tmp_path):
    """Write the file of a bench whose board is not there."""
    path = tmp_path / "bench.toml"
    path.write_text(BENCH.format(tmp_path))
    return str(path)


def test_list(bench, capsys):
    """The boards of the file are listed."""
    assert main(["boards", "list", "--bench", bench]) == 0

    assert capsys.readouterr().out.splitlines()[1].split() == ["s3-01", "esp32s3", "24:6f:28:aa:bb:cc", "free", "0"]


def test_clear(bench, tmp_path, capsys):
    """A quarantine is ended, with what was done about it; a board that was in none is told apart."""
    health = Health(tmp_path / "state")
    health.quarantine("s3-01", "nothing helped")

    assert main(["boards", "clear", "s3-01", "--bench", bench, "--because", "new cable"]) == 0
    assert main(["boards", "clear", "s3-01", "--bench", bench]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "s3-01 is in use again",
        "s3-01 was not in quarantine; its faults are forgiven",
    ]
    assert health.of("s3-01").events[1].text == "new cable"


def test_check(bench, capsys):
    """A board that is not there fails the check, with what to do."""
    assert main(["boards", "check", "--bench", bench]) == 1

    shown = capsys.readouterr().out
    assert "s3-01: port: rfc2217://127.0.0.1:1: nothing listens there; is the serial server running?" in shown


def test_scan(bench, capsys, monkeypatch):
    """The ports of the bench are asked, and those of the command line, each once."""
    asked = []
    monkeypatch.setattr(scan_module, "usb_ports", list)

    def scan(bench, urls):
        asked.append((bench and bench.name, urls))
        return []

    monkeypatch.setattr(scan_module, "scan", scan)
    assert main(["boards", "scan"]) == 0
    assert main(["boards", "scan", "--bench", bench, "--port", "rfc2217://h:1", "--port", "rfc2217://127.0.0.1:1"]) == 0

    assert asked == [(None, []), ("lab", ["rfc2217://127.0.0.1:1", "rfc2217://h:1"])]


def test_faults(bench, capsys):
    """Faults of the file are listed on stderr, and the end says how many."""
    Path(bench).write_text("schema = 1\n")

    assert main(["boards", "list", "--bench", bench]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "2 faults in the bench file"
    assert lines[0].startswith(f"{bench}: bench: expected a table of settings")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["clear", "s3-02"], "wsdevice: expected one of the boards s3-01, got 's3-02'"),
        (["list", "--bench", "virtual:99"], "wsdevice: expected virtual:N with N from 1 to 16"),
    ],
)
def test_mistakes(bench, capsys, arguments, error):
    """What is not there is said in a line, without a traceback."""
    assert main(["boards", *arguments, *([] if "--bench" in arguments else ["--bench", bench])]) == 2

    assert capsys.readouterr().err.startswith(error)


def test_without_pyserial():
    """Looking at leases and histories needs no serial ports."""
    modules = "harness.bench.cli, harness.bench.selection, harness.bench.recovery"
    command = [sys.executable, "-c", f"import sys, {modules}; print('serial' in sys.modules)"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)

    assert ended.stdout == "False\n"
