"""What each chip's ROM says."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from harness.firmware.chips import CHIPS, ChipName
from harness.virtual.machine import ResetCause
from harness.virtual.rom_log import ROMS, banner, entering, loading, no_header, wrong_checksum, wrong_hash


@pytest.mark.parametrize(
    ("chip", "lines"),
    [
        ("esp32", ["ets Jul 29 2019 12:21:46", "", "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"]),
        (
            "esp32s3",
            ["ESP-ROM:esp32s3-20210327", "Build:Mar 27 2021", "rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)"],
        ),
        (
            "esp32c3",
            ["ESP-ROM:esp32c3-api1-20210207", "Build:Feb  7 2021", "rst:0x1 (POWERON),boot:0xc (SPI_FAST_FLASH_BOOT)"],
        ),
    ],
)
def test_power_on(chip: ChipName, lines: list[str]):
    """The first lines after power came on, word for word."""
    assert banner(CHIPS[chip], "power_on") == lines


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("cause", get_args(ResetCause))
def test_every_cause(chip: ChipName, cause: ResetCause):
    """Each cause has a number and a name on each chip, in the form that hosts look for."""
    assert any(
        re.fullmatch(r"rst:0x[0-9a-f]+ \(\w+\),boot:0x[0-9a-f]+ \(\w+\)", line) for line in banner(CHIPS[chip], cause)
    )


@pytest.mark.parametrize(
    ("cause", "esp32", "later"),
    [
        ("software", "0xc (SW_CPU_RESET)", "0xc (RTC_SW_CPU_RST)"),
        ("panic", "0xc (SW_CPU_RESET)", "0xc (RTC_SW_CPU_RST)"),
        ("brown_out", "0xf (RTCWDT_BROWN_OUT_RESET)", "0xf (BROWNOUT_RST)"),
        ("rtc_watchdog", "0x10 (RTCWDT_RTC_RESET)", "0x10 (RTCWDT_RTC_RST)"),
        ("boot_watchdog", "0x10 (RTCWDT_RTC_RESET)", "0x7 (TG0WDT_SYS_RST)"),
        ("boot_loader", "0x3 (SW_RESET)", "0x3 (RTC_SW_SYS_RST)"),
    ],
)
def test_causes_in_words(cause: ResetCause, esp32: str, later: str):
    """The numbers are those of rom/rtc.h, the names those that boards print."""
    assert (ROMS["esp32"].causes[cause], ROMS["esp32s3"].causes[cause]) == (esp32, later)
    assert ROMS["esp32c3"].causes[cause] == later


def test_saved_pc():
    """After a reset of the CPU alone the newer ROMs print where it was."""
    assert banner(CHIPS["esp32c3"], "panic")[-1].startswith("Saved PC:0x4038")
    assert not any(line.startswith("Saved PC") for line in banner(CHIPS["esp32c3"], "power_on"))
    assert not any(line.startswith("Saved PC") for line in banner(CHIPS["esp32"], "panic"))


@pytest.mark.parametrize(
    ("chip", "mode"),
    [
        ("esp32", "boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))"),
        ("esp32s3", "boot:0x0 (DOWNLOAD(USB/UART0))"),
        ("esp32c3", "boot:0x4 (DOWNLOAD(USB/UART0/1))"),
    ],
)
def test_download_mode(chip: ChipName, mode: str):
    """Download mode is named, and ends with the wait for a host, as esptool looks for it."""
    lines = banner(CHIPS[chip], "power_on", download=True)

    assert lines[-2].endswith(mode)
    assert lines[-1] == "waiting for download"


def test_loading():
    """Mode, divider and segments of the boot loader; ESP32 counts in decimal."""
    assert loading(CHIPS["esp32"], 2, 0xF, [(0x3FFF0030, 1240)])[-2:] == [
        "mode:DIO, clock div:1",
        "load:0x3fff0030,len:1240",
    ]
    assert loading(CHIPS["esp32s3"], 0, 0x0, [(0x403C9700, 0xBD8)]) == [
        "SPIWP:0xee",
        "mode:QIO, clock div:2",
        "load:0x403c9700,len:0xbd8",
    ]
    assert loading(CHIPS["esp32c3"], 0xFF, 0, [])[1] == "mode:DIO, clock div:2"
    assert entering(0x400805F8) == "entry 0x400805f8"


def test_nothing_to_load():
    """What lies there instead of a header is printed, again and again."""
    assert set(no_header(0xFFFFFFFF)) == {"invalid header: 0xffffffff"}


def test_damaged():
    """A checksum that does not fit stops it; a hash does not."""
    assert wrong_checksum(CHIPS["esp32"], 0x12, 0xFF) == ["csum err:0x12!=0xff", "ets_main.c 371 "]
    assert wrong_checksum(CHIPS["esp32c3"], 0x1, 0xFF) == ["csum err:0x01!=0xff", "ets_loader.c 78 "]
    assert wrong_hash(b"\1", b"\2")[-1] == "Attempting to boot anyway..."
