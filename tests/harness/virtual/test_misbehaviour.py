"""What is printed and done when a board is told to misbehave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import Misuse
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.image import Image
from harness.virtual.boot_log import BootLog
from harness.virtual.machine import ResetCause
from harness.virtual.misbehaviour import misbehave
from tests.harness.virtual.flashed import image


class Victim:
    """An application that takes note of what is done to it."""

    def __init__(self, chip: ChipName = "esp32s3") -> None:
        self.chip = CHIPS[chip]
        self.image = Image.parse(image(chip))
        self.said = ""
        self.log = BootLog(self._say)
        self.done: list[Any] = []

    def _say(self, data: bytes) -> None:
        self.said += data.decode()

    def end(self, cause: ResetCause, say: Callable[[], None]) -> None:
        """End."""
        say()
        self.done.append(cause)

    def hang(self) -> None:
        """Hang."""
        self.done.append("hang")

    def lose_wifi(self, seconds: float) -> None:
        """Lose Wi-Fi."""
        self.done.append(("lose_wifi", seconds))

    def tell(self, event: dict[str, Any]) -> None:
        """Take note of an event."""
        self.done.append(event)


@pytest.mark.parametrize(
    ("what", "how", "done", "said"),
    [
        ("panic", {}, "panic", "abort() was called at PC 0x"),
        ("panic", {"kind": "StoreProhibited"}, "panic", "panic'ed (StoreProhibited)"),
        ("brown_out", {}, "brown_out", "BOD: Brownout detector was triggered"),
        ("task_watchdog", {}, "task_watchdog", "task_wdt: Task watchdog got triggered."),
        ("restart", {}, "software", ""),
        ("hang", {}, "hang", ""),
        ("lose_wifi", {}, ("lose_wifi", 2.0), ""),
        ("lose_wifi", {"seconds": 5}, ("lose_wifi", 5.0), ""),
        ("heap_leak", {"bytes_per_second": 9}, {"event": "misbehave", "what": "heap_leak", "bytes_per_second": 9}, ""),
    ],
)
def test_misdeeds(what: Any, how: dict[str, Any], done: Any, said: str):
    """Each says its words, and does what it says."""
    victim = Victim()
    misbehave(victim, what, how)

    assert victim.done == [done]
    assert said in victim.said


@pytest.mark.parametrize(("chip", "cores", "trace"), [("esp32s3", 2, True), ("esp32c3", 1, False)])
def test_watchdog_names_the_cores(chip: ChipName, cores: int, trace: bool):
    """The task watchdog lists what runs on each core; Xtensa shows a backtrace."""
    victim = Victim(chip)
    misbehave(victim, "task_watchdog", {})

    assert victim.said.count("task_wdt: CPU ") == cores
    assert ("Backtrace:" in victim.said) is trace


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("fly", {}),
        ("panic", {"kind": "fire"}),
        ("panic", {"sort": "abort"}),
        ("hang", {"seconds": 1}),
        ("restart", {"x": 1}),
    ],
)
def test_what_there_is_not(what: Any, how: dict[str, Any]):
    """Other misdeeds and arguments are refused, and nothing is done."""
    victim = Victim()
    with pytest.raises(Misuse):
        misbehave(victim, what, how)

    assert victim.done == []
