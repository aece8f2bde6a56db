"""Whole boards and a real gateway: from the flash to the gateway's events, through faults, updates and lost power."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import Config, HandoverConfig, OtaConfig, ServerConfig
from gateway.observe.events import DeviceOffline, DeviceOnline
from harness.firmware.otadata import OTADATA_BYTES, OtaData, OtaState
from harness.virtual.access_point import AccessPoint
from harness.virtual.board import VirtualBoard
from harness.virtual.boot import Booting
from harness.virtual.events import ClientConnected, PoweredOff, Recorder
from tests.harness.fakes.conftest import Watched
from tests.harness.virtual.flashed import OTADATA, SLOT_1, flashed, image
from tests.harness.virtual.memory import SOON
from tests.running import until

MAC = bytes.fromhex("0253450000a1")


class Console:
    """What a board says, read from a port of it."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("socket://").rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=SOON)
        self.text = ""
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        self._socket.settimeout(None)
        while data := self._socket.recv(65536):
            with self._news:
                self.text += data.decode("utf-8", "replace")
                self._news.notify_all()

    def _wait(self, text: str, count: int) -> str:
        with self._news:
            assert self._news.wait_for(lambda: self.text.count(text) >= count, SOON), self.text
            return self.text

    async def until(self, text: str, count: int = 1) -> str:
        """Wait until it was said so often."""
        return await asyncio.to_thread(self._wait, text, count)

    def close(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(SOON)
        self._socket.close()


class House:
    """A gateway, an access point, and a board that was flashed and provisioned for them."""

    def __init__(self, gateway: Watched, program: str = "#!builtin firmware") -> None:
        self.gateway = gateway
        self.point = AccessPoint("lab", "secret12")
        self.booting = Booting(self.point, silence_seconds=0.0)
        self.happened = Recorder()
        self.board = VirtualBoard("esp32s3", boot=self.booting, mac=MAC, watch=self.happened)
        wifi = {"ssid": "lab", "password": "secret12", "ota_url": f"{gateway.http_url}/xiaozhi/ota/"}
        memory = flashed(apps={"ota_0": image(program=program)}, nvs={"wifi": wifi})
        self.board.flash.program(0, memory.read(0, memory.size))
        self.console = Console(self.board.raw_tcp().url)
        self.happened.wait_for(ClientConnected)  # until then nobody hears what it says

    async def online(self, count: int = 1) -> None:
        """Wait until it has come online so often, as the gateway sees it, and has said so."""
        await until(lambda: sum(isinstance(event, DeviceOnline) for event in self.gateway.events) >= count, SOON)
        await self.console.until("WS: Session ID: ", count)

    @property
    def otadata(self) -> OtaData:
        """What stands in otadata."""
        return OtaData.parse(self.board.flash.read(OTADATA.offset, OTADATA_BYTES))

    async def aclose(self) -> None:
        """End it, the board first, as the gateway would wait for it."""
        await asyncio.to_thread(self.board.close)
        self.console.close()
        self.booting.close()


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Watched]:
    """A gateway that has images."""
    (tmp_path / "images").mkdir()
    server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
    ota = OtaConfig(image_dir=str(tmp_path / "images"))
    async with Watched(Config(server=server, handover=HandoverConfig(window=0.1), ota=ota)) as running:
        yield running


@pytest.fixture
async def house(gateway: Watched) -> AsyncIterator[House]:
    """A gateway, an access point, and a board."""
    house = House(gateway)
    yield house
    await house.aclose()


async def test_from_power_to_session(house: House):
    """A board with power comes online by itself, and says virtual; without power it is gone, and nobody is told."""
    began = time.monotonic()
    house.board.power_on()
    said = await house.console.until("WS: Session ID: ")
    took = time.monotonic() - began
    await house.online()

    assert "virtual board: flash, images, NVS and network are real" in said
    assert took < SOON / 2
    await asyncio.to_thread(house.board.power_off)
    await house.gateway.saw(DeviceOffline)


async def test_panic_and_back(house: House):
    """After a panic the ROM names a reset of the CPU, and the board comes back by itself."""
    house.board.power_on()
    await house.online()
    house.booting.misbehave("panic", kind="LoadProhibited")
    said = await house.console.until("WS: Session ID: ", count=2)

    assert said.index("panic'ed (LoadProhibited)") < said.index("rst:0xc (RTC_SW_CPU_RST)")
    assert "Saved PC:" in said


async def test_wifi_off_and_on(house: House):
    """Without its access point it falls silent; when that is back, it connects anew."""
    house.board.power_on()
    await house.online()
    house.point.switch_off()
    await house.console.until("WifiStation: WiFi disconnected, reason: 201")
    assert not [event for event in house.gateway.events if isinstance(event, DeviceOffline)]
    house.point.switch_on()
    await house.console.until("WifiStation: Got IP", count=2)
    await house.online(2)


async def test_boot_button(house: House):
    """IO0 ends the conversation, and begins another."""
    house.board.power_on()
    await house.online()
    await asyncio.to_thread(house.board.press_boot, 0.01)
    await house.gateway.saw(DeviceOffline)
    await house.console.until("State: listening -> idle")
    await asyncio.to_thread(house.board.press_boot, 0.01)
    await house.console.until("WS: Session ID: ", count=2)


async def test_update(house: House, tmp_path: Path):
    """The gateway offers a newer image; the board installs it, starts it, and keeps it."""
    new = image(version="1.1.0")
    (tmp_path / "images" / "virtual-esp32s3_1.1.0.bin").write_bytes(new)
    house.board.power_on()
    said = await house.console.until("Ota: Marking firmware as valid")
    await house.console.until("WS: Session ID: ")

    assert "Ota: Upgrading firmware from http://127.0.0.1:" in said
    assert said.index("Firmware upgrade successful, rebooting...") < said.index("App version:      1.1.0")
    assert house.board.flash.read(SLOT_1.offset, len(new)) == new
    assert (house.otadata.slot(2), house.otadata.state) == (1, OtaState.VALID)


async def test_update_that_fails(gateway: Watched, tmp_path: Path):
    """An update that crashes before it has booted is given up: the board goes back to what it had."""
    (tmp_path / "images" / "virtual-esp32s3_1.1.0.bin").write_bytes(
        image(version="1.1.0", program="#!builtin firmware panic_after_seconds=0")
    )
    house = House(gateway)
    try:
        house.board.power_on()
        await house.console.until("App version:      1.1.0")
        (tmp_path / "images" / "virtual-esp32s3_1.1.0.bin").unlink()
        said = await house.console.until("WS: Session ID: ")
    finally:
        await house.aclose()

    assert said.count("App version:      1.0.0") == 2
    assert house.otadata.slot(2) == 0
    assert OtaState.ABORTED in {entry.state for entry in house.otadata.entries if entry}


async def test_power_lost_in_an_update(house: House, tmp_path: Path):
    """Where power goes in the middle of an update, the board starts what it had, and updates anew."""
    content = image(version="1.1.0", program="#!builtin firmware".ljust(100_000))
    (tmp_path / "images" / "virtual-esp32s3_1.1.0.bin").write_bytes(content)
    # Set the first entry of otadata, write the UUID and the answer's section, then go in the middle of the image
    house.board.cut_power_after(4096 + 32 + 1000 + 60_000)
    house.board.power_on()
    await asyncio.to_thread(house.happened.wait_for, PoweredOff)
    assert b"\xff" * 1000 in house.board.flash.read(SLOT_1.offset, len(content))
    house.board.flash.cut_after(None)
    house.board.power_on()
    await house.console.until("WS: Session ID: ")

    assert house.console.text.count("Ota: Upgrading firmware") == 2
    assert house.otadata.slot(2) == 1


async def test_bad_on_purpose(gateway: Watched):
    """A build that panics after a while boots again and again."""
    house = House(gateway, "#!builtin firmware panic_after_seconds=0.05 automatic=false")
    try:
        house.board.power_on()
        await house.console.until("rst:0xc (RTC_SW_CPU_RST)", count=2)
    finally:
        await house.aclose()

    assert house.console.text.count("abort() was called at PC") >= 2
