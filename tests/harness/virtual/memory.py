"""A machine of the tests' own: flash as bytes in memory, and what was put on its UART."""

from __future__ import annotations

import threading
import time

from harness.firmware.chips import CHIPS, ChipName
from harness.virtual.machine import ResetCause

SOON = 10.0
"""Seconds for anything that happens at once, on a machine that does other things, too."""


class PowerLost(Exception):
    """Power went in the middle of a write."""


class Memory:
    """Flash: programming clears bits, erasing sets them; power can go after a number of bytes."""

    def __init__(self, size: int = 4 << 20) -> None:
        self.size = size
        self.writes = 0
        self.cut_after: int | None = None
        self._bytes = bytearray(b"\xff" * size)

    def put(self, address: int, data: bytes) -> None:
        """Write bytes as if the chip had been flashed."""
        self._bytes[address : address + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        """Return bytes."""
        if address + size > self.size:
            raise ValueError(address)
        return bytes(self._bytes[address : address + size])

    def program(self, address: int, data: bytes) -> None:
        """AND bytes into what is there."""
        whole = self._spend(len(data))
        for index, byte in enumerate(data[:whole]):
            self._bytes[address + index] &= byte
        self._end(whole, len(data))

    def erase(self, address: int, size: int) -> None:
        """Set whole sectors to FF."""
        if address % 4096 or size % 4096:
            raise ValueError(address)
        whole = self._spend(size)
        self._bytes[address : address + whole] = b"\xff" * whole
        self._end(whole, size)

    def _spend(self, size: int) -> int:
        self.writes += 1
        return size if self.cut_after is None else min(size, self.cut_after)

    def _end(self, done: int, size: int) -> None:
        if self.cut_after is not None:
            self.cut_after -= done
            if done < size:
                raise PowerLost


class TestMachine:
    """What running code sees, for tests: the UART's bytes are kept, restarts are noted."""

    __test__ = False

    def __init__(self, chip: ChipName = "esp32s3", flash: Memory | None = None) -> None:
        self.chip = CHIPS[chip]
        self.mac = bytes.fromhex("0253450000a1")
        self.flash = flash or Memory()
        self.restarts: list[ResetCause] = []
        self._said = bytearray()
        self._news = threading.Condition()

    def uart_send(self, data: bytes) -> None:
        """Keep bytes."""
        with self._news:
            self._said += data
            self._news.notify_all()

    def restart(self, cause: ResetCause) -> None:
        """Note a restart."""
        with self._news:
            self.restarts.append(cause)
            self._news.notify_all()

    @property
    def said(self) -> str:
        """All that was put on the UART."""
        with self._news:
            return self._said.decode("utf-8", "replace")

    def wait_for(self, text: str, seconds: float = SOON) -> str:
        """Wait until this stands on the UART; return all of it."""
        deadline = time.monotonic() + seconds
        with self._news:
            while text not in (said := self._said.decode("utf-8", "replace")):
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"expected {text!r} on the UART, there is:\n{said}")
        return said

    def wait_for_restart(self, seconds: float = SOON) -> ResetCause:
        """Wait until it was restarted from inside; return why."""
        deadline = time.monotonic() + seconds
        with self._news:
            while not self.restarts:
                if not self._news.wait(deadline - time.monotonic()):
                    raise AssertionError(f"expected a restart, the UART has:\n{self._said.decode()}")
            return self.restarts[0]
