"""Settings: what firmware finds in its NVS, where the board's own table has it, and who sees the secrets in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.board.flasher import Flasher
from harness.board.provisioning import Provisioner, device_settings, secrets_in, settings_image
from harness.device import Settings
from harness.errors import Misuse
from harness.firmware import nvs
from harness.firmware.chips import CHIPS
from harness.firmware.errors import NoSuchPartition
from harness.firmware.made_builds import TABLE, make_build
from harness.firmware.nvs_image import U8
from harness.firmware.partition_table import DATA, Partition, PartitionTable
from harness.redaction import Redactor
from tests.harness.board.virtual import board

PASSWORD = "correct horse"
SETTINGS = device_settings("lab", PASSWORD, ota_url="http://10.66.0.1:8003/xiaozhi/ota/")


def test_device_settings():
    """What xiaozhi firmware reads, in its namespaces and types; what is not given is left out."""
    settings = device_settings(
        "lab",
        PASSWORD,
        ota_url="http://x/",
        websocket=Settings("ws://x/", "a token", 3),
        more={"wifi": {"sleep_mode": U8(0)}, "board": {"uuid": "1-2"}},
    )
    table = PartitionTable((Partition("nvs", DATA, 2, 0x9000, 0x6000),))

    assert nvs.read(settings_image(settings, table).data) == {
        "wifi": {"ssid": "lab", "password": PASSWORD, "ota_url": "http://x/", "sleep_mode": 0},
        "websocket": {"url": "ws://x/", "token": "a token", "version": 3},
        "board": {"uuid": "1-2"},
    }
    assert device_settings("open") == {"wifi": {"ssid": "open", "password": ""}}


def test_where():
    """The image goes where the table has the partition called nvs, and is as large; the same bytes every time."""
    moved = PartitionTable(
        (Partition("nvsfactory", DATA, 2, 0x9000, 0x32000), Partition("nvs", DATA, 2, 0x3B000, 0xD2000))
    )
    image = settings_image(SETTINGS, moved)
    assert (image.offset, len(image.data), image.purpose) == (0x3B000, 0xD2000, "settings")
    assert settings_image(SETTINGS, moved) == image
    with pytest.raises(NoSuchPartition, match="expected a partition 'nvs'"):
        settings_image(SETTINGS, PartitionTable(TABLE.entries[1:]))


def test_secrets():
    """Passwords and tokens are secrets, in any number; names and addresses are none; no error has them in it."""
    settings = device_settings(
        "lab", PASSWORD, websocket=Settings("ws://x/", "a token"), more={"wifi": {"password1": "x"}}
    )
    assert list(secrets_in(settings)) == [PASSWORD, "x", "a token"]
    with pytest.raises(Misuse) as caught:
        settings_image({"wifi": {"password": "\0" + PASSWORD}}, TABLE)
    assert PASSWORD not in str(caught.value)


def test_written_to_a_board(tmp_path: Path):
    """Settings are written where the board itself has NVS; no transcript has them, and a redactor knows them."""
    redactor = Redactor()
    build = make_build(tmp_path, CHIPS["esp32s3"])
    with board() as (virtual, config):
        part = next(part for part in build.parts if part.role == "partition_table")
        virtual.flash.program(part.offset, part.data)
        assert Provisioner(Flasher(config, redactor=redactor), redactor).provision(SETTINGS).settings_written
        assert nvs.read(virtual.flash.read(0x9000, 0x4000))["wifi"]["password"] == PASSWORD
    assert redactor(f"psk {PASSWORD}!") == "psk ***!"


def test_settings_that_are_there_among_others_are_not_written_again(tmp_path: Path):
    """Firmware has added to its NVS what is its own; nothing is written, and what it added is still there."""
    more = {**SETTINGS, "board": {"uuid": "1-2"}}
    build = make_build(tmp_path / "build", CHIPS["esp32s3"])
    with board() as (virtual, config):
        flasher = Flasher(config, memory=tmp_path)
        provisioner = Provisioner(flasher, Redactor())
        flasher.flash(build, settings_image(more, TABLE))

        same = flasher.flash(build, provisioner.image(SETTINGS, TABLE))
        other = flasher.flash(build, provisioner.image({**SETTINGS, "board": {"uuid": "2-3"}}, TABLE))

        nvs_now = nvs.read(virtual.flash.read(0x9000, 0x4000))
    assert (same.bytes_written, same.settings_written) == (0, False)
    assert other.settings_written
    assert nvs_now["board"] == {"uuid": "2-3"}
