"""Programs end with the process that runs their board, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import harness.virtual.launcher
from tests.harness.virtual.test_child import alive

LAUNCHER = harness.virtual.launcher.__file__

# a process that starts a program with the launcher, prints the program's id, and waits to be killed
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-I", "-S", {launcher!r}, str(os.getpid()), ".", "main.py"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_killed_parent(tmp_path: Path):
    """A parent that is killed takes the program with it."""
    ready = tmp_path / "ready"
    (tmp_path / "main.py").write_text(f"import time\nopen({str(ready)!r}, 'w').close()\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PARENT.format(launcher=LAUNCHER)], cwd=tmp_path, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        deadline = time.monotonic() + 5
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        parent.kill()

    assert not alive(child)


def test_parent_has_gone_already(tmp_path: Path):
    """One that is already gone has nothing run for it."""
    (tmp_path / "main.py").write_text("print('runs')")
    done = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, "1", ".", "main.py"],
        cwd=tmp_path,
        capture_output=True,
        timeout=10,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b"")


def test_other_interpreter(tmp_path: Path):
    """Another interpreter is given the program, and where the modules are."""
    interpreter = tmp_path / "micropython"
    interpreter.write_text('#!/bin/sh\necho "$1 $MICROPYPATH"\n')
    interpreter.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", "-S", LAUNCHER, str(os.getpid()), "/modules", "main.py", str(interpreter)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )

    assert done.stdout == f"main.py {tmp_path}:/modules:.frozen\n"
