"""The end of programs that we run; what they leave behind is seen in the tests of those who run them."""

from __future__ import annotations

import os
import subprocess

import pytest

from harness.board.sessions import end_session


def test_ended_before():
    """A program that has ended by itself is left as it is."""
    program = subprocess.Popen(["true"], start_new_session=True)
    program.wait(10)
    end_session(program)

    assert program.returncode == 0


def test_running():
    """One that runs is killed, and waited for."""
    program = subprocess.Popen(["sleep", "60"], start_new_session=True)
    end_session(program)

    assert program.returncode == -9


@pytest.mark.parametrize("error", [PermissionError, ProcessLookupError])
def test_not_ours_to_kill(monkeypatch: pytest.MonkeyPatch, error: type[OSError]):
    """What sudo has started cannot be killed by us: it is waited for, and no error hides what went wrong before."""
    program = subprocess.Popen(["true"], start_new_session=True)

    def refuse(*_: int) -> None:
        raise error

    monkeypatch.setattr(os, "killpg", refuse)
    end_session(program)

    assert program.returncode == 0


def test_stuck(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    """One that is stuck in the kernel is left behind, and named in the log."""
    program = subprocess.Popen(["true"], start_new_session=True)
    program.wait(10)

    def wait(seconds: float) -> int:
        raise subprocess.TimeoutExpired("true", seconds)

    monkeypatch.setattr(program, "wait", wait)
    end_session(program)

    assert f"process {program.pid} (['true']) cannot be killed" in caplog.text
