"""The end of programs that we run: of each with all that it started, which ``start_new_session`` keeps together."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from typing import Any

KILLED = 5.0
"""Seconds for a killed program to be gone; only one that is stuck in the kernel, in a driver whose device went, takes
longer."""

_logger = logging.getLogger(__name__)


def end_session(program: subprocess.Popen[Any]) -> None:
    """Kill a program that was started with ``start_new_session``, and what it started, if any of it is left.

    One that cannot be killed is left behind, and that is logged: who it is, and that it may still have a port.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left; or only what sudo has started
        os.killpg(program.pid, signal.SIGKILL)
    try:
        program.wait(KILLED)
    except subprocess.TimeoutExpired:
        _logger.error(  # noqa: TRY400 - the traceback would be of our waiting
            "process %d (%s) cannot be killed, and is left behind; it may still have a port of a board open",
            program.pid,
            program.args,
        )
