"""What a board answers its program."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import Misuse
from harness.firmware import nvs
from harness.firmware.chips import CHIPS
from harness.firmware.image import Image
from harness.firmware.made_builds import TABLE
from harness.virtual.access_point import AccessPoint, join, scan
from harness.virtual.boot_loader import Started
from harness.virtual.boot_log import BootLog
from harness.virtual.nvs_store import NvsStore
from harness.virtual.ota_update import OtaUpdate
from harness.virtual.program_services import Services
from tests.harness.virtual.flashed import NVS, SLOT_0, SLOT_1, flashed, image
from tests.harness.virtual.memory import Memory

CHIP = CHIPS["esp32s3"]


class House:
    """Services with everything behind them."""

    def __init__(self, *, has_nvs: bool = True) -> None:
        self.memory: Memory = flashed()
        self.misdeeds: list[Any] = []
        started = Started(TABLE, SLOT_0, Image.parse(image(), CHIP))
        points = [AccessPoint("lab", "secret12")]
        self.ask = Services(
            nvs=NvsStore(self.memory, NVS.offset, NVS.size) if has_nvs else None,
            update=OtaUpdate(self.memory, CHIP, started, BootLog(lambda _: None), rollback=True),
            partition="ota_0",
            scan=lambda: scan(points),
            join=lambda ssid, password: join(points, ssid, password),
            misbehave=self.misbehave,
        )

    def misbehave(self, what: str, how: Any) -> None:
        """Take note of a misdeed."""
        if what == "nothing":
            raise Misuse("expected a misdeed")
        self.misdeeds.append((what, how))

    @property
    def values(self) -> Any:
        """What is in NVS."""
        return nvs.read(self.memory.read(NVS.offset, NVS.size))


@pytest.fixture
def house() -> House:
    """Services with everything behind them."""
    return House()


def test_nvs(house: House):
    """Values are written in their type, and struck out."""
    for key, kind, value in (("a", "str", "x"), ("b", "i32", -1), ("c", "blob", "AAE=")):
        assert house.ask({"do": "nvs_set", "namespace": "n", "key": key, "type": kind, "value": value}) == {"ok": None}
    assert house.values == {"n": {"a": "x", "b": -1, "c": b"\0\1"}}

    house.ask({"do": "nvs_erase", "namespace": "n", "key": "a"})
    assert house.values == {"n": {"b": -1, "c": b"\0\1"}}

    house.ask({"do": "nvs_erase_all"})
    assert house.values == {}


def test_no_nvs():
    """A table without NVS has nowhere to write to."""
    answer = House(has_nvs=False).ask({"do": "nvs_erase_all"})

    assert answer is not None
    assert answer["error"] == "ESP_ERR_NOT_FOUND"


def test_nvs_is_full(house: House):
    """Where there is no room, the code of ESP-IDF says so."""
    answer = house.ask({"do": "nvs_set", "namespace": "n", "key": "k", "type": "str", "value": "x" * 5000})

    assert answer is not None
    assert answer["error"] == "ESP_ERR_NVS_NOT_ENOUGH_SPACE"


def test_update(house: House):
    """A slot is written from base64, page by page, and its state told."""
    import base64

    content = image(version="1.1.0")
    begun = house.ask({"do": "ota_begin"})
    wrote = house.ask({"do": "ota_write", "data": base64.b64encode(content).decode()})

    assert begun == {"ok": {"label": "ota_1", "offset": SLOT_1.offset, "size": SLOT_1.size}}
    assert wrote == {"ok": {"written": len(content)}}
    assert house.ask({"do": "ota_end"}) == {"ok": None}
    assert house.ask({"do": "ota_state"}) == {"ok": {"partition": "ota_0", "state": "undefined"}}
    assert house.ask({"do": "ota_confirm"}) == {"ok": None}
    assert house.ask({"do": "ota_reject"}) == {"ok": None}
    assert house.ask({"do": "ota_abort"}) == {"ok": None}
    assert house.ask({"do": "ota_write", "data": ""}) == {
        "error": "ESP_ERR_INVALID_STATE",
        "text": "expected ota_begin before",
    }


def test_wifi(house: House):
    """Access points are heard and joined."""
    heard = house.ask({"do": "wifi_scan"})

    assert heard is not None
    assert heard["ok"][0]["ssid"] == "lab"
    assert house.ask({"do": "wifi_join", "ssid": "lab", "password": "secret12"}) == {"ok": {"address": "127.0.0.1"}}
    assert house.ask({"do": "wifi_join", "ssid": "lab", "password": "wrong"}) == {"ok": {"reason": 15}}


def test_misbehave(house: House):
    """A misdeed is passed on with its arguments."""
    assert house.ask({"do": "misbehave", "what": "panic", "how": {"kind": "abort"}}) == {"ok": None}
    assert house.misdeeds == [("panic", {"kind": "abort"})]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"do": "fly"},
        {"do": "nvs_set", "namespace": "n", "key": "k", "type": "float", "value": 1},
        {"do": "nvs_set", "namespace": "n" * 16, "key": "k", "type": "u8", "value": 1},
        {"do": "nvs_set", "namespace": "n", "key": "k", "type": "blob", "value": "no base64!"},
        {"do": "ota_write", "data": "no base64!"},
        {"do": "misbehave", "what": "nothing"},
    ],
)
def test_bad_requests(house: House, asked: dict[str, Any]):
    """What cannot be asked is refused with the code of ESP-IDF, and why."""
    answer = house.ask(asked)

    assert answer is not None
    assert answer["error"] in {"ESP_ERR_INVALID_ARG", "ESP_ERR_INVALID_STATE"}
    assert answer["text"]
