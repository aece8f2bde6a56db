"""What esptool can do with a virtual board: one table, which the tests run and the documentation shows."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import harness
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.image import Segment
from harness.firmware.image_writer import image_file
from harness.virtual import events
from harness.virtual.board import VirtualBoard
from harness.virtual.events import Recorder
from harness.virtual.flash import SECTOR
from tests.harness.virtual.idle import Boots

Loader = Literal["stub", "ROM"]

AT = 0x10000
"""Where on the flash things are written."""
PAYLOAD = random.Random(1).randbytes(20_000) + bytes(10_000)
"""Half of it can be compressed, and its end is in the middle of a sector."""
CHANGED = PAYLOAD[:6000] + b"changed" + PAYLOAD[6007:]
SECONDS = 40.0
"""For one run of esptool; it gives up sooner where nobody answers."""


@dataclass
class Case:
    """One operation on a board of its own."""

    chip: ChipName
    loader: Loader
    folder: Path
    seen: Recorder = field(default_factory=Recorder)
    boots: Boots = field(default_factory=Boots)

    def __post_init__(self) -> None:
        """Make the board, without power, and files for esptool."""
        self.board = VirtualBoard(self.chip, boot=self.boots, watch=self.seen, flash_size=4 << 20)
        self.path("payload").write_bytes(PAYLOAD)
        self.path("changed").write_bytes(CHANGED)
        self.path("ram").write_bytes(ram_program(self.chip))

    def path(self, name: str) -> Path:
        """A file of this case."""
        return self.folder / name

    def flashed(self, size: int = len(PAYLOAD)) -> bytes:
        """What is on the flash where things are written."""
        return self.board.flash.read(AT, size)

    def resets(self) -> list[tuple[str, bool]]:
        """Cause and mode of each reset so far."""
        return [(reset.cause, reset.download) for reset in self.seen.of(events.Reset)]


Check = Callable[[Case, str], None]


def nothing(_: Case) -> None:
    """Prepare nothing."""


def put(content: bytes) -> Callable[[Case], None]:
    """Have something on the flash already, and zeros around it."""

    def prepare(case: Case) -> None:
        case.board.flash.program(AT - SECTOR, bytes(3 * SECTOR + len(PAYLOAD)))
        case.board.flash.erase(AT, len(PAYLOAD) // SECTOR * SECTOR + SECTOR)
        case.board.flash.program(AT, content)
        case.seen.clear()

    return prepare


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Attributes:
        command: as it is typed, without port; names in braces are files of the case.
        what: for the documentation.
        check: what must be true after it, given the case and what esptool printed.
        prepare: what must be true before it.
        refused: where it is not there, by chip or loader: what the documentation says, and the pattern of what esptool
            must say when it fails.
        download: the board is in download mode before it.
    """

    command: str
    what: str
    check: Check
    prepare: Callable[[Case], None] = nothing
    refused: dict[str, tuple[str, str]] = field(default_factory=dict)
    download: bool = False

    def refusal(self, chip: str, loader: str) -> tuple[str, str] | None:
        """What the documentation says of a combination where it is not there, and what esptool prints; None: it is."""
        return self.refused.get(chip) or self.refused.get(loader)

    def cell(self, chip: str, loader: str) -> str:
        """What the documentation shows of a combination."""
        refusal = self.refusal(chip, loader)
        return refusal[0] if refusal else "yes"

    def run(self, case: Case) -> None:
        """Run it with esptool and check what came of it."""
        self.prepare(case)
        with case.board as board:
            port = board.rfc2217()
            board.power_on(download=self.download)
            no_stub = ["--no-stub"] if case.loader == "ROM" else []
            files = {name: str(case.path(name)) for name in ("payload", "changed", "ram", "out")}
            files["efuses"] = hex(_EFUSES[case.chip])
            arguments = [part.format(**files) for part in self.command.split()]
            code, said = esptool(port.url, [*no_stub, *arguments], case.folder)
            refusal = self.refusal(case.chip, case.loader)
            assert (code != 0) == bool(refusal), said
            if refusal:
                assert re.search(refusal[1], said), said
            else:
                self.check(case, said)
            assert refusal or _asked_only_for_what_is_known(case), case.seen.of(events.UnknownCommand)


def _asked_only_for_what_is_known(case: Case) -> bool:
    # every esptool asks every chip for its security info: that is how it tells the newer ones
    unknown = [event.op for event in case.seen.of(events.UnknownCommand)]
    return all(case.chip == "esp32" and op == 0x14 for op in unknown)


def esptool(url: str, arguments: list[str], folder: Path, *, plain: bool = False) -> tuple[int, str]:
    """Run the unmodified esptool in a process of its own; return exit code and what it printed.

    Its serial ports are pyserial's: with ``plain`` as they are, else with our client for rfc2217 in their place.
    """
    launcher = ["-m", "esptool"] if plain else ["-m", "harness.board.fast_rfc2217", "esptool"]
    command = [sys.executable, "-P", *launcher, "--port", url, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ESPTOOL", "PYTHON", "COV_"))}
    env = {**clean, "PYTHONPATH": str(Path(harness.__file__).parents[1]), "NO_COLOR": "1", "COLUMNS": "200"}
    ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def ram_program(chip: ChipName) -> bytes:
    """An image of a program for RAM."""
    start = {"esp32": 0x40080000, "esp32s3": 0x40374000, "esp32c3": 0x4037C000}[chip]
    return image_file(CHIPS[chip], start, [Segment(start, bytes(range(64)))], flash_size=4 << 20)


# --- checks -----------------------------------------------------------------------------------------------------


def says(*texts: str) -> Check:
    """Esptool prints these, with the chip's title, its MAC and its files in their places."""

    def check(case: Case, said: str) -> None:
        words = {"title": CHIPS[case.chip].title, "mac": case.board.mac.hex(":"), "out": case.path("out")}
        for text in texts:
            assert re.search(text.format(**words), said), f"{text!r} is not in:\n{said}"

    return check


def wrote(content: bytes) -> Check:
    """It is on the flash, checked by esptool, what stood around it still does, and the board runs again."""

    def check(case: Case, said: str) -> None:
        assert "Hash of data verified." in said, said
        assert case.flashed() == content
        ends_running(case, said)

    return check


def ends_running(case: Case, said: str) -> None:
    """Esptool resets the board at its end, by EN."""
    assert "Hard resetting via RTS pin" in said, said
    assert case.resets()[-2:] == [("power_on", True), ("power_on", False)]


def reset_by_watchdog(case: Case, said: str) -> None:
    """The chip resets itself; where esptool cannot do so, it takes the RTS pin."""
    case.seen.wait_for(events.Reset, 3)
    wanted = "power_on" if case.chip == "esp32" else "rtc_watchdog"
    assert case.resets()[-1] == (wanted, False), said


def read_back(case: Case, said: str) -> None:
    """The file has what is on the flash."""
    assert case.path("out").read_bytes() == PAYLOAD[:8192], said


def erased(first: int, behind: int) -> Check:
    """This is erased, and no more."""

    def check(case: Case, said: str) -> None:
        assert case.board.flash.read(AT + first, behind - first) == b"\xff" * (behind - first), said
        assert case.board.flash.read(AT + first - 1, 1) != b"\xff"
        assert case.flashed()[behind:] == PAYLOAD[behind:]

    return check


def all_erased(case: Case, said: str) -> None:
    """Nothing is left."""
    assert case.board.flash.read(0, case.board.flash.size).count(b"\xff") == case.board.flash.size, said


def wrote_nothing(case: Case, said: str) -> None:
    """The digest was right already."""
    assert re.search("[Ss]kipping", said), said
    assert case.seen.of(events.FlashErased) == case.seen.of(events.FlashWritten) == []


def wrote_one_sector(case: Case, said: str) -> None:
    """Only what differs was written, and the whole was checked."""
    assert "Hash of data verified." in said, said
    assert case.flashed() == CHANGED
    touched = {event.address // SECTOR for event in case.seen.of(events.FlashWritten)}
    assert touched == {(AT + 6000) // SECTOR}


def ran(case: Case, said: str) -> None:
    """The ROM leaves download mode by itself; from the stub only the reset at the end of esptool does."""
    assert (("software", False) in case.resets()) == (case.loader == "ROM"), said
    assert case.resets()[-1] == ("power_on", False)


def changed_baud(case: Case, said: str) -> None:
    """Everything arrives at the new rate, too."""
    says("Changing baud rate to 921600", "Changed", "Detected flash size: 4MB")(case, said)


def dumped_memory(case: Case, said: str) -> None:
    """What stands in the eFuses is the MAC."""
    del said
    words = case.path("out").read_bytes()
    assert case.board.mac[2:][::-1] in words


def loaded_to_ram(case: Case, said: str) -> None:
    """It is accepted and entered; nothing executes it."""
    assert len(case.seen.of(events.RamAppStarted)) == 1, said


def kept_status(case: Case, said: str) -> None:
    """The register has what was written."""
    del said
    assert case.board.flash.command(0x05, 0, b"", 0) == b"\x1c"


def did_not_reset(case: Case, said: str) -> None:
    """Esptool found it in download mode, and left it there."""
    assert case.resets() == [("power_on", True)], said


_NO_ERASE = {"ROM": ("not in ROM", "does not support function erase_flash")}
_EFUSES = {"esp32": 0x3FF5A004, "esp32s3": 0x60007044, "esp32c3": 0x60008844}

OPERATIONS = (
    Operation("chip-id", "which chip it is", says(r"Chip type: +{title}", r"MAC: +{mac}")),
    Operation("read-mac", "its MAC", says(r"MAC: +{mac}")),
    Operation(
        "flash-id", "JEDEC id and size of the flash", says("Manufacturer: ef", "Device: 4016", "flash size: 4MB")
    ),
    Operation(
        "get-security-info",
        "eFuses for security, as of a new chip",
        says(r"Chip ID: \d", "Secure Boot: Disabled", "Flash Encryption: Disabled"),
        refused={"esp32": ("the chip has none", r"not implemented|command \(?0x14")},
    ),
    Operation("write-flash -z 0x10000 {payload}", "write, compressed", wrote(PAYLOAD), put(bytes(len(PAYLOAD)))),
    Operation("write-flash -u 0x10000 {payload}", "write, uncompressed", wrote(PAYLOAD), put(bytes(len(PAYLOAD)))),
    Operation(
        "write-flash --skip-flashed 0x10000 {payload}", "write only what is not there", wrote_nothing, put(PAYLOAD)
    ),
    Operation(
        "write-flash 0x10000 {changed} --diff-with {payload}",
        "write only sectors that changed",
        wrote_one_sector,
        put(PAYLOAD),
    ),
    Operation("verify-flash 0x10000 {payload}", "compare", says("(?i)verification successful"), put(PAYLOAD)),
    Operation("read-flash 0x10000 8192 {out}", "read", read_back, put(PAYLOAD)),
    Operation("erase-region 0x11000 0x2000", "erase sectors", erased(0x1000, 0x3000), put(PAYLOAD)),
    Operation("erase-flash", "erase all", all_erased, put(PAYLOAD), refused=_NO_ERASE),
    Operation("-b 921600 flash-id", "at another baud rate", changed_baud),
    Operation("read-flash-sfdp 0 4", "the flash's own parameters", says("0x53 0x46 0x44 0x50")),
    Operation("write-flash-status --bytes 1 0x1c", "status registers of the flash", kept_status),
    Operation("dump-mem {efuses} 8 {out}", "read memory into a file", dumped_memory),
    Operation("read-mem 0x40001000", "read a word", says("(?i)0x40001000 = 0x")),
    Operation("load-ram {ram}", "a program for RAM: accepted, but nothing executes it", loaded_to_ram),
    Operation("run", "leave the loader, and run what is flashed", ran),
    Operation("--after hard-reset read-mac", "reset by the RTS pin", ends_running),
    Operation("--after watchdog-reset read-mac", "reset by the chip's watchdog; ESP32: RTS pin", reset_by_watchdog),
    Operation(
        "--before no-reset --after no-reset read-mac", "a board in download mode already", did_not_reset, download=True
    ),
)

CELLS: tuple[tuple[ChipName, Loader], ...] = tuple((chip, loader) for chip in CHIPS for loader in ("stub", "ROM"))
