"""The UART of a chip and the wire to it: bytes arrive as they are, or as noise where both ends differ in baud rate."""

from __future__ import annotations

import random

BOOT_BAUD = 115200
"""Of the chip after each reset (ROM of all three chips; with a crystal of 40 MHz)."""

TOLERANCE = 0.03
"""How far both ends may differ: a UART samples in the middle of a bit and is half a bit off after ten at 5 %; 2 to 3 %
is what data sheets of UARTs grant."""

SYNC_PATTERN = b"\x07\x07\x12\x20"
"""Begins the data of a SYNC command, which is made for the ROM to measure the baud rate at."""


class Uart:
    """The chip's end; each port brings the baud rate of its host along.

    Args:
        checks_baud: garble what differs in baud rate.
        seed: of the noise.

    Attributes:
        baud: of the chip.
    """

    def __init__(self, *, checks_baud: bool = True, seed: int = 0) -> None:
        self.baud = BOOT_BAUD
        self._checks_baud = checks_baud
        self._random = random.Random(seed)  # noqa: S311 - noise that is the same each time
        self._one_in = 0
        self._tail = b""

    def reset(self) -> None:
        """Go back to the baud rate after a reset."""
        self.baud = BOOT_BAUD
        self._tail = b""

    def add_noise(self, one_in: int, seed: int) -> None:
        """From now on garble one byte in so many, on average, both ways; 0: none."""
        self._one_in = one_in
        self._random.seed(seed)

    def to_host(self, data: bytes, host_baud: int | None) -> bytes:
        """Return what arrives at a host of what the chip sends; None: its port knows no baud rates."""
        return self._arriving(data, host_baud)

    def to_chip(self, data: bytes, host_baud: int | None, *, finds_baud: bool) -> bytes:
        """Return what arrives at the chip of what a host sends.

        Args:
            data: in pieces of any size.
            host_baud: None: the port knows no baud rates.
            finds_baud: the ROM listens: it takes over the host's rate when it hears a SYNC.
        """
        heard = self._tail + data
        self._tail = heard[1 - len(SYNC_PATTERN) :]
        if finds_baud and host_baud is not None and SYNC_PATTERN in heard:
            self.baud = host_baud
        return self._arriving(data, host_baud)

    def _arriving(self, data: bytes, host_baud: int | None) -> bytes:
        if self._checks_baud and host_baud is not None and abs(host_baud / self.baud - 1) > TOLERANCE:
            return bytes(byte ^ self._random.randrange(1, 256) for byte in data)
        if self._one_in:
            return bytes(byte ^ self._wrong_bits() for byte in data)
        return data

    def _wrong_bits(self) -> int:
        return 0 if self._random.randrange(self._one_in) else self._random.randrange(1, 256)
