"""The launcher that readies pyserial for another program, and its gate that ends the program at the wrong board."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.board import esptool
from harness.board.fast_rfc2217.__main__ import LEFT_ALONE, WRONG_BOARD, Gate

MAC = "02:53:45:6d:a2:de"


def gate() -> Gate:
    """A gate for one board."""
    gate = Gate(io.BytesIO(), encoding="utf-8")
    gate.mac = MAC
    return gate


@pytest.mark.parametrize(
    "pieces",
    [
        (f"MAC:                {MAC}\n", "\nUploading stub flasher...\n"),
        ("MAC:         ", f"       {MAC}\nUploading stub flasher...\n"),
        (f"MAC:                40:4c:ca:ff:fe:46:20:24\nBASE MAC:           {MAC}\n", "Stub flasher running.\n"),
        ("Connecting...\n", "A fatal error occurred: no answer\n"),
        ("MAC: nonsense\n",),
    ],
)
def test_open(pieces: Sequence[str]):
    """The right board is let through, in whatever pieces it is printed; so is what is printed before any board."""
    through = gate()
    for piece in pieces:
        through.write(piece)
    buffer = through.detach()
    assert isinstance(buffer, io.BytesIO)
    assert buffer.getvalue().decode() == "".join(pieces)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("MAC:                02:00:00:00:00:01\n", f"its MAC is 02:00:00:00:00:01, expected {MAC}"),
        (f"MAC:                {MAC}\nMAC:                02:00:00:00:00:01\n", "its MAC is 02:00:00:00:00:01"),
        ("BASE MAC:           02:00:00:00:00:01\n", "its MAC is 02:00:00:00:00:01"),
        ("Uploading stub flasher...\n", "did not print its MAC before it began"),
        ("Flash will be erased from 0x0 to 0x1000...\n", "did not print its MAC before it began"),
    ],
)
def test_closed(text: str, why: str, capsys: pytest.CaptureFixture[str]):
    """Another board ends the program at once, and so does one that does not say who it is before it is changed."""
    with pytest.raises(SystemExit) as caught:
        gate().write(text)
    assert caught.value.code == WRONG_BOARD
    assert why in capsys.readouterr().err


def test_runs_a_module(tmp_path: Path):
    """A module runs as with ``python -m``; its ``rfc2217://`` ports are fast ones, unless they are to be plain."""
    (tmp_path / "tool.py").write_text(
        "import serial, sys\n"
        "port = serial.serial_for_url('rfc2217://127.0.0.1:1', do_not_open=True)\n"
        "print(__name__, sys.argv[1:], type(port).__module__)\n"
    )
    environment = esptool.environment(tmp_path / "none", os.environ)
    environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    for plain, module in ((["--plain"], "serial.rfc2217"), ([], "harness.board.fast_rfc2217.protocol_rfc2217")):
        command = [sys.executable, "-P", "-m", esptool.LAUNCHER, *plain, "--gate", MAC, "tool", "--x", "1"]
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=20).stdout
        assert said == f"__main__ ['--x', '1'] {module}\n"


def test_tied(tmp_path: Path):
    """A module is ended when its input ends, whatever it does: whoever has started it was killed, and holds nothing."""
    (tmp_path / "tool.py").write_text("import time\nprint('begun', flush=True)\ntime.sleep(60)\n")
    environment = esptool.environment(tmp_path / "none", os.environ)
    environment["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
    command = [sys.executable, "-P", "-m", esptool.LAUNCHER, "--tied", "tool"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(10) == LEFT_ALONE
