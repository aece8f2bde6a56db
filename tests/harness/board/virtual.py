"""Virtual boards whose firmware only says that it runs: for what is about silicon and tools."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig
from harness.virtual.board import VirtualBoard
from harness.virtual.machine import Machine, ResetCause

MAC = "02:00:00:00:00:01"
BOOTED = b"rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\r\nI (31) cpu_start: Project name: gateway_device\r\n"


class Talks:
    """What runs: says something once, and nothing more."""

    says = BOOTED

    def __init__(self, machine: Machine, _: ResetCause) -> None:
        machine.uart_send(self.says)

    def boot_button(self, pressed: bool) -> None:
        """Nothing."""

    def uart_received(self, data: bytes) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing runs."""


@contextlib.contextmanager
def board(chip: str = "esp32s3", boot: type = Talks, **how: object) -> Iterator[tuple[VirtualBoard, BoardConfig]]:
    """Switch one on, and give what a bench file says of it."""
    with VirtualBoard(chip, boot=boot, mac=bytes.fromhex(MAC.replace(":", "")), **how) as virtual:  # type: ignore[arg-type]
        url = virtual.rfc2217().url
        virtual.power_on()
        console, flash = ConsoleConfig(url=url), FlashConfig()
        yield virtual, BoardConfig("bench-1", virtual.chip.name, MAC, console, flash, virtual=True)
