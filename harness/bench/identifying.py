"""Asks a chip who it is, by esptool: kind, MAC, flash, PSRAM. Each time the chip is reset, twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig
from harness.board import esptool
from harness.board.serial_ports import at_usb_location
from harness.errors import Misuse
from harness.firmware.chips import ChipName, chip_named

_MEBIBYTE = 1 << 20
_PSRAM = re.compile(r"PSRAM (\d+)MB")


class Identity(msgspec.Struct, frozen=True):
    """What a chip says of itself.

    Attributes:
        chip: its kind.
        mac: lower case, with colons.
        flash: MiB of flash; 0: it could not be told.
        psram: MiB of PSRAM in its package; 0: none there, which says nothing of one beside it.
    """

    chip: ChipName
    mac: str
    flash: int = 0
    psram: int = 0


Identify: TypeAlias = Callable[[esptool.Call], Identity]


def identify(call: esptool.Call) -> Identity:
    """Ask the chip at a port.

    Raises:
        FlashFailed, PortFailed: why it cannot be asked.
        Misuse: it is none of the supported kinds.
    """
    said = esptool.run(call, ["flash-id"], doing=f"identify the chip at {call.port}", seconds=esptool.IDENTIFY)
    return Identity(chip_named(said.chip).name, said.mac, said.flash_size // _MEBIBYTE, _psram(said.lines))


def _psram(lines: Sequence[str]) -> int:
    features = next((line for line in lines if line.startswith("Features:")), "")
    found = _PSRAM.search(features)
    return int(found[1]) if found else 0


def console_port(console: ConsoleConfig | FlashConfig) -> str:
    """Return the path or URL by which a port is opened now.

    Raises:
        PortMissing: nothing is in its USB socket.
        Misuse: it says nowhere where it is.
    """
    if console.usb_location:
        return at_usb_location(console.usb_location)
    port = console.device or getattr(console, "url", "")
    if not port:
        raise Misuse("expected a url, a usb_location or a device of a port; the bench file has none")
    return port


def call_for(board: BoardConfig) -> esptool.Call:
    """Say how esptool reaches a board, whoever it may be.

    Raises:
        PortMissing: nothing is in its USB socket.
    """
    flash = board.flash
    return esptool.Call(
        port=console_port(flash if flash.via == "usb" else board.console),
        baud=flash.baud,
        before="no-reset" if flash.reset == "none" else "usb-reset" if flash.reset == "usb" else "default-reset",
        after="no-reset" if flash.reset == "none" else "hard-reset",
        sequence=flash.reset.removeprefix("custom:") if flash.reset.startswith("custom:") else "",
    )
