"""What the process says with its exit code, for units, supervisors and scripts."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the gateway's commands."""

    OK = 0
    """It did what was asked; for ``serve``: it was told to stop, and everything is down cleanly."""
    FAILED = 1
    """The demo did not go as it should; or whoever was to read the output did not."""
    CANNOT_START = 2
    """The configuration has faults, the command line is wrong, or an address could not be had; nothing was begun."""
    MAILBOX = 3
    """The mailbox could not be opened, or (``mailbox``) read or cleared; nothing in it has changed."""
    UNCLEAN = 70
    """A failure of the gateway itself, or something did not end in its time; see the log (EX_SOFTWARE of sysexits)."""
    INTERRUPTED = 130
    """A second signal cut the drain short, or Ctrl-C came before anything had begun (128 + SIGINT, by custom)."""
