"""esptool as a child process: what it is called with, what it may not see, when it is ended, what it says."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.board import esptool
from harness.board.errors import FlashFailed, FlashTimeout, PortMissing, WrongBoard
from harness.board.esptool import Call, arguments, environment, run, write_seconds
from harness.board.esptool_output import Progress
from harness.redaction import Redactor
from tests.harness.board.serial_server import SOON
from tests.harness.board.virtual import MAC, board

CALL = Call("rfc2217://127.0.0.1:1", "esp32s3", 921600)


def program(folder: Path, script: str) -> str:
    """A program in the place of Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def is_gone(pid: int) -> bool:
    """Whether a process ends; it was killed, which takes the kernel a moment."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.005)
    return False


def test_arguments():
    """The launcher comes first, then the gate, then esptool's own options, then the command."""
    call = Call("/dev/ttyUSB0", "esp32", 460800, "usb-reset", "no-reset", mac=MAC)
    assert arguments(call, ["write-flash", "0x0", "x.bin"]) == [
        *("-P", "-m", "harness.board.fast_rfc2217", "--tied", "--gate", MAC, "esptool"),
        *("--port=/dev/ttyUSB0", "--chip=esp32", "--baud=460800", "--before=usb-reset", "--after=no-reset"),
        *("write-flash", "0x0", "x.bin"),
    ]
    assert arguments(CALL, ["flash-id"], plain=True)[3:6] == ["--tied", "--plain", "esptool"]


def test_environment():
    """What would change its mind or its words is taken out; the rest, and our own, is there."""
    inherited = {
        "HOME": "/home/x",
        "ESPTOOL_PORT": "/dev/other",
        "ESPRESSIF_IDE_WS": "ws://",
        "PYTHONPATH": "/elsewhere",
        "PYTHONHOME": "/usr",
        "FORCE_COLOR": "1",
    }
    made = environment(Path("/tmp/esptool.cfg"), inherited)

    assert {name: made[name] for name in made if name in inherited} == {
        "HOME": "/home/x",
        "PYTHONHOME": "/usr",
        "PYTHONPATH": str(Path(esptool.__file__).parents[2]),
    }
    assert made["ESPTOOL_CFGFILE"] == "/tmp/esptool.cfg"


def test_said(tmp_path: Path):
    """Progress is told as it comes; the rest is kept, without secrets, with what was said on the error output."""
    script = (
        "echo 'password=hunter22'; echo 'Writing at 0x00001000 ==>  45.0% 1kB/2kB [0s]'; echo wrong >&2; printf rest"
    )
    told: list[Progress] = []
    said = run(
        CALL,
        [],
        doing="try",
        seconds=10,
        redactor=Redactor(["hunter22"]),
        on_progress=told.append,
        python=program(tmp_path, script),
    )

    assert list(said.lines) == ["password=***", "wrong", "rest"]
    assert told == [Progress(0x1000, 45.0)]


def test_settings(tmp_path: Path):
    """A custom sequence is in its settings' file, one line at a time for ports of a server; a file is always given."""
    python = program(tmp_path, 'cat "$ESPTOOL_CFGFILE"; pwd; ls')
    for call, sequence in (
        (CALL, ""),
        (Call("/dev/x", sequence="U0,1|W0.1"), "custom_reset_sequence = U0,1|W0.1"),
        (Call("rfc2217://x:1", sequence="U0,1|W0.1"), "custom_reset_sequence = R1|D0|W0.1"),
    ):
        lines = list(run(call, [], doing="try", seconds=10, python=python).lines)
        assert lines[0] == "[esptool]"
        assert [line for line in lines if "=" in line] == ([sequence] if sequence else [])
        assert lines[-1] == "esptool.cfg"
        assert not Path(lines[-2]).exists()


def test_takes_too_long(tmp_path: Path):
    """One that goes on for too long is ended, with all that it started, and what it said until then is told."""
    script = f"sleep 60 & echo $! >{tmp_path}/pid; echo begun; wait"
    began = time.monotonic()
    with pytest.raises(FlashTimeout, match=r"took more than 0 s.*\n.*\n    begun") as caught:
        run(CALL, [], doing="try", seconds=0.3, python=program(tmp_path, script))

    assert caught.value.verdict == "rig"
    assert time.monotonic() - began < 5
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_leaves_a_child_behind(tmp_path: Path):
    """A child that outlives it, and has its output, is not waited for longer than allowed, and is ended."""
    script = f"sleep 60 & echo $! >{tmp_path}/pid"
    with contextlib.suppress(FlashTimeout):
        run(CALL, [], doing="try", seconds=0.3, python=program(tmp_path, script))
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_input(tmp_path: Path):
    """Its input ends with us, and not before: that is how it knows that it is alone."""
    with pytest.raises(FlashTimeout, match=r"    begun$"):
        run(CALL, [], doing="try", seconds=0.3, python=program(tmp_path, "echo begun; read line; echo ended"))


SILENT = "import os, sys, time\nopen(sys.argv[-1], 'w').write(f'{os.getpid()}\\n')\ntime.sleep(60)\n"
ALONE = """
import sys
from harness.board.esptool import Call, run
run(Call("/dev/ttyNONE7"), [sys.argv[2]], doing="erase", seconds=60, python=sys.argv[1])
"""


def test_ends_with_who_was_killed(tmp_path: Path):
    """After a SIGKILL of whoever runs it the board's lease is free, and nobody is at its port, silent or not."""
    (tmp_path / "esptool.py").write_text(SILENT)
    python = program(tmp_path, f'PYTHONPATH="{tmp_path}:$PYTHONPATH" exec {sys.executable} "$@"')
    told = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", ALONE, python, str(told)], start_new_session=True) as process:
        deadline = time.monotonic() + SOON
        while not (told.exists() and told.read_text().endswith("\n")):
            assert time.monotonic() < deadline, "it has not begun"
            time.sleep(0.005)
        process.kill()

    assert is_gone(int(told.read_text()))


def test_among_many(tmp_path: Path, many_descriptors: None):
    """In a process with thousands of connections it is read as in any."""
    assert list(run(CALL, [], doing="try", seconds=10, python=program(tmp_path, "echo done")).lines) == ["done"]


def test_cannot_be_run(tmp_path: Path):
    """A Python that is not there is named."""
    with pytest.raises(FlashFailed, match=r"^try: .*/none cannot be run: No such file or directory$"):
        run(CALL, [], doing="try", seconds=10, python=str(tmp_path / "none"))


def test_interrupted(tmp_path: Path):
    """Ctrl-C while it runs ends it, too."""

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    script = f"echo $$ >{tmp_path}/pid; echo 'Writing at 0x00001000 ==>  45.0%'; sleep 60"
    with pytest.raises(KeyboardInterrupt):
        run(CALL, [], doing="try", seconds=10, on_progress=interrupt, python=program(tmp_path, script))
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_port_is_looked_at(tmp_path: Path):
    """Where esptool could not open the port, why is found out; where it can be opened by now, esptool has the word."""
    could_not = program(tmp_path, "echo 'ERROR: A fatal error occurred: Could not open x, the port is busy'; exit 2")
    with pytest.raises(PortMissing, match="nothing listens there"):
        run(CALL, [], doing="try", seconds=10, python=could_not)
    with board() as (_, config), pytest.raises(FlashFailed, match="Could not open x"):
        run(Call(config.console.url), [], doing="try", seconds=10, python=could_not)


def test_the_real_one(monkeypatch: pytest.MonkeyPatch):
    """The real esptool tells what a board is, its gate open; another board is left alone, and said to be another."""
    monkeypatch.setenv("ESPTOOL_BAUD", "not a number")
    with board() as (virtual, config):
        call = Call(config.console.url, "esp32s3", mac=MAC)
        said = run(call, ["flash-id"], doing="ask", seconds=esptool.IDENTIFY)
        assert (said.chip, said.mac, said.flash_size) == ("ESP32-S3", MAC, 4 << 20)
        other = Call(config.console.url, "esp32s3", mac="02:00:00:00:00:02")
        with pytest.raises(WrongBoard, match=f"its MAC is {MAC}, expected 02:00:00:00:00:02"):
            run(other, ["erase-flash"], doing="erase", seconds=esptool.IDENTIFY)
        assert virtual.flash.read(0, 4) == b"\xff" * 4


def test_time_for_a_write():
    """A write may take twice the time on the wire and that of erasing: more at a lower rate, and for more bytes."""
    assert write_seconds(0, 115200) == esptool.START
    assert write_seconds(4 << 20, 921600) == pytest.approx(esptool.START + 91 + 64, abs=1)
    assert write_seconds(4 << 20, 115200) > 700
