"""What differs between the chips as far as a host can see it through the serial port: addresses, and what stands there.

Names of registers are those of Espressif's technical reference manuals. Where ESP32-S3 and ESP32-C3 agree, which is
nearly everywhere, they share their entry.
"""

from __future__ import annotations

import msgspec

from harness.firmware.chips import ChipName

RTC_WATCHDOG_KEY = 0x50D83AA1
"""Unlocks the registers of the RTC watchdog (RTC_CNTL_WDTWPROTECT_REG)."""

CHIP_MAGIC = 0x40001000
"""A word of the ROM by which hosts tell the chips that have no GET_SECURITY_INFO."""


class SpiRegisters(msgspec.Struct, frozen=True):
    """Of SPI1, the controller that reaches the flash by "user" commands.

    Attributes:
        command: SPI_CMD_REG; bit 18 starts what the others describe.
        address: SPI_ADDR_REG.
        user, user1, user2: SPI_USER*_REG: which phases there are, how long they are, the command itself.
        to_send, to_read: SPI_MOSI_DLEN_REG and SPI_MISO_DLEN_REG: bits of data, less one.
        data: SPI_W0_REG, the first of sixteen.
        address_at_top: an address shorter than 32 bits stands in the upper end of its register.
    """

    command: int
    address: int
    user: int
    user1: int
    user2: int
    to_send: int
    to_read: int
    data: int
    address_at_top: bool


class RtcWatchdog(msgspec.Struct, frozen=True):
    """RTC_CNTL_WDTCONFIG0_REG, whose bit 31 starts it, and the register that unlocks it."""

    config: int
    protect: int


class Silicon(msgspec.Struct, frozen=True):
    """One kind of chip.

    Attributes:
        magic: the word at `CHIP_MAGIC`.
        revision: of the chip, major and minor.
        has_security_info: its ROM knows GET_SECURITY_INFO.
        efuses: the first word of eFuse block 0, as read.
        mac_efuse: the word with the lower four bytes of the MAC; the upper two are in the next.
        strap: GPIO_STRAP_REG: how IO0 and its like stood when the chip left reset.
        uart_divider: UART_CLKDIV_REG, the clock divided by the baud rate.
        spi: where its flash controller is.
        watchdog: where its RTC watchdog is; None: hosts do not use this one to reset it.
        stub_addresses: where the flasher stubs for it are linked to run: of the stub's first generation and its second.
    """

    magic: int
    revision: tuple[int, int]
    has_security_info: bool
    efuses: int
    mac_efuse: int
    strap: int
    uart_divider: int
    spi: SpiRegisters
    watchdog: RtcWatchdog | None
    stub_addresses: tuple[int, ...]

    def registers(self, mac: bytes) -> dict[int, int]:
        """Return what stands in its registers when it comes out of reset: identity and clocks; all others read 0."""
        at = {CHIP_MAGIC: self.magic, self.mac_efuse: int.from_bytes(mac[2:], "big")}
        upper = int.from_bytes(mac[:2], "big")
        if self.has_security_info:
            return at | {self.mac_efuse + 4: upper} | self._revision_in_block_1()
        return at | {self.mac_efuse + 4: mac_checksum(mac) << 16 | upper} | self._esp32_identity()

    def _revision_in_block_1(self) -> dict[int, int]:
        # ESP32-S3 TRM, table "eFuse block 1": WAFER_VERSION_MINOR is parted, package version 0 is the plain QFN
        major, minor = self.revision
        return {self.mac_efuse + 12: (minor & 7) << 18, self.mac_efuse + 20: (minor >> 3) << 23 | major << 24}

    def _esp32_identity(self) -> dict[int, int]:
        major, minor = self.revision
        ones = (1 << major) - 1  # the major revision is the number of ones in three bits, each in a place of its own
        return {
            self.efuses + 12: 1 << 9 | (ones & 1) << 15,  # package ESP32-D0WD
            self.efuses + 16: _SLOW_CLOCK_PER_CENT,
            self.efuses + 20: (ones >> 1 & 1) << 20 | minor << 24,
            0x3FF6607C: (ones >> 2) << 31,  # APB_CTRL_DATE_REG
            # RTCCALICFG1: how many ticks of the crystal are in some of the 8 MHz clock. esptool multiplies it with
            # 15,625 and the efuse above, and 40 MHz must come out, or it asks for baud rates of another crystal.
            0x3FF5F06C: 1024 << 7,
        }


def mac_checksum(mac: bytes) -> int:
    """Return the CRC-8 (polynomial 0x31, reflected) that an ESP32 keeps beside its MAC."""
    crc = 0
    for byte in mac:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x8C if crc & 1 else crc >> 1
    return crc


_SLOW_CLOCK_PER_CENT = 100  # efuse CK8M_FREQ: what the inner 8 MHz clock has of its nominal frequency
_NEW_SPI = SpiRegisters(
    command=0x60002000,
    address=0x60002004,
    user=0x60002018,
    user1=0x6000201C,
    user2=0x60002020,
    to_send=0x60002024,
    to_read=0x60002028,
    data=0x60002058,
    address_at_top=False,
)

SILICON: dict[ChipName, Silicon] = {
    "esp32": Silicon(
        magic=0x00F01D83,
        revision=(3, 1),
        has_security_info=False,
        efuses=0x3FF5A000,
        mac_efuse=0x3FF5A004,
        strap=0x3FF44038,
        uart_divider=0x3FF40014,
        spi=SpiRegisters(
            command=0x3FF42000,
            address=0x3FF42004,
            user=0x3FF4201C,
            user1=0x3FF42020,
            user2=0x3FF42024,
            to_send=0x3FF42028,
            to_read=0x3FF4202C,
            data=0x3FF42080,
            address_at_top=True,
        ),
        watchdog=None,
        stub_addresses=(0x400BE000, 0x400A8000),
    ),
    "esp32s3": Silicon(
        magic=0x00000009,
        revision=(0, 2),
        has_security_info=True,
        efuses=0x60007030,
        mac_efuse=0x60007044,
        strap=0x60004038,
        uart_divider=0x60000014,
        spi=_NEW_SPI,
        watchdog=RtcWatchdog(config=0x60008098, protect=0x600080B0),
        stub_addresses=(0x40378000,),
    ),
    "esp32c3": Silicon(
        magic=0x1B31506F,
        revision=(0, 4),
        has_security_info=True,
        efuses=0x60008830,
        mac_efuse=0x60008844,
        strap=0x60004038,
        uart_divider=0x60000014,
        spi=_NEW_SPI,
        watchdog=RtcWatchdog(config=0x60008090, protect=0x600080A8),
        stub_addresses=(0x40380000,),
    ),
}
