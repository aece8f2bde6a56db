"""Crashes on a console: told at once to who waits for a line, and to nobody who found his own before."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from harness.board import crash_watch
from harness.board.crash_report import CrashReport
from harness.board.crash_watch import CrashWatch
from harness.board.errors import BoardCrashed, LineMissing
from harness.board.line_record import LineRecord
from tests.harness.board.serial_server import SOON

PANIC = """\
Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.

Core  0 register dump:
PC      : 0x42007f0a  PS      : 0x00060a30  A0      : 0x8200a8bd  A1      : 0x3fc98f50
EXCVADDR: 0x00000010  LBEG    : 0x40056f5c

Backtrace: 0x42007f07:0x3fc98f50 0x4200a8ba:0x3fc98f70

ELF file SHA256: 0123456789abcdef

Rebooting...
"""
AGAIN = (
    "ESP-ROM:esp32s3-20210327\nrst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\nI (31) cpu_start: Pro cpu up\n"
)


class Said(LineRecord):
    """A console that a test speaks on."""

    def __init__(self) -> None:
        super().__init__("bench-1", None)
        self.state = "open"

    def say(self, text: str) -> None:
        """Say lines."""
        self._take(text.encode())


@pytest.fixture
def console() -> Said:
    """A console."""
    return Said()


@pytest.fixture
def watch(console: Said) -> Iterator[CrashWatch]:
    """A watch on it, whose decoder knows one function."""
    watch = CrashWatch("bench-1", console, describe=lambda report: f"{report}\nin app_main")
    yield watch
    watch.close()


def test_told_at_once(console: Said, watch: CrashWatch):
    """Who waits is told of the crash, decoded, with what was said before, though the board starts again meanwhile."""
    console.say("I (100) main: before\n")
    timer = threading.Timer(0.02, lambda: console.say(PANIC + AGAIN))
    timer.start()
    with pytest.raises(BoardCrashed) as caught:
        console.expect("cpu_start", SOON)
    timer.join()

    assert (caught.value.kind, caught.value.verdict, caught.value.board) == ("exception", "firmware", "bench-1")
    text = str(caught.value)
    assert text.startswith("bench-1 crashed (firmware)\n  exception: LoadProhibited at 0x42007f0a")
    assert "\n  in app_main\n  before it:\n    I (100) main: before" in text
    assert [report.cause for report in watch.crashes] == ["LoadProhibited"]
    assert watch.crashes[0].reset is not None


def test_found_before(console: Said, watch: CrashWatch):
    """A line that came before the crash is found, and what came behind it is not, until the crash was dealt with."""
    console.say("I (100) main: before\n" + PANIC + AGAIN)
    assert console.expect("main: before", SOON).number == 0
    for _ in range(2):
        with pytest.raises(BoardCrashed):
            console.expect("cpu_start", SOON)
    console.calm()
    assert console.expect("cpu_start", SOON, since=0).text.startswith("I (31)")


def test_silence_ends_it(console: Said, watch: CrashWatch, monkeypatch: pytest.MonkeyPatch):
    """A crash after which nothing is said any more is told when it has been quiet for a while, and not later."""
    monkeypatch.setattr(crash_watch, "QUIET", 0.05)
    began = time.monotonic()
    console.say(PANIC.partition("ELF file")[0])
    with pytest.raises(BoardCrashed):
        console.expect("cpu_start", SOON)
    assert time.monotonic() - began < SOON / 2


def test_firmware_that_goes_on(console: Said, watch: CrashWatch):
    """A task watchdog that only complains ends nothing: what is waited for comes, and the complaint is remembered."""
    log = "E (5) task_wdt: Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:\n"
    console.say(log + "E (5) task_wdt:  - IDLE0 (CPU 0)\n" + "".join(f"I (6) app: {number}\n" for number in range(9)))

    assert console.expect("app: 8", SOON).text == "I (6) app: 8"
    assert [(report.kind, report.fatal) for report in watch.crashes] == [("task_watchdog", False)]


def test_awaited(console: Said, watch: CrashWatch):
    """A crash that is being told is waited for to its end; where none begins, that is waited for only so long."""
    began = time.monotonic()
    watch.await_end(0.05, SOON)
    assert 0.05 <= time.monotonic() - began < SOON / 2
    console.say(PANIC)
    timer = threading.Timer(0.05, lambda: console.say(AGAIN))
    timer.start()
    watch.await_end(0.0, SOON)
    timer.join()
    assert len(watch.crashes) == 1


def test_allowed(console: Said, watch: CrashWatch):
    """A test that is about a crash sees it, and is not ended by it; afterwards crashes are raised again."""
    with watch.allowed() as seen:
        console.say(PANIC + AGAIN)
        assert console.expect("cpu_start", SOON)
    watch.close()
    assert len(seen) == 1
    other = CrashWatch("bench-1", console)
    console.say(PANIC + AGAIN)
    with pytest.raises(BoardCrashed):
        console.expect("cpu_start", SOON)
    other.close()


@pytest.mark.parametrize("text", [PANIC, "abort() was called at PC 0x42007f0a on core 0\n"])
def test_told_with_its_error(console: Said, text: str):
    """What is raised is made once, and told; of a crash that began where it was allowed there is none."""
    decoded: list[CrashReport] = []
    told: list[BoardCrashed | None] = []

    def describe(report: CrashReport) -> str:
        decoded.append(report)
        return str(report)

    watch = CrashWatch("bench-1", console, describe=describe, tell=lambda _, error: told.append(error))
    console.say(text + AGAIN)
    with pytest.raises(BoardCrashed) as caught:
        console.expect("cpu_start", SOON)
    console.calm()
    first, _, rest = text.partition("\n")
    with watch.allowed():
        console.say(first + "\n")
    console.say(rest + AGAIN)
    assert console.expect("cpu_start", SOON)
    console.say(text)
    watch.close()

    assert told[0] is caught.value
    assert told[1] is None
    assert isinstance(told[2], BoardCrashed)
    assert len(decoded) == 2


def test_a_crash_of_one_line(console: Said):
    """It ends with the line that it begins with, and is told as any other, unless it is allowed."""
    told: list[BoardCrashed | None] = []
    watch = CrashWatch("bench-1", console, tell=lambda _, error: told.append(error))
    lines = "W (1) app: assert failed: x\nCPU halted.\n"
    console.say(lines)
    watch.await_end(0.0, SOON)
    with watch.allowed():
        console.say(lines)
        watch.await_end(0.0, SOON)
    watch.close()

    assert [error is None for error in told] == [False, True]


def test_a_long_crash_needs_no_thread_for_each_line(console: Said, watch: CrashWatch, monkeypatch: pytest.MonkeyPatch):
    """A core dump has thousands of lines; that it goes on is seen by one timer."""
    monkeypatch.setattr(crash_watch, "QUIET", 0.3)
    timers: list[threading.Timer] = []

    def timer(*given: object) -> threading.Timer:
        timers.append(Timer(*given))  # type: ignore[arg-type]
        return timers[-1]

    Timer = threading.Timer  # noqa: N806 - the class
    monkeypatch.setattr(threading, "Timer", timer)
    until = time.monotonic() + 0.5
    console.say(PANIC.partition("Backtrace")[0])
    while time.monotonic() < until:
        console.say("3fc98f50: 0x00000000\n")
        time.sleep(0.002)
    assert not watch.crashes
    with pytest.raises(BoardCrashed):
        console.expect("never", SOON)

    assert len(timers) <= 4


def test_boot_loop(console: Said, watch: CrashWatch):
    """Three crashes in a row are a boot loop, too."""
    console.say((PANIC + AGAIN) * 3)
    watch.close()
    assert [loop.resets for loop in watch.boot_loops] == [3]
    assert len(watch.crashes) == 3


def test_decoder_that_fails(console: Said, caplog: pytest.LogCaptureFixture):
    """A decoder that fails hides no crash, and is heard of."""

    def fail(report: CrashReport) -> str:
        raise OSError("no addr2line")

    watch = CrashWatch("bench-1", console, describe=fail)
    console.say(PANIC + AGAIN)
    with caplog.at_level(logging.ERROR), pytest.raises(BoardCrashed, match="could not be decoded"):
        console.expect("cpu_start", SOON)
    watch.close()
    assert "no addr2line" in caplog.text


def test_told_to_others(console: Said):
    """Each crash is told, before it is raised; a brown-out is the supply's fault."""
    told: list[str] = []
    watch = CrashWatch("bench-1", console, tell=lambda report, _: told.append(report.kind))
    console.say("\nBrownout detector was triggered\n\nets Jul 29\nrst:0xf (RTCWDT_BROWN_OUT_RESET),boot:0x8 (SPI)\n")
    with pytest.raises(BoardCrashed) as caught:
        console.expect("never", SOON)
    watch.close()
    assert told == ["brown_out"]
    assert caught.value.verdict == "rig"


def test_closed(console: Said, watch: CrashWatch):
    """A watch that is closed takes the crash it was told half of as it is, and sees nothing more."""
    console.say(PANIC.partition("Backtrace")[0])
    watch.close()
    watch.close()
    with pytest.raises(BoardCrashed):
        console.expect("x", 0.0)
    console.calm()
    console.say(PANIC + AGAIN)
    assert console.expect("cpu_start", 0.0)
    with pytest.raises(LineMissing):
        console.expect("x", 0.0)
    assert len(watch.crashes) == 1
