"""Commands to the flash that hosts put together in the registers of the controller."""

from __future__ import annotations

import pytest

from harness.virtual.chips import SILICON
from harness.virtual.flash import NorFlash
from harness.virtual.registers import RegisterBus
from harness.virtual.spi import SpiController

ADDRESS, SENDS, READS = 1 << 30, 1 << 27, 1 << 28


class Host:
    """What esptool does to run one command."""

    def __init__(self, chip: str) -> None:
        self.at = SILICON[chip].spi
        self.bus = RegisterBus()
        self.spi = SpiController(self.bus, self.at, NorFlash(4 << 20))

    def run(self, opcode: int, *, read_bits: int = 0, data: bytes = b"", address: int | None = None) -> int:
        """Run it and return the first word of its answer."""
        write, at = self.bus.write, self.at
        phases = (READS if read_bits else 0) | (SENDS if data else 0) | (ADDRESS if address is not None else 0)
        write(at.user, 1 << 31 | phases)
        write(at.user2, 7 << 28 | opcode)
        write(at.to_read, max(read_bits - 1, 0))
        write(at.to_send, max(8 * len(data) - 1, 0))
        write(at.user1, 23 << 26)
        write(at.address, (address or 0) << 8 if at.address_at_top else address or 0)
        write(at.data, int.from_bytes(data, "little"))
        write(at.command, 1 << 18)
        assert self.bus.read(at.command) == 0
        return self.bus.read(at.data)


@pytest.fixture(params=["esp32", "esp32s3", "esp32c3"])
def host(request):
    """A host of each chip, with its flash attached."""
    host = Host(request.param)
    host.spi.attach(0)
    return host


def test_jedec_id(host):
    """Three bytes, the first in the lowest bits."""
    assert host.run(0x9F, read_bits=24) == 0x1640EF


def test_address(host):
    """It stands in the upper or the lower end of its register, by the chip."""
    assert host.run(0x5A, read_bits=32, address=0) == int.from_bytes(b"SFDP", "little")
    assert host.run(0x5A, read_bits=16, address=4) == 0x0106


def test_no_address(host):
    """What stands in its register counts only where the command has one."""
    host.run(0x5A, read_bits=32, address=4)

    host.bus.write(host.at.user, 1 << 31 | READS)
    host.bus.write(host.at.command, 1 << 18)
    assert host.bus.read(host.at.data) == int.from_bytes(b"SFDP", "little")


def test_data_is_sent(host):
    """What stands in the data registers goes to the flash, as many bits as are said."""
    host.run(0x01, data=b"\x5a")

    assert host.run(0x05, read_bits=8) == 0x5A


def test_nothing_is_attached_after_a_reset(host):
    """The bus is open: its pull-ups answer."""
    assert Host("esp32").run(0x9F, read_bits=24) == 0xFFFFFF


def test_other_pins(host):
    """No flash is there, and the one that is attached is let go."""
    host.spi.attach(1 << 6 | 7)

    assert host.run(0x9F, read_bits=24) == 0xFFFFFF
    assert host.spi.flash is None


def test_what_starts_nothing(host):
    """Only SPI_USR does."""
    host.bus.write(host.at.data, 0x77)
    host.bus.write(host.at.command, 1 << 17)

    assert host.bus.read(host.at.data) == 0x77
    assert host.bus.read(host.at.command) == 1 << 17
