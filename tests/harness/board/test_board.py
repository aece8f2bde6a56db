"""The whole path on virtual boards: flash, settings, boot, online; what is not done twice; whose fault what is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.config import Config, ServerConfig
from harness.bench.bench_file import BoardConfig, ConsoleConfig
from harness.blocking import LoopThread
from harness.board import board as module
from harness.board.board import Board
from harness.board.errors import BoardCrashed, BringUpFailed, LineMissing, NoLines
from harness.board.flash_plan import planned
from harness.board.provisioning import Values, device_settings, settings_image
from harness.errors import CannotConnect
from harness.firmware.build import Build
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import make_build
from harness.records import FramePassed, Happened
from harness.virtual.access_point import AccessPoint
from harness.virtual.board import VirtualBoard
from harness.virtual.boot import Booting
from tests.harness.board.serial_server import SOON, SerialServer
from tests.harness.board.virtual import MAC, Talks, board

SSID, PASSWORD = "lab", "correct horse"
BOOTS = 8.0


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build of the default firmware."""
    return make_build(tmp_path / "build", CHIPS["esp32c3"])


@pytest.fixture
def ota_url(tmp_path: Path) -> Iterator[str]:
    """The OTA endpoint of a gateway."""
    server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path / "gateway"))
    with LoopThread() as loop:
        gateway = loop.call(lambda: Gateway(Config(server=server)))
        loop.run(gateway.start())
        yield f"{gateway.http_url}/xiaozhi/ota/"
        loop.run(gateway.stop())


@contextlib.contextmanager
def virtual(access_point: AccessPoint | None = None) -> Iterator[tuple[VirtualBoard, BoardConfig, Booting]]:
    """A virtual board with firmware on it, and with Wi-Fi."""
    booting = Booting(access_point or AccessPoint(SSID, PASSWORD))
    with contextlib.closing(booting), board("esp32c3", booting) as (silicon, config):  # type: ignore[arg-type]
        yield silicon, config, booting


def preload(silicon: VirtualBoard, build: Build, settings: Values | None = None) -> None:
    """Have a build on the flash without esptool, whose runs take their time."""
    nvs = settings_image(settings, build.table) if settings else None
    for part in planned(build, nvs):
        silicon.flash.program(part.offset, part.data)


def test_whole_path(build: Build, ota_url: str, tmp_path: Path):
    """Off to online, its steps recorded and noted; again, no part of the build is written; the password is nowhere."""
    told: list[Happened | FramePassed] = []
    log = tmp_path / "log"
    settings = device_settings(SSID, PASSWORD, ota_url=ota_url)
    with virtual() as (_silicon, config, _):
        one = Board(config, build=build, settings=settings, memory=tmp_path / "memory", log=log, watch=told.append)
        with one:
            records = one.up()
            assert [record.stage for record in records] == ["flashed", "provisioned", "booted", "online"]
            assert all(record.outcome == "reached" for record in records)
            assert one.flashed is not None
            assert len(one.flashed.written) == 4
            assert one.up() == ()
            assert one.bring_up.stage == "online"

            one.up(fresh=True)
            assert one.flashed.written == ()

            one.change(settings=device_settings(SSID, PASSWORD, ota_url=ota_url, more={"board": {"uuid": "1-2"}}))
            (record,) = one.up("provisioned")
            assert record.what.startswith("settings written")
            assert [record.stage for record in one.up()] == ["booted", "online"]
    assert [happened.what for happened in told if isinstance(happened, Happened)][:2] == [
        str(records[0]),
        str(records[1]),
    ]
    assert "Session ID" in log.read_text()
    assert PASSWORD not in log.read_text()


def test_power_cut_and_recovery(build: Build, ota_url: str, tmp_path: Path):
    """Power that is cut in the middle of a flash write is the rig's fault, told to all; flashed afresh it is online."""
    settings = device_settings(SSID, PASSWORD, ota_url=ota_url)
    large = make_build(tmp_path / "large", CHIPS["esp32c3"], least_bytes=1 << 17)
    with virtual() as (silicon, config, _), Board(config, build=large, settings=settings) as one:
        silicon.cut_power_after(100_000)
        with pytest.raises(BringUpFailed, match=r"could not be flashed \(rig\)") as caught:
            one.up()
        with pytest.raises(BringUpFailed, match="it is not tried again"):
            one.up()
        assert caught.value.stage == "flashed"
        silicon.power_on()
        one.up(fresh=True)
        assert one.flashed is not None
        assert one.flashed.written


def test_wrong_password(build: Build, ota_url: str, tmp_path: Path):
    """A wrong Wi-Fi password is the network's fault; with the right one, only the settings are written."""
    wrong = device_settings(SSID, "not the password", ota_url=ota_url)
    with virtual() as (silicon, config, _):
        preload(silicon, build, wrong)
        with Board(config, online_seconds=1.0) as one:
            with pytest.raises(BringUpFailed, match=r"could not be online \(network\): it could not join the Wi-Fi"):
                one.up()
            one.change(settings=device_settings(SSID, PASSWORD, ota_url=ota_url))
            records = one.up()
            assert [record.stage for record in records] == ["provisioned", "booted", "online"]
            assert records[0].what.startswith("settings written")


def test_gateway_that_is_not_there(build: Build):
    """A gateway that nobody can reach is the gateway's fault."""
    settings = device_settings(SSID, PASSWORD, ota_url="http://127.0.0.1:1/xiaozhi/ota/")
    with virtual() as (silicon, config, _):
        preload(silicon, build, settings)
        one = Board(config, online_seconds=1.0)
        with one, pytest.raises(BringUpFailed, match=r"could not be online \(gateway\)"):
            one.up()


def test_boot_loop(tmp_path: Path):
    """Firmware that starts again and again is the firmware's fault, and is seen before the time is over."""
    build = make_build(tmp_path, CHIPS["esp32c3"], program="import sys\nprint('I (1) app: hello')\nsys.exit(3)\n")
    with virtual() as (silicon, config, _):
        preload(silicon, build)
        one = Board(config, online_seconds=30.0)
        began = time.monotonic()
        with one, pytest.raises(BringUpFailed, match=r"bench-1 could not be online \(firmware\)"):
            one.up()
        assert time.monotonic() - began < 20


def test_starts_again_and_again():
    """A chip that is reset again and again without a crash is seen to be, long before the time is over."""
    with SerialServer() as server:
        config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(url=server.url))
        start = b"rst:0x3 (RTC_SW_SYS_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)\n"
        with Board(config, boot_seconds=30.0) as one:
            threading.Timer(0.2, lambda: server.say(start * 3)).start()
            began = time.monotonic()
            with pytest.raises(BringUpFailed, match=r"\(firmware\): it starts again and again: 3 times"):
                one.up()
            assert time.monotonic() - began < SOON


def test_reset_after_a_crash():
    """A crash from before a reset is not told to who waits after it."""
    with SerialServer() as server:
        config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(url=server.url))
        with Board(config) as one:
            server.say(b"abort() was called at PC 0x42007f0a on core 0\nRebooting...\nrst:0x3 (SW),boot:0x8 (SPI)\n")
            with pytest.raises(BoardCrashed):
                one.console.expect("never", SOON)
            one.reset()
            server.say(b"hello\n")
            assert one.console.expect("hello", SOON)


def test_vanished_port(build: Build):
    """A port that vanishes while the board boots is the rig's fault."""
    with SerialServer() as server:
        config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(url=server.url))
        with Board(config, boot_seconds=0.5) as one:
            threading.Timer(0.2, server.hang_up).start()
            with pytest.raises(BringUpFailed, match=r"could not be booted \(rig\): .*not there all the time"):
                one.up()


class Quiet(Talks):
    """Firmware that says nothing."""

    says = b""


def test_says_nothing():
    """A board that says nothing at all is the rig's fault; nothing to flash and no settings are no fault."""
    with board(boot=Quiet) as (_, config), Board(config, boot_seconds=0.3) as one:
        with pytest.raises(BringUpFailed, match=r"\(rig\): it said nothing after a reset") as caught:
            one.up()
        assert [record.what for record in one.bring_up.records[:2]] == [
            "what is on it stays",
            "what is in its NVS stays",
        ]
        assert caught.value.stage == "booted"
        assert isinstance(caught.value.__cause__, LineMissing)


def test_crash_while_waiting(build: Build, ota_url: str):
    """A crash of the firmware ends a test that waits at once, and is told to the timeline."""
    told: list[Happened | FramePassed] = []
    settings = device_settings(SSID, PASSWORD, ota_url=ota_url)
    with virtual() as (silicon, config, booting):
        preload(silicon, build, settings)
        with Board(config, watch=told.append) as one:
            one.up()
            threading.Timer(0.05, lambda: booting.misbehave("panic")).start()
            with pytest.raises(BoardCrashed, match=r"bench-1 crashed \(firmware\)"):
                one.console.expect("never", 30)
        assert any("crashed" in happened.what for happened in told if isinstance(happened, Happened))


def test_online_by_another_way():
    """Who knows better than the console whether it is online says so, and is believed when it says no."""
    waited: list[float] = []

    def await_online(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            raise CannotConnect("ws://x", "nobody came")

    with board() as (_, config), Board(config, await_online=await_online, online_seconds=7.0) as one:
        with pytest.raises(BringUpFailed, match="nobody came"):
            one.up()
        one.change()
        one.up()
    assert waited == [7.0, 7.0]


def test_power(monkeypatch: pytest.MonkeyPatch):
    """A board that was switched off is switched on before it boots; one that is silent is seen to be."""
    monkeypatch.setattr(module, "SILENCE", 0.1)
    with board() as (silicon, config), Board(config) as one:
        switched: list[bool] = []
        one.power = Supply(silicon, switched)  # type: ignore[assignment]
        one.up("booted")
        one.power_off()
        assert (one.bring_up.stage, one.is_silent()) == ("provisioned", True)
        one.up("booted")
        assert switched == [False, True]


class Supply:
    """The supply of a virtual board in this process."""

    kind = "virtual"
    trusted = True

    def __init__(self, silicon: VirtualBoard, switched: list[bool]) -> None:
        self._silicon, self._switched = silicon, switched

    def off(self) -> None:
        """Switch it off."""
        self._switched.append(False)
        self._silicon.power_off()

    def on(self) -> None:
        """Switch it on."""
        self._switched.append(True)
        self._silicon.power_on()

    def cycle(self) -> None:
        """Both."""
        self.off()
        self.on()


def test_without_lines():
    """A board without reset lines is reset by its supply; one without either cannot be, and is taken as it is."""
    with SerialServer(raw=True) as server:
        config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(url=server.url))
        with Board(config, boot_seconds=SOON) as one:
            assert not one.can_reset
            with pytest.raises(NoLines, match="expected bench-1 to have reset lines or a supply"):
                one.reset()
            threading.Timer(0.05, lambda: server.say(b"I (31) main_task: Calling app_main()\n")).start()
            one.up("booted")
            switched: list[bool] = []
            silicon = VirtualBoard("esp32c3", boot=Talks)  # type: ignore[arg-type]
            with silicon:
                one.power = Supply(silicon, switched)  # type: ignore[assignment]
                one.reset()
        assert switched == [False, True]


def test_talks_while_it_is_off():
    """A board that goes on talking is not silent."""
    with SerialServer(raw=True) as server:
        config = BoardConfig("bench-1", "esp32c3", MAC, ConsoleConfig(url=server.url))
        with Board(config) as one:
            threading.Timer(0.05, lambda: server.say(b"I am alive\n")).start()
            assert not one.is_silent()
