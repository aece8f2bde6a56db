"""Flashing with the real esptool: what is written, what is not, what is refused, and what is left after a power cut."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from harness.bench.bench_file import BoardConfig, ConsoleConfig, FlashConfig
from harness.board import esptool
from harness.board import flasher as flasher_module
from harness.board.console import Console
from harness.board.errors import FlashTimeout, PortVanished, WrongBoard, WrongChip
from harness.board.esptool import Call
from harness.board.esptool_output import Transcript
from harness.board.flash_plan import Planned, planned
from harness.board.flasher import Flasher
from harness.board.last_written import LastWritten
from harness.board.reset_lines import ResetLines
from harness.firmware.build import Build
from harness.firmware.chips import CHIPS
from harness.firmware.errors import Unfit
from harness.firmware.made_builds import make_build
from harness.virtual.board import VirtualBoard
from tests.harness.board.serial_server import SOON
from tests.harness.board.virtual import MAC, board

SETTINGS = Planned(0x9000, b"\x01" * 0x4000, "nvs", "settings")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build of some size."""
    return make_build(tmp_path / "build", CHIPS["esp32s3"], least_bytes=1 << 17)


@contextlib.contextmanager
def flashing(memory: Path | None = None, **how: object) -> Iterator[tuple[VirtualBoard, Console, Flasher]]:
    """A board, its console, and a flasher that leaves it in its boot loader."""
    with board(**how) as (virtual, config), Console("bench-1", config.console.url) as console:  # type: ignore[arg-type]
        lines = ResetLines("bench-1", console)
        yield virtual, console, Flasher(config, paused=console.paused, lines=lines, stays=lambda: True, memory=memory)


def on(virtual: VirtualBoard, build: Build) -> bool:
    """Whether a build is on a board, but for the otadata that is written as its boot loader leaves it."""
    return all(
        virtual.flash.read(part.offset, len(part.data)) == part.data for part in build.parts if part.label != "otadata"
    )


def test_flashed_and_flashed_again(build: Build, tmp_path: Path):
    """A build and settings are written in one run; again, nothing is; of another version, what differs."""
    with flashing(tmp_path / "memory") as (virtual, console, flasher):
        first = flasher.flash(build, SETTINGS)
        assert on(virtual, build)
        assert virtual.flash.read(0x9000, 0x4000) == SETTINGS.data
        assert [part.name for part in first.written] == ["bootloader.bin", "partition-table.bin", "otadata", "ota_0"]
        assert (first.settings_written, first.mac, first.flash_size) == (True, MAC, 4 << 20)

        second = flasher.flash(build, SETTINGS)
        assert (second.written, second.settings_written, second.bytes_written) == ((), False, 0)

        other = make_build(tmp_path / "other", CHIPS["esp32s3"], least_bytes=1 << 17, version="2.0.0")
        third = flasher.flash(other)
        assert on(virtual, other)
        assert [part.name for part in third.written] == ["ota_0"]
        assert 0 < third.bytes_written < len(other.application.data) / 2
        assert virtual.flash.read(0x9000, 0x4000) == SETTINGS.data
    gaps = [line.text for line in console.lines() if line.kind == "gap"]
    assert [gap for gap in gaps if gap.startswith("paused")] == [
        "paused: who it is",
        *["paused: esptool write-flash"] * 3,
    ]


def test_changed_behind_our_back(build: Build, tmp_path: Path):
    """What was changed by somebody else is found, when the same is flashed, and when what differs is."""
    with flashing(tmp_path / "memory") as (virtual, _, flasher):
        parts = planned(build)
        LastWritten(tmp_path / "memory", MAC).remember(4 << 20, {part.offset: part.data for part in parts})
        for part in parts:
            virtual.flash.program(part.offset, part.data)
        damaged = build.application.offset + 0x4000
        virtual.flash.erase(damaged, 0x1000)
        assert [part.name for part in flasher.flash(build).written] == ["ota_0"]
        assert on(virtual, build)

        virtual.flash.erase(damaged, 0x1000)
        other = make_build(tmp_path / "other", CHIPS["esp32s3"], least_bytes=1 << 17, version="2.0.0")
        flasher.flash(other)
        assert on(virtual, other)
        assert any("Reflashing the whole image" in line for line in flasher.transcript.lines)


def test_another_board(build: Build):
    """A board with another MAC is not written to, and is let go on with what it did."""
    with board() as (virtual, config), Console("bench-1", config.console.url) as console:
        other = msgspec.structs.replace(config, mac="02:00:00:00:00:02")
        flasher = Flasher(other, paused=console.paused, lines=ResetLines("bench-1", console))
        before = console.position
        with pytest.raises(WrongBoard, match=f"its MAC is {MAC}, expected 02:00:00:00:00:02"):
            flasher.flash(build)
        console.expect("cpu_start", SOON, since=before)
        assert virtual.flash.read(0, 4) == b"\xff" * 4
        wrong = Flasher(msgspec.structs.replace(other, chip="esp32c3"), paused=console.paused)
        with pytest.raises(WrongChip, match="This chip is ESP32-S3, not ESP32-C3"):
            wrong.identify()


def test_another_board_that_cannot_be_let_go(monkeypatch: pytest.MonkeyPatch):
    """That it is another board is told, and not that it cannot be reset."""

    def wrong(*_: object, **__: object) -> None:
        raise WrongBoard("identify", "its MAC is another")

    def gone() -> None:
        raise PortVanished("rfc2217://rig:4001", "unplugged")

    monkeypatch.setattr(flasher_module, "ask", wrong)
    lines = SimpleNamespace(can_reset=True, reset=gone)
    config = BoardConfig("b1", "esp32s3", MAC, ConsoleConfig(url="rfc2217://127.0.0.1:1"))
    with pytest.raises(WrongBoard):
        Flasher(config, lines=lines).identify()  # type: ignore[arg-type]


def test_unfit(tmp_path: Path):
    """A build for another chip is refused before its parts are written, in words."""
    with flashing() as (virtual, _, flasher):
        with pytest.raises(Unfit, match="it is for esp32, the board has esp32s3"):
            flasher.flash(make_build(tmp_path, CHIPS["esp32"]))
        assert virtual.flash.read(0, 4) == b"\xff" * 4


def test_read_and_erased(build: Build):
    """Flash can be read; once it is erased nothing is left of it, and the board is reset where it is not to stay."""
    with board() as (virtual, config), Console("bench-1", config.console.url) as console:
        flasher = Flasher(config, paused=console.paused)
        virtual.flash.program(0x8000, b"hello")
        assert flasher.read(0x8000, 8) == b"hello\xff\xff\xff"
        flasher.erase()
        assert virtual.flash.read(0x8000, 5) == b"\xff" * 5


class Recorded:
    """What esptool would have been called with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> None:
        self.calls: list[tuple[Call, list[str], float]] = []
        self.modes: list[int] = []
        self.folder = Path()
        self._fails = fails
        monkeypatch.setattr(esptool, "run", self)

    def __call__(self, call: Call, command: list[str], *, seconds: float, **_: object) -> Transcript:
        """Note it, and look at the files."""
        self.calls.append((call, command, seconds))
        for name in command:
            if name.endswith(".bin"):
                self.folder = Path(name).parent
                self.modes += [stat.S_IMODE(Path(place).stat().st_mode) for place in (name, self.folder)]
        if self._fails:
            raise self._fails
        return Transcript()


@pytest.mark.parametrize(
    ("reset", "stays", "before", "after", "sequence"),
    [
        ("classic", True, "default-reset", "no-reset", ""),
        ("classic", False, "default-reset", "hard-reset", ""),
        ("usb", False, "usb-reset", "hard-reset", ""),
        ("none", False, "no-reset", "no-reset", ""),
        ("custom:D1|W2|D0", True, "default-reset", "no-reset", "D1|W2|D0"),
    ],
)
def test_how_it_is_called(
    monkeypatch: pytest.MonkeyPatch, reset: str, stays: bool, before: str, after: str, sequence: str
):
    """Esptool is called as the bench file says."""
    recorded = Recorded(monkeypatch)
    console, flash = ConsoleConfig(device="/dev/x", baud=57600), FlashConfig(reset=reset)
    config = BoardConfig("bench-1", "esp32c3", "02-00-00-00-00-0A", console, flash)
    Flasher(config, stays=lambda: stays).write_settings(SETTINGS)

    ((call, command, _),) = recorded.calls
    assert call == Call("/dev/x", "esp32c3", 921600, before, after, sequence, "02:00:00:00:00:0a")  # type: ignore[arg-type]
    assert command[:2] == ["write-flash", "0x9000"]


def test_secrets(monkeypatch: pytest.MonkeyPatch):
    """Settings are in a file that only this user can read, and that is gone afterwards, however it went."""
    config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(device="/dev/x"))
    for fails in (None, FlashTimeout("write", "it took too long")):
        recorded = Recorded(monkeypatch, fails)
        with contextlib.suppress(FlashTimeout):
            Flasher(config).write_settings(SETTINGS)
        assert recorded.modes == [0o600, 0o700]
        assert not recorded.folder.exists()


def test_watchdog(monkeypatch: pytest.MonkeyPatch):
    """The chip's own watchdog can be asked for a reset."""
    recorded = Recorded(monkeypatch)
    config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(device="/dev/x"))
    Flasher(config).watchdog_reset()
    assert (recorded.calls[0][0].after, recorded.calls[0][1]) == ("watchdog-reset", ["read-mac"])


def test_time(monkeypatch: pytest.MonkeyPatch):
    """A write has the time that its bytes take, or what it is given, whichever is less."""
    recorded = Recorded(monkeypatch)
    flasher = Flasher(BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(device="/dev/x")))
    flasher.write_settings(SETTINGS)
    flasher.write_settings(SETTINGS, within=7.0)
    assert [seconds for _, _, seconds in recorded.calls] == [esptool.write_seconds(0x4000, 921600), 7.0]
