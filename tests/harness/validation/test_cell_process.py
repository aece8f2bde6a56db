"""The process of one cell."""

import subprocess
import sys
from pathlib import Path

import msgspec

from harness.bench.bench_file import Bench, BoardConfig, NetworkConfig
from harness.validation.exit_codes import ValidationExit
from harness.validation.job import Job
from harness.validation.progress import Finished, Stage, from_line

BOARD = BoardConfig(id="s3", chip="esp32s3", mac="02:00:00:00:00:01")
ROOT = Path(__file__).parents[3]


def start() -> "subprocess.Popen[bytes]":
    """Start one."""
    command = [sys.executable, "-m", "harness.validation.cell_process"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)


def test_a_build_that_is_none(tmp_path):
    """Its events are lines on its output; a bad build is a result, too."""
    job = Job(str(tmp_path), "kettle", Bench("lab", "", "", NetworkConfig(), (BOARD,)), "s3")

    process = start()
    process.stdin.write(msgspec.json.encode(job) + b"\n")
    process.stdin.flush()
    first, last = map(from_line, process.stdout)  # its input stays open: when that ends, it does
    process.communicate(timeout=20)

    assert isinstance(first, Stage)
    assert isinstance(last, Finished)
    assert last.cell.verdict == "firmware"
    assert last.cell.build.name == "kettle"


def test_a_caller_that_is_gone():
    """It ends, be it before it was told what to do."""
    process = start()
    process.communicate(b"", timeout=20)

    assert process.returncode == ValidationExit.INTERRUPTED
