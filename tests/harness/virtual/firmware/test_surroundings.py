"""What a device program is told, read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.firmware.descriptors import AppDescriptor
from harness.virtual.firmware.surroundings import Surroundings


@pytest.mark.parametrize("described", [True, False])
def test_read(tmp_path: Path, described: bool):
    """The environment of a program, with an application that says who it is, or does not."""
    values = tmp_path / "nvs.json"
    values.write_text('{"wifi":{"ssid":"lab"}}')
    application = {"project": "p", "version": "1.2.3"} if described else None
    found = Surroundings.read(
        {
            "WSDEVICE_MAC": "02:00:00:00:00:01",
            "WSDEVICE_CHIP": "esp32",
            "WSDEVICE_FLASH_SIZE": "4194304",
            "WSDEVICE_RESET_REASON": "panic",
            "WSDEVICE_RESET_AT": "12.5",
            "WSDEVICE_APP": json.dumps(application),
            "WSDEVICE_PARTITION": "ota_1",
            "WSDEVICE_NVS": str(values),
            "WSDEVICE_CHANNEL": "7",
        }
    )

    assert (found.mac, found.chip, found.flash_size, found.channel) == ("02:00:00:00:00:01", "esp32", 4 << 20, 7)
    assert (found.reset_reason, found.reset_at, found.partition) == ("panic", 12.5, "ota_1")
    assert found.application == (AppDescriptor("p", "1.2.3") if described else AppDescriptor("unknown", "0.0.0"))
    assert found.nvs == {"wifi": {"ssid": "lab"}}
