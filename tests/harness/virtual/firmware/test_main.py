"""The firmware as a process: its start, its time to start, and its end."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.virtual.access_point import AccessPoint
from harness.virtual.boot import Booting
from harness.virtual.machine import Running
from tests.harness.virtual.flashed import flashed, image
from tests.harness.virtual.memory import TestMachine

WIFI = {"wifi": {"ssid": "lab", "password": "secret12", "ota_url": "http://127.0.0.1:1/ota/"}}


@pytest.fixture
def machine() -> Iterator[TestMachine]:
    """A machine with the firmware, which is started with it."""
    machine = TestMachine(flash=flashed(nvs=WIFI))
    booting = Booting(AccessPoint("lab", "secret12"), silence_seconds=0.0)
    running: Running = booting(machine, "power_on")
    yield machine
    running.stop()
    booting.close()


def test_start(machine: TestMachine):
    """It is up in less than the 0.35 s that tests with many boards can spend on it."""
    machine.wait_for("Calling app_main()")
    began = time.monotonic()
    machine.wait_for("SKU=virtual-esp32s3")
    started = time.monotonic() - began
    said = machine.wait_for("retry in 2 seconds (1/10)")

    assert started < 0.35 * 10  # the machine that tests run on has other things to do
    assert "StateMachine: State: starting -> activating" in said
    assert "Ota: Failed to open HTTP connection, code=0x68" in said


def test_bad_option():
    """A build with an option that there is not says so, and panics, again and again."""
    machine = TestMachine(flash=flashed(apps={"ota_0": image(program="#!builtin firmware fly=1")}))
    booting = Booting(silence_seconds=0.0)
    running = booting(machine, "power_on")
    try:
        assert machine.wait_for_restart() == "panic"
    finally:
        running.stop()
        booting.close()

    assert "wsdevice: expected options of the built-in firmware (acks, " in machine.said
