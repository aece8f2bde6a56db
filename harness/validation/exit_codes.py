"""What ``wsdevice validate`` says with its exit code, for CI and scripts."""

from __future__ import annotations

from enum import IntEnum

from harness.report.record import Verdict


class ValidationExit(IntEnum):
    """Exit codes of ``wsdevice validate``; verdicts begin at 10, so that no accident of a program looks like one."""

    PASS = 0
    """Every build is good, on every board."""
    CANNOT_START = 2
    """The command line, the configuration, the bench or the baseline is wrong; no board was touched."""
    FIRMWARE = 10
    """A build is not good."""
    GATEWAY = 11
    """The gateway failed: a build was not shown to be good."""
    RIG = 12
    """The rig failed, on each board that was tried: nothing is said about the build."""
    NETWORK = 13
    """The network failed, on each board that was tried: nothing is said about the build."""
    BROKEN = 70
    """A failure of the validation itself (EX_SOFTWARE of sysexits)."""
    INTERRUPTED = 130
    """Ctrl-C (128 + SIGINT, by custom)."""


_OF_VERDICT: dict[Verdict, ValidationExit] = {
    "pass": ValidationExit.PASS,
    "firmware": ValidationExit.FIRMWARE,
    "gateway": ValidationExit.GATEWAY,
    "rig": ValidationExit.RIG,
    "network": ValidationExit.NETWORK,
}


def exit_code(verdict: Verdict) -> ValidationExit:
    """Return the exit code that says a verdict."""
    return _OF_VERDICT[verdict]
