"""The request of the OTA address, and what the firmware takes from the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.ota import CheckFailed, Offer, Ota, is_newer
from tests.harness.virtual.firmware.stage import MAC, Board, Uart, surroundings
from tests.harness.virtual.firmware.web import Web

ANSWER = {
    "server_time": {"timestamp": 1, "timezone_offset": 0},
    "websocket": {"url": "ws://127.0.0.1:1/", "token": "t", "version": 2, "odd": None},
    "firmware": {"version": "1.0.0", "url": ""},
}

Make = Callable[..., Ota]


@pytest.fixture
def make(board: Board, uart: Uart, web: Web) -> Make:
    """Makes the asker, whose NVS names the server."""

    def ota(url: str = "", version: str = "1.0.0") -> Ota:
        values = {"wifi": {"ota_url": url or f"{web.url}/ota/"}, "board": {"uuid": "u-1"}}
        about = surroundings(values, version=version)
        return Ota(about, "esp-box-3", Nvs(values, board.channel), Heap(100_000), uart.log)

    return ota


async def test_request(make: Make, web: Web):
    """It introduces itself in headers and body, as the firmware does."""
    web.answers["/ota/"] = (200, ANSWER)
    await make().check()
    ((method, _, headers, body),) = web.asked
    described = json.loads(body)

    assert method == "POST"
    assert (headers["device-id"], headers["client-id"]) == (MAC, "u-1")
    assert (headers["user-agent"], headers["activation-version"]) == ("esp-box-3/1.0.0", "1")
    assert (described["mac_address"], described["uuid"], described["board"]["name"]) == (MAC, "u-1", "esp-box-3")
    assert described["application"]["version"] == "1.0.0"
    assert described["ota"] == {"label": "ota_0"}


async def test_answer(make: Make, web: Web, board: Board, uart: Uart):
    """What it says of the connection is written into NVS, strings and integers."""
    web.answers["/ota/"] = (200, ANSWER)

    assert await make().check() == Offer(has_mqtt=False, has_websocket=True, new_version="", url="")
    assert {(r["namespace"], r["key"]): r["value"] for r in board.of("nvs_set")} == {
        ("websocket", "url"): "ws://127.0.0.1:1/",
        ("websocket", "token"): "t",
        ("websocket", "version"): 2,
    }
    assert uart.lines == [
        "Ota: Current version: 1.0.0",
        "Ota: No mqtt section found !",
        "Ota: Current is the latest version",
    ]


async def test_empty_answer(make: Make, web: Web, uart: Uart):
    """Each section that is missing is said."""
    web.answers["/ota/"] = (200, {"mqtt": {"endpoint": "x"}})

    assert await make().check() == Offer(has_mqtt=True, has_websocket=False, new_version="", url="")
    assert uart.lines[1:] == [
        "Ota: No websocket section found!",
        "Ota: No server_time section found!",
        "Ota: No firmware section found!",
    ]


@pytest.mark.parametrize(
    ("firmware", "version"),
    [
        ({"version": "1.0.1", "url": "http://a/b"}, "1.0.1"),
        ({"version": "0.9", "url": "http://a/b"}, ""),
        ({"version": "0.9", "url": "http://a/b", "force": 1}, "0.9"),
        ({"version": 2, "url": "http://a/b"}, ""),
        ({"version": "2.0.0"}, ""),
    ],
)
async def test_new_version(make: Make, web: Web, uart: Uart, firmware: dict[str, Any], version: str):
    """A newer version is installed, an older one by force."""
    web.answers["/ota/"] = (200, {**ANSWER, "firmware": firmware})
    offer = await make().check()

    assert offer.new_version == version
    assert (f"Ota: New version available: {version}" in uart.lines) is (version == "1.0.1")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b"", "Ota: Failed to check version, status code: 503"),
        (200, b"no json", "Ota: Failed to parse JSON response"),
        (200, b"[]", "Ota: Failed to parse JSON response"),
    ],
)
async def test_bad_answers(make: Make, web: Web, uart: Uart, status: int, body: bytes, said: str):
    """An answer that is none is told in the firmware's words."""
    web.answers["/ota/"] = (status, body)
    with pytest.raises(CheckFailed):
        await make().check()

    assert uart.lines[-1] == said


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/ota/", "http://127.0.0.1:x/ota/"])
async def test_no_connection(make: Make, uart: Uart, url: str):
    """Where nobody answers, the connection cannot be opened."""
    with pytest.raises(CheckFailed):
        await make(url).check()

    assert uart.lines[-1] == "Ota: Failed to open HTTP connection, code=0x68"


async def test_no_address(make: Make, web: Web, uart: Uart):
    """Without an address nobody is asked; least of all a vendor's cloud."""
    with pytest.raises(CheckFailed):
        await make("-").check()

    assert uart.lines[-1] == "Ota: Check version URL is not properly set"
    assert web.asked == []


@pytest.mark.parametrize(
    ("offered", "running", "newer"),
    [
        ("1.0.1", "1.0.0", True),
        ("1.0.0", "1.0.0", False),
        ("1.0.0", "1.0.1", False),
        ("1.0.0.1", "1.0.0", True),
        ("1.10", "1.9", True),
        ("2-rc1", "1", True),
    ],
)
def test_versions(offered: str, running: str, newer: bool):
    """Versions are compared part by part, as numbers."""
    assert is_newer(offered, running) is newer


@pytest.mark.parametrize("version", ["v1.2", "", "1..2"])
def test_no_version(version: str):
    """A part without a number is what the firmware aborts on."""
    with pytest.raises(ValueError, match="expected a version of numbers"):
        is_newer(version, "1.0.0")
