"""The wire between chip and host."""

from __future__ import annotations

import pytest

from harness.virtual.uart import BOOT_BAUD, SYNC_PATTERN, Uart


@pytest.mark.parametrize(("host_baud", "arrives"), [(115200, True), (118600, True), (118700, False), (111700, False)])
def test_tolerance(host_baud, arrives):
    """Up to 3 % apart everything arrives, beyond it nothing as it was, both ways, and as many bytes."""
    uart, text = Uart(), b"I (300) cpu_start: Pro cpu up" * 10

    for arrived in (uart.to_host(text, host_baud), uart.to_chip(text, host_baud, finds_baud=False)):
        assert (arrived == text) == arrives
        assert len(arrived) == len(text)
        assert arrives or all(a != b for a, b in zip(arrived, text, strict=True))


def test_ports_without_baud_rates():
    """Nothing is garbled on them."""
    uart = Uart()
    uart.baud = 921600

    assert uart.to_host(b"abc", None) == uart.to_chip(b"abc", None, finds_baud=True) == b"abc"
    assert uart.baud == 921600


def test_check_can_be_left_out():
    """Then everything arrives."""
    assert Uart(checks_baud=False).to_host(b"abc", 9600) == b"abc"


def test_rom_finds_the_baud_rate():
    """It takes it over from a SYNC, also from one in pieces; a stub does not."""
    uart = Uart()
    uart.to_chip(SYNC_PATTERN, 460800, finds_baud=False)
    assert uart.baud == BOOT_BAUD

    uart.to_chip(b"\xc0\0\x08" + SYNC_PATTERN[:3], 460800, finds_baud=True)
    assert uart.baud == BOOT_BAUD
    uart.to_chip(SYNC_PATTERN[3:], 460800, finds_baud=True)
    assert uart.baud == 460800


def test_reset():
    """The chip begins at 115,200 again, and what was half a SYNC is none any more."""
    uart = Uart()
    uart.baud = 9600
    uart.to_chip(SYNC_PATTERN[:3], 460800, finds_baud=True)
    uart.reset()
    uart.to_chip(SYNC_PATTERN[3:], 460800, finds_baud=True)

    assert uart.baud == BOOT_BAUD


def test_noise():
    """One byte in so many, on average, and the same ones for the same seed; 0 ends it."""
    uart, text = Uart(), b"\x55" * 10_000
    uart.add_noise(100, seed=1)
    first = uart.to_host(text, BOOT_BAUD)
    uart.add_noise(100, seed=1)
    second = uart.to_chip(text, BOOT_BAUD, finds_baud=False)

    assert first == second
    assert 50 < sum(byte != 0x55 for byte in first) < 200
    uart.add_noise(0, seed=0)
    assert uart.to_host(text, BOOT_BAUD) == text
