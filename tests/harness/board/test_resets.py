"""Resets are read from the ROM's lines, and a board that does nothing but reset is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board.resets import BootLoop, LoopWatch, Reset, ResetKind, read_reset
from harness.firmware.chips import CHIPS
from harness.virtual.rom_log import ROMS, banner


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "power_on"),
        ("rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)", "power_on"),
        ("rst:0x3 (SW_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "software"),
        ("rst:0x3 (RTC_SW_SYS_RST),boot:0xd (SPI_FAST_FLASH_BOOT)", "software"),
        ("rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "software"),
        ("rst:0x5 (DEEPSLEEP_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "deep_sleep"),
        ("rst:0x5 (DSLEEP),boot:0xc (SPI_FAST_FLASH_BOOT)", "deep_sleep"),
        ("rst:0x7 (TG0WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "watchdog"),
        ("rst:0x10 (RTCWDT_RTC_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "watchdog"),
        ("rst:0x12 (SUPER_WDT_RESET),boot:0x8 (SPI_FAST_FLASH_BOOT)", "watchdog"),
        ("rst:0xf (RTCWDT_BROWN_OUT_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "brown_out"),
        ("rst:0xf (BROWNOUT_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", "brown_out"),
        ("rst:0x15 (USB_UART_CHIP_RESET),boot:0x8 (SPI_FAST_FLASH_BOOT)", "usb"),
        ("rst:0xe (EXT_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)", "external"),
        ("rst:0x17 (POWER_GLITCH_RESET),boot:0x8 (SPI_FAST_FLASH_BOOT)", "glitch"),
        ("rst:0x14 (EFUSE_RESET),boot:0x8 (SPI_FAST_FLASH_BOOT)", "unknown"),
    ],
)
def test_kind(line: str, kind: ResetKind):
    """The word says what it was; each chip has its own."""
    reset = read_reset(line, 5.0)

    assert reset is not None
    assert (reset.kind, reset.at, reset.boot_mode) == (kind, 5.0, "SPI_FAST_FLASH_BOOT")


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_virtual_boards(chip):
    """What the virtual boards print is read back with the number and the word they have for it."""
    for cause, text in ROMS[chip.name].causes.items():
        (reset,) = filter(None, map(read_reset, banner(chip, cause)))

        assert f"{reset.code:#x} ({reset.cause})" == text
        assert not reset.to_download_mode


def test_download_mode():
    """A chip that waits for a host is told apart."""
    (reset,) = filter(None, map(read_reset, banner(CHIPS["esp32c3"], "power_on", download=True)))

    assert reset.to_download_mode


def test_cut_off():
    """What got lost at the end of the line is left empty; garbage before it does not matter."""
    reset = read_reset("\x00\xffrst:0x1 (POWERON_RESET),bo")

    assert reset is not None
    assert (reset.kind, reset.code, reset.boot_mode) == ("power_on", 1, "")


@given(st.text())
def test_any_text(text: str):
    """Any text has a reset in it, or none."""
    read_reset(text)
    read_reset(f"rst:0x1 ({text}),boot:0x1 ({text})")


def watched(*resets: tuple[str, float, str]) -> list[BootLoop]:
    """What a watch says of resets: kind, time, trouble before it."""
    watch = LoopWatch()
    found = (watch.saw(Reset(kind, 0, kind.upper(), "", at), trouble) for kind, at, trouble in resets)  # type: ignore[arg-type]
    return [loop for loop in found if loop]


class TestLoop:
    """When it is a loop."""

    def test_third(self):
        """The third in a row is one, and it is told once."""
        (loop,) = watched(*(("watchdog", 2.0 * n, "invalid header: 0xffffffff") for n in range(10)))

        assert (loop.resets, loop.seconds, loop.at) == (3, 4.0, 4.0)
        assert str(loop) == "boot loop, 3 resets (WATCHDOG) in 4.0 s: invalid header: 0xffffffff"

    def test_two(self):
        """Two are none."""
        assert watched(("watchdog", 0, "x"), ("watchdog", 1, "x")) == []

    def test_slow(self):
        """What runs for half a minute in between has started."""
        assert watched(*(("watchdog", 30.1 * n, "") for n in range(9))) == []
        assert watched(*(("watchdog", 30.0 * n, "") for n in range(9)))

    @pytest.mark.parametrize("kind", ["power_on", "deep_sleep", "usb", "external"])
    def test_on_purpose(self, kind: str):
        """Somebody presses the button, or the firmware sleeps and wakes."""
        assert watched(*((kind, n, "x") for n in range(9))) == []
        assert watched(("software", 0, "x"), ("software", 1, "x"), (kind, 2, ""), ("software", 3, "x")) == []

    def test_asked_for(self):
        """Restarts without any trouble are what somebody asked for."""
        assert watched(*(("software", n, "") for n in range(9))) == []

    def test_interrupted(self):
        """Such a restart ends a loop, as far as it goes."""
        assert watched(("watchdog", 0, ""), ("watchdog", 1, ""), ("software", 2, ""), ("watchdog", 3, "")) == []

    def test_after_it_was_repaired(self):
        """A loop that begins again after it had ended is told again."""
        loop = [("watchdog", float(n), "") for n in range(3)]
        again = [("watchdog", 100.0 + n, "") for n in range(3)]

        assert len(watched(*loop, ("power_on", 50.0, ""), *again)) == 2
