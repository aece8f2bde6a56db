"""The request that the firmware makes at every boot, and what it takes from the answer (``ota.cc``)."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.identity import printable
from harness.errors import CannotConnect
from harness.http import ask
from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.surroundings import Surroundings

_TAG = "Ota"
_SHORTEST_URL = 10  # characters; what is shorter is no address (`CheckVersion`)
# errno of lwIP and error codes of ESP-IDF, as they stand in the firmware's lines
_INVALID_ARGUMENT, _INVALID_RESPONSE, _CONNECTION_RESET = 0x102, 0x108, 104
_NUMBER = re.compile(r"\s*[+-]?\d+")  # what std::stoi takes; it does not look at what follows
_MODELS = {"esp32": 1, "esp32s3": 9, "esp32c3": 5}  # esp_chip_model_t


class CheckFailed(Exception):
    """The address could not be asked, or did not answer well; the first argument is what the firmware returns."""


class Offer(msgspec.Struct, frozen=True):
    """What the answer said.

    Attributes:
        has_mqtt, has_websocket: which sections it had.
        new_version: newer than what runs, or to be installed by force; empty: none.
        url: of its image.
    """

    has_mqtt: bool
    has_websocket: bool
    new_version: str
    url: str


class Ota:
    """Asks the OTA address.

    Args:
        surroundings: who asks.
        board: its name.
        nvs: where the address stands, and where the answer is written to.
        heap: of which the request tells.
        log: its lines.
    """

    def __init__(self, surroundings: Surroundings, board: str, nvs: Nvs, heap: Heap, log: Log) -> None:
        self._surroundings = surroundings
        self._board = board
        self._nvs = nvs
        self._heap = heap
        self._log = log

    @property
    def version(self) -> str:
        """What runs."""
        return self._surroundings.application.version

    async def check(self) -> Offer:
        """Ask, and write what the answer says of the connection into NVS.

        Raises:
            CheckFailed: no address, no answer, or a bad one.
            ValueError: a version with a part that is no number, on which the firmware aborts.
            BoardRefused: NVS cannot be written.
        """
        self._log("I", _TAG, f"Current version: {self.version}")
        url = self._nvs.text("wifi", "ota_url")
        if len(url) < _SHORTEST_URL:  # the real one has its vendor's cloud built in, which nobody wants to ask here
            self._log("E", _TAG, "Check version URL is not properly set")
            raise CheckFailed(_INVALID_ARGUMENT)
        answer = await self._answer(url)
        websocket, mqtt = await self._section(answer, "websocket"), await self._section(answer, "mqtt")
        self._say_missing(answer, has_websocket=websocket, has_mqtt=mqtt)
        version, image = self._firmware(answer)
        return Offer(mqtt, websocket, version, image)

    async def _answer(self, url: str) -> dict[str, Any]:
        headers = {
            "Activation-Version": "1",
            "Device-Id": self._surroundings.mac,
            "Client-Id": self._nvs.text("board", "uuid"),
            "User-Agent": f"{self._board}/{self.version}",
            "Accept-Language": "en-US",
            "Content-Type": "application/json",
        }
        try:
            answer = await ask(url, "POST", headers=headers, body=self._description())
        except (CannotConnect, ValueError) as error:  # a port that is no number is a ValueError
            self._log("E", _TAG, f"Failed to open HTTP connection, code={_CONNECTION_RESET:#x}")
            raise CheckFailed(_CONNECTION_RESET) from error
        if answer.status != 200:
            self._log("E", _TAG, f"Failed to check version, status code: {answer.status}")
            raise CheckFailed(answer.status)
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            self._log("E", _TAG, "Failed to parse JSON response")
            raise CheckFailed(_INVALID_RESPONSE) from error

    def _description(self) -> bytes:
        """Return the request's body (``Board::GetSystemInfoJson``), as far as gateways look at it."""
        about, application = self._surroundings, self._surroundings.application
        return msgspec.json.encode(
            {
                "version": 2,
                "language": "en-US",
                "flash_size": about.flash_size,
                "minimum_free_heap_size": str(self._heap.minimum),
                "mac_address": about.mac,
                "uuid": self._nvs.text("board", "uuid"),
                "chip_model_name": about.chip,
                "chip_info": {"model": _MODELS[about.chip], "cores": 1 if about.chip == "esp32c3" else 2},
                "application": {
                    "name": application.project,
                    "version": application.version,
                    "compile_time": f"{application.date}T{application.time}Z",
                    "idf_version": application.idf,
                    "elf_sha256": application.elf_sha256,
                },
                "ota": {"label": about.partition},
                "board": {"type": "wifi", "name": self._board, "mac": about.mac},
            }
        )

    async def _section(self, answer: dict[str, Any], name: str) -> bool:
        section = answer.get(name)
        if not isinstance(section, dict):
            return False
        for key, value in section.items():
            if isinstance(value, str | int):
                await self._nvs.put(name, key, value)
        return True

    def _say_missing(self, answer: dict[str, Any], *, has_websocket: bool, has_mqtt: bool) -> None:
        if not has_mqtt:
            self._log("I", _TAG, "No mqtt section found !")
        if not has_websocket:
            self._log("I", _TAG, "No websocket section found!")
        if not isinstance(answer.get("server_time"), dict):
            self._log("W", _TAG, "No server_time section found!")

    def _firmware(self, answer: dict[str, Any]) -> tuple[str, str]:
        section = answer.get("firmware")
        if not isinstance(section, dict):
            self._log("W", _TAG, "No firmware section found!")
            return "", ""
        version, url = section.get("version"), section.get("url")
        if not isinstance(version, str) or not isinstance(url, str):
            return "", ""
        if is_newer(version, self.version):
            self._log("I", _TAG, f"New version available: {version}")
            return version, url
        self._log("I", _TAG, "Current is the latest version")
        return (version, url) if section.get("force") == 1 else ("", "")


def is_newer(offered: str, running: str) -> bool:
    """Compare versions as the firmware does: part by part, as numbers; of two that begin alike, the longer is newer.

    Raises:
        ValueError: a part does not begin with a number; the ``std::stoi`` of the firmware throws there, uncaught.
    """
    return _numbers(offered) > _numbers(running)


def _numbers(version: str) -> list[int]:
    parts = [_NUMBER.match(part) for part in version.split(".")]
    if not all(parts):
        raise ValueError(f"expected a version of numbers, got {printable(version)}")
    return [int(part[0]) for part in parts if part]
