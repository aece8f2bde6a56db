"""What stands in the registers of each chip."""

from __future__ import annotations

import pytest

from harness.firmware.chips import CHIPS
from harness.virtual.chips import CHIP_MAGIC, SILICON, mac_checksum

MAC = bytes.fromhex("0253450a0b0c")


def test_every_chip_has_its_silicon():
    """Both tables have the same chips."""
    assert set(SILICON) == set(CHIPS)


def test_mac_checksum():
    """It is CRC-8/MAXIM-DOW, whose check value is A1."""
    assert mac_checksum(b"123456789") == 0xA1


def test_esp32():
    """The MAC stands in eFuse block 0 with its checksum; the revision is spread over three registers."""
    silicon = SILICON["esp32"]
    words = silicon.registers(MAC)

    assert words[silicon.efuses + 4] == 0x450A0B0C
    assert words[silicon.efuses + 8] == mac_checksum(MAC) << 16 | 0x0253
    assert words[silicon.efuses + 12] >> 15 & 1 == words[silicon.efuses + 20] >> 20 & 1 == words[0x3FF6607C] >> 31 == 1
    assert words[silicon.efuses + 20] >> 24 & 3 == 1
    assert words[CHIP_MAGIC] == 0x00F01D83


@pytest.mark.parametrize(("chip", "minor"), [("esp32s3", 2), ("esp32c3", 4)])
def test_later_chips(chip, minor):
    """MAC and revision stand in eFuse block 1."""
    silicon = SILICON[chip]
    words = silicon.registers(MAC)

    assert words[silicon.mac_efuse] == 0x450A0B0C
    assert words[silicon.mac_efuse + 4] == 0x0253
    assert words[silicon.mac_efuse + 12] >> 18 & 7 == minor
    assert words[silicon.mac_efuse + 20] >> 24 & 3 == 0
