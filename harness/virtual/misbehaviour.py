"""What a virtual board can be told to do wrong, and what it then prints and does.

By its API, at any moment: `Booting.misbehave`. By what was flashed, so that a build can be bad on purpose: the same
words as options of the built-in firmware (`harness.virtual.firmware.options`), and requests on the program's channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, get_args

from harness.errors import Misuse
from harness.firmware.chips import Chip
from harness.firmware.image import Image
from harness.virtual.boot_log import BootLog
from harness.virtual.machine import ResetCause
from harness.virtual.panics import backtrace, panic_kind, panic_lines

Misdeed: TypeAlias = Literal[
    "panic",
    "brown_out",
    "task_watchdog",
    "hang",
    "restart",
    "lose_wifi",
    "heap_leak",
    "ping_storm",
    "acknowledge",
    "panic_on_handover",
]
"""What can be asked for, with its arguments:

``panic`` (``kind``, see `PanicKind`), ``brown_out``, ``task_watchdog``, ``restart``: with the text of each, then a
reset with that cause. ``hang``: nothing is said or answered any more, and connections stay. ``lose_wifi``
(``seconds``): hear no access point for so long. Of the built-in firmware alone: ``heap_leak`` (``bytes_per_second``),
``ping_storm`` (``per_second``; 0 ends it), ``acknowledge`` (``peer_messages``: true or false; in force when a host
configures it anew), ``panic_on_handover`` (``kind``).
"""

_OF_THE_FIRMWARE: frozenset[Misdeed] = frozenset({"heap_leak", "ping_storm", "acknowledge", "panic_on_handover"})


class Application(Protocol):
    """The application that is to misbehave, and the life it has on the chip.

    Attributes:
        chip: that it runs on.
        log: the UART.
    """

    chip: Chip
    log: BootLog

    @property
    def image(self) -> Image:
        """That was started."""
        ...

    def end(self, cause: ResetCause, say: Callable[[], None]) -> None:
        """Stop it, say its last words, reset the chip; only the first call of a life does anything."""

    def hang(self) -> None:
        """Let it do nothing any more."""

    def lose_wifi(self, seconds: float) -> None:
        """Let it hear no access point for so long."""

    def tell(self, event: dict[str, Any]) -> None:
        """Tell its program."""


def misbehave(application: Application, what: Misdeed, how: Mapping[str, Any]) -> None:
    """Have an application do something wrong, now.

    Raises:
        Misuse: there is no such misdeed, or not with these arguments.
    """
    log = application.log
    if what in _OF_THE_FIRMWARE:
        application.tell({"event": "misbehave", "what": what, **how})
    elif what == "panic":
        kind = panic_kind(_only(what, how, kind="abort")["kind"])
        application.end("panic", lambda: log.lines(panic_lines(application.chip, application.image, kind)))
    elif what == "brown_out":
        _only(what, how)
        application.end("brown_out", lambda: log("E", "BOD", "Brownout detector was triggered\r\n"))
    elif what == "task_watchdog":
        _only(what, how)
        application.end("task_watchdog", lambda: _watchdog(application))
    elif what == "restart":
        _only(what, how)
        application.end("software", lambda: None)
    elif what == "hang":
        _only(what, how)
        application.hang()
    elif what == "lose_wifi":
        application.lose_wifi(float(_only(what, how, seconds=2.0)["seconds"]))
    else:
        raise Misuse(f"expected one of {', '.join(get_args(Misdeed))}, got {what!r}")


def _watchdog(application: Application) -> None:
    """Print what ESP-IDF's ``task_wdt.c`` does; the watchdog's second stage then resets the system."""
    log = application.log
    chip = application.chip
    single = chip.name == "esp32c3"
    log("E", "task_wdt", "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:")
    log("E", "task_wdt", " - IDLE (CPU 0)" if single else " - IDLE0 (CPU 0)")
    log("E", "task_wdt", "Tasks currently running:")
    log("E", "task_wdt", "CPU 0: main")
    if not single:
        log("E", "task_wdt", "CPU 1: IDLE1")
    log("E", "task_wdt", "Print CPU 0 (current core) backtrace")
    if chip.architecture == "xtensa":
        log.lines(["", "", *backtrace(chip, application.image)])


def _only(what: str, how: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    if unknown := set(how) - set(defaults):
        known = ", ".join(defaults) or "no arguments"
        raise Misuse(f"expected {known} with {what!r}, got {', '.join(sorted(unknown))}")
    return {**defaults, **how}
