"""The OTA endpoint: what a stock device asks at every boot, and without which it never comes here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.device import Settings
from harness.http import Answer, ask
from pytest_wsdevice.conformance.verdicts import or_else
from pytest_wsdevice.types import Devices, FakeDevice, Gateway

pytestmark = pytest.mark.asyncio

NUMERIC = "1.9.4"
NOT_NUMERIC = ["v1.9.4", "1.0-rc1", "1..2", ""]
"""Versions on which the firmware aborts when it is told one."""
WITHOUT_IDS: dict[str, dict[str, str]] = {
    "neither id": {"Client-Id": "", "Device-Id": ""},
    "no device id": {"Device-Id": ""},
}
KEY = "a key for the tests of OTA"


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_device_is_told_where_to_connect(ws_gateway: Gateway, ws_devices: Devices, method: str) -> None:
    """By a URL and a token; and of no MQTT, which the firmware would prefer to what it wants to be told here."""
    device = await ws_devices("device", online=False)

    told = told_by(await ask_ota(ws_gateway, device, method))

    assert "mqtt" not in told, "the answer has an mqtt section: the firmware connects there, and never here"
    websocket = told.get("websocket")
    assert isinstance(websocket, dict), f"the answer has no websocket section: the firmware falls back to MQTT: {told}"
    assert str(websocket.get("url")).startswith(("ws://", "wss://")), (
        f"the answer has no URL to connect to: {websocket}"
    )
    assert isinstance(websocket.get("token"), str), f"the answer has no token, not even an empty one: {websocket}"
    time = told.get("server_time", {}).get("timestamp")
    assert isinstance(time, int), f"the answer has no time in milliseconds: {told}"


@pytest.mark.ws_gateway_config(adapts=True, auth={"enabled": True, "key": KEY})
async def test_the_token_that_is_told_opens_the_websocket(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that knows nothing but the answer is let in."""
    device = await ws_devices("device", online=False, token="")
    websocket = told_by(await ask_ota(ws_gateway, device))["websocket"]

    await device.provision(Settings(websocket["url"], websocket["token"], websocket.get("version", 1)))

    with or_else("a device is not let in with the URL and the token that it was told"):
        await device.go_online()


async def test_a_numeric_version_is_repeated(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """A device that has nothing to load is told its own version, and no URL."""
    device = await ws_devices("device", online=False)

    told = told_by(await ask_ota(ws_gateway, device, version=NUMERIC))

    firmware = told.get("firmware", {})
    assert firmware.get("url") or firmware.get("version") == NUMERIC, (
        f"a device with version {NUMERIC} is not told that it has nothing to load: {told}"
    )


@pytest.mark.parametrize("version", NOT_NUMERIC)
async def test_no_device_is_told_a_version_that_is_not_numeric(
    ws_gateway: Gateway, ws_devices: Devices, version: str
) -> None:
    """Not even its own: the firmware's ``std::stoi`` aborts on it."""
    device = await ws_devices("device", online=False)

    told = told_by(await ask_ota(ws_gateway, device, version=version))

    parts = str(told.get("firmware", {}).get("version", "0")).split(".")
    assert all(part.isdecimal() for part in parts), (
        f"a device was told a version that is not numeric, on which its firmware aborts: {told['firmware']}"
    )


@pytest.mark.parametrize("ids", WITHOUT_IDS.values(), ids=WITHOUT_IDS)
async def test_who_has_no_id_is_answered_400(ws_gateway: Gateway, ws_devices: Devices, ids: dict[str, str]) -> None:
    """With 200, the firmware would take the answer for one without sections, and use MQTT."""
    device = await ws_devices("device", online=False)

    answer = await ask_ota(ws_gateway, device, ids=ids, body=b"{}")

    assert answer.status == 400, f"a request without an id was answered {answer.status} {answer.body!r}, not 400"


async def test_a_body_that_is_no_json_is_answered_400(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Whatever the headers say."""
    device = await ws_devices("device", online=False)

    answer = await ask_ota(ws_gateway, device, body=b"{not json")

    assert answer.status == 400, f"a body that is no JSON was answered {answer.status}, not 400"


@pytest.mark.ws_gateway_config(adapts=True, ota={"cors_origins": ["*"]})
async def test_a_browser_page_may_ask(ws_gateway: Gateway, ws_devices: Devices) -> None:
    """Its preflight is answered, and it may read what it is told."""
    device = await ws_devices("device", online=False)
    page = {"Origin": "http://page.example", "Access-Control-Request-Method": "POST"}

    preflight = await ask(ota_url(ws_gateway), "OPTIONS", headers=page)
    answer = await ask_ota(ws_gateway, device, ids={"Origin": page["Origin"]})

    assert preflight.status in {200, 204}, f"the preflight of a page was answered {preflight.status}"
    for name, told in (("preflight", preflight), ("answer", answer)):
        allowed = told.headers.get("access-control-allow-origin")
        assert allowed in {"*", page["Origin"]}, f"no page may read the {name}: Access-Control-Allow-Origin {allowed}"


# --- asking -------------------------------------------------------------------------------------------------------


def ota_url(gateway: Gateway) -> str:
    """Return where the endpoint is; the test is skipped where that is not known."""
    if not gateway.http_url:
        pytest.skip("needs the HTTP port of the gateway: --ws-gateway-http-url")
    return gateway.http_url + gateway.config.ota.path


async def ask_ota(
    gateway: Gateway,
    device: FakeDevice,
    method: str = "POST",
    *,
    version: str = NUMERIC,
    ids: dict[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Ask as the firmware does; a GET has no body, and tells the version in its User-Agent only.

    Args:
        gateway: which.
        device: who asks.
        method: POST, or GET, which the firmware uses where its body is empty.
        version: of its firmware.
        ids: headers that are other than the device's; empty ones are left out.
        body: instead of the firmware's.
    """
    headers = {
        "Activation-Version": "1",
        "Device-Id": device.device_id,
        "Client-Id": device.client_id,
        "User-Agent": f"bread-compact-wifi/{version}",
        "Accept-Language": "zh-CN",
        "Content-Type": "application/json",
        **(ids or {}),
    }
    if body is None:
        body = b"" if method == "GET" else msgspec.json.encode(description(device, version))
    sent = {name: value for name, value in headers.items() if value}
    return await ask(ota_url(gateway), method, headers=sent, body=body)


def description(device: FakeDevice, version: str) -> dict[str, Any]:
    """What the firmware says of itself, as far as anybody reads it."""
    return {
        "version": 2,
        "language": "zh-CN",
        "flash_size": 16777216,
        "minimum_free_heap_size": "8457848",
        "mac_address": device.device_id,
        "uuid": device.client_id,
        "chip_model_name": "esp32s3",
        "chip_info": {"model": 9, "cores": 2, "revision": 2, "features": 18},
        "application": {"name": "xiaozhi", "version": version, "compile_time": "", "idf_version": "v5.5"},
        "partition_table": [],
        "ota": {"label": "ota_0"},
        "board": {"type": "bread-compact-wifi", "name": "bread-compact-wifi", "mac": device.device_id},
    }


def told_by(answer: Answer) -> dict[str, Any]:
    """Read an answer that must be one."""
    assert answer.status == 200, f"a device was answered {answer.status} {answer.body!r}: it asks again in 10 s"
    try:
        told = answer.json()
    except msgspec.DecodeError:
        raise AssertionError(f"a device that asked was not told in JSON where to connect: {answer.body!r}") from None
    assert isinstance(told, dict), f"the answer is no object: {told}"
    return told
