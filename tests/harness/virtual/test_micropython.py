"""The modules that stand for MicroPython's on a chip, in a program that runs."""

from __future__ import annotations

from harness.firmware import nvs
from harness.firmware.nvs_image import I32
from harness.virtual.access_point import AccessPoint
from harness.virtual.boot import Booting
from tests.harness.virtual.flashed import NVS, flashed, image
from tests.harness.virtual.memory import TestMachine

PROGRAM = """
import sys
import esp32, machine, network

def fails(function, *arguments):
    try:
        function(*arguments)
    except (OSError, ValueError) as error:
        return type(error).__name__, str(error)

wlan = network.WLAN(network.STA_IF)
wlan.active(True)
print("heard", [(p[0], p[2]) for p in wlan.scan()], wlan.isconnected(), wlan.ifconfig()[0], wlan.status())
wlan.connect("lab", "wrong")
print("wrong", wlan.isconnected(), wlan.status() == network.STAT_WRONG_PASSWORD)
wlan.connect("none")
print("none", wlan.status() == network.STAT_NO_AP_FOUND)
wlan.connect("lab", "secret12")
print("joined", wlan.isconnected(), wlan.ifconfig()[0], wlan.status() == network.STAT_GOT_IP)
wlan.disconnect()
print("left", wlan.isconnected(), fails(network.WLAN, 1))

kept = esp32.NVS("app")
buffer = bytearray(10)
print("read", kept.get_i32("count"), buffer[:kept.get_blob("name", buffer)])
kept.set_i32("count", kept.get_i32("count") + 1)
kept.set_blob("name", b"new")
kept.set_i32("gone", 1)
kept.erase_key("gone")
kept.commit()
print("wrote", kept.get_i32("count"), buffer[:kept.get_blob("name", buffer)])
for failing in (kept.get_i32, kept.erase_key):
    print("fails", fails(failing, "none"))
print("fails", fails(kept.get_blob, "none", buffer), fails(kept.get_blob, "name", bytearray(1)))
print("fails", fails(kept.set_i32, "k" * 16, 1)[1][:22])
print("machine", machine.unique_id() == bytes.fromhex("0253450000a1"), machine.reset_cause() == machine.PWRON_RESET)
machine.reset()
"""


def test_modules():
    """Wi-Fi, NVS and resets, as programs on a chip have them."""
    values = {"app": {"count": I32(41), "name": b"old"}}
    machine = TestMachine(flash=flashed(apps={"ota_0": image(program=PROGRAM)}, nvs=values))
    booting = Booting(AccessPoint("lab", "secret12", address="192.168.4.2"), silence_seconds=0.0)
    running = booting(machine, "power_on")
    try:
        assert machine.wait_for_restart() == "software", machine.said
    finally:
        running.stop()
        booting.close()
    said = machine.said[machine.said.index("heard") :].split("\r\n")

    assert said == [
        "heard [(b'lab', 6)] False 0.0.0.0 1000",
        "wrong False True",
        "none True",
        "joined True 192.168.4.2 True",
        "left False ('ValueError', 'a virtual board has a station only')",
        "read 41 bytearray(b'old')",
        "wrote 42 bytearray(b'new')",
        "fails ('OSError', 'ESP_ERR_NVS_NOT_FOUND')",
        "fails ('OSError', 'ESP_ERR_NVS_NOT_FOUND')",
        "fails ('OSError', 'ESP_ERR_NVS_NOT_FOUND') ('OSError', 'ESP_ERR_NVS_INVALID_LENGTH')",
        "fails ESP_ERR_INVALID_ARG: e",
        "machine True True",
        "",
    ]
    assert nvs.read(machine.flash.read(NVS.offset, NVS.size)) == {"app": {"count": 42, "name": b"new"}}
