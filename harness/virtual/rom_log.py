"""What the ROM of each chip prints before anything that was flashed runs: who it is, why it was reset, what it loads.

Reset reasons and their numbers: ESP-IDF, ``components/esp_rom/<chip>/include/<chip>/rom/rtc.h`` (``RESET_REASON``); the
ROM abbreviates their names. Everything else is as boards print it in public issue threads of espressif/esp-idf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from harness.firmware.chips import Chip, ChipName
from harness.virtual.machine import ResetCause

ATTEMPTS = 8
"""Times that the ROM says that it has found no header, until its watchdog bites; on boards it is five to twenty."""


class Rom(msgspec.Struct, frozen=True):
    """How one chip's ROM speaks.

    Attributes:
        greeting: its first lines.
        causes: number and name of each reset cause.
        run_strap, download_strap: the levels of the strapping pins, as it prints them.
        download_mode: the name of its download mode.
        saved_pc: where the CPU was, printed after every reset but one of the whole chip; 0: this ROM does not print it.
        source: of its loader, named where a checksum does not fit.
    """

    greeting: tuple[str, ...]
    causes: Mapping[ResetCause, str]
    run_strap: int
    download_strap: int
    download_mode: str
    saved_pc: int
    source: str


# The panic handler ends with `esp_restart_noos`, which resets the CPU as `esp_restart` does. The task watchdog is
# timer group 0's. Where ROM finds no boot loader, the flash boot watchdog bites: RTC's on ESP32, timer group 0's on the
# others. The boot loader itself gives up with a reset of the digital core (`bootloader_reset`).
_ESP32_CAUSES: dict[ResetCause, str] = {
    "power_on": "0x1 (POWERON_RESET)",
    "software": "0xc (SW_CPU_RESET)",
    "panic": "0xc (SW_CPU_RESET)",
    "task_watchdog": "0x7 (TG0WDT_SYS_RESET)",
    "rtc_watchdog": "0x10 (RTCWDT_RTC_RESET)",
    "brown_out": "0xf (RTCWDT_BROWN_OUT_RESET)",
    "boot_watchdog": "0x10 (RTCWDT_RTC_RESET)",
    "boot_loader": "0x3 (SW_RESET)",
}
_LATER_CAUSES: dict[ResetCause, str] = {
    "power_on": "0x1 (POWERON)",
    "software": "0xc (RTC_SW_CPU_RST)",
    "panic": "0xc (RTC_SW_CPU_RST)",
    "task_watchdog": "0x7 (TG0WDT_SYS_RST)",
    "rtc_watchdog": "0x10 (RTCWDT_RTC_RST)",
    "brown_out": "0xf (BROWNOUT_RST)",
    "boot_watchdog": "0x7 (TG0WDT_SYS_RST)",
    "boot_loader": "0x3 (RTC_SW_SYS_RST)",
}

ROMS: Mapping[ChipName, Rom] = {
    "esp32": Rom(
        # the blank line between the two is the ROM's
        greeting=("ets Jul 29 2019 12:21:46", ""),
        causes=_ESP32_CAUSES,
        run_strap=0x13,
        download_strap=0x3,
        download_mode="DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2)",
        saved_pc=0,
        source="ets_main.c 371 ",
    ),
    "esp32s3": Rom(
        greeting=("ESP-ROM:esp32s3-20210327", "Build:Mar 27 2021"),
        causes=_LATER_CAUSES,
        run_strap=0x8,
        download_strap=0x0,
        download_mode="DOWNLOAD(USB/UART0)",
        saved_pc=0x40378D4A,
        source="ets_loader.c 78 ",
    ),
    "esp32c3": Rom(
        greeting=("ESP-ROM:esp32c3-api1-20210207", "Build:Feb  7 2021"),
        causes=_LATER_CAUSES,
        run_strap=0xC,
        download_strap=0x4,
        download_mode="DOWNLOAD(USB/UART0/1)",
        saved_pc=0x4038107A,
        source="ets_loader.c 78 ",
    ),
}

_WHOLE_CHIP: frozenset[ResetCause] = frozenset({"power_on", "brown_out", "rtc_watchdog"})
_SPI_MODES = ("QIO", "QOUT", "DIO", "DOUT")  # esp_image_spi_mode_t
_FULL_SPEED = 0xF  # esp_image_spi_freq_t: the flash clock is not divided


def banner(chip: Chip, cause: ResetCause, *, download: bool = False) -> list[str]:
    """Return the first lines after a reset, without line ends; those of download mode end with the wait for a host."""
    rom = ROMS[chip.name]
    strap, mode = (rom.download_strap, rom.download_mode) if download else (rom.run_strap, "SPI_FAST_FLASH_BOOT")
    lines = [*rom.greeting, f"rst:{rom.causes[cause]},boot:{strap:#x} ({mode})"]
    if rom.saved_pc and cause not in _WHOLE_CHIP:
        lines.append(f"Saved PC:{rom.saved_pc:#010x}")
    return [*lines, "waiting for download"] if download else lines


def no_header(found: int) -> list[str]:
    """Return what is said where no boot loader lies, given the first 32-bit word that does."""
    return [f"invalid header: {found:#010x}"] * ATTEMPTS


def loading(chip: Chip, spi_mode: int, spi_frequency: int, segments: Sequence[tuple[int, int]]) -> list[str]:
    """Return what is said of a boot loader while it is loaded.

    Args:
        chip: whose ROM it is.
        spi_mode: byte 2 of the image's header.
        spi_frequency: the lower half of byte 3.
        segments: load address and length of each.
    """
    if chip.name == "esp32":
        pins = "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00"
        flash = ["configsip: 0, SPIWP:0xee", pins]
    else:
        flash = ["SPIWP:0xee"]
    mode = _SPI_MODES[spi_mode] if spi_mode < len(_SPI_MODES) else "DIO"
    divider = 1 if spi_frequency == _FULL_SPEED else 2
    # ESP32 prints lengths in decimal, its successors in hex
    length = "{}" if chip.name == "esp32" else "{:#x}"
    loads = [f"load:{address:#010x},len:{length.format(size)}" for address, size in segments]
    return [*flash, f"mode:{mode}, clock div:{divider}", *loads]


def entering(entry: int) -> str:
    """Return the ROM's last line before the boot loader runs."""
    return f"entry {entry:#010x}"


def wrong_checksum(chip: Chip, calculated: int, stored: int) -> list[str]:
    """Return what is said of a boot loader that was loaded and is damaged; the watchdog bites after it."""
    return [f"csum err:{calculated:#04x}!={stored:#04x}", ROMS[chip.name].source]


def wrong_hash(calculated: bytes, stored: bytes) -> list[str]:
    """Return what is said of a boot loader whose appended SHA-256 does not fit; ROM starts it all the same.

    ESP32's ROM does not look at it. The others' do, and without secure boot go on: esptool itself may have changed the
    header.
    """
    return [
        "SHA-256 comparison failed:",
        f"Calculated: {calculated.hex()}",
        f"Expected: {stored.hex()}",
        "Attempting to boot anyway...",
    ]
