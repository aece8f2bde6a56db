"""The device program that the documentation shows, on a board, with a real gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.config import Config, ServerConfig
from harness.firmware import nvs
from harness.virtual.access_point import AccessPoint
from harness.virtual.boot import Booting
from tests.harness.fakes.conftest import Watched
from tests.harness.virtual.flashed import NVS, flashed
from tests.harness.virtual.memory import TestMachine

MAIN = Path(__file__).parents[2] / "examples" / "device_program.py"


async def test_main(tmp_path: Path):
    """Flashed as main.py into a littlefs, it runs, keeps a number in NVS, and restarts when told to."""
    server = ServerConfig(host=["127.0.0.1"], ws_port=0, http_port=0, state_dir=str(tmp_path))
    booting = Booting(AccessPoint("lab", "secret12"), silence_seconds=0.0)
    async with Watched(Config(server=server)) as gateway:
        where = gateway.http_url.removeprefix("http://").encode()
        flash = flashed(files={"main.py": MAIN.read_bytes()}, nvs={"app": {"gateway": where}})
        for start in (1, 2):
            machine = TestMachine(flash=flash)
            running = booting(machine, "power_on")
            try:
                said = await asyncio.to_thread(machine.wait_for, "is answered b'")
                running.uart_received(b"other\r\nrestart\r\n")
                assert await asyncio.to_thread(machine.wait_for_restart) == "software"
            finally:
                await asyncio.to_thread(running.stop)
            assert f"start {start} of 0253450000a1 is answered b'HTTP/1.1 200 OK'" in said
    booting.close()

    assert nvs.read(flash.read(NVS.offset, NVS.size))["app"]["starts"] == 2
