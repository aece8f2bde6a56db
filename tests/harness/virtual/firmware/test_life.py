"""What the firmware does by itself: network, OTA request, update, connection; against a real gateway."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.observe.events import DeviceOffline, DeviceOnline
from harness.virtual.firmware import life
from tests.harness.fakes.conftest import Watched
from tests.harness.fakes.stub import Stubs
from tests.harness.virtual.firmware.alive import NO_UPDATE, Start, greeted
from tests.harness.virtual.firmware.stage import MAC, Board, Uart
from tests.harness.virtual.firmware.web import Web


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr("harness.virtual.firmware.wifi.ATTEMPT_SECONDS", 0)
    monkeypatch.setattr(life, "RECONNECT_SECONDS", (0.01, 0.02))


async def test_whole_way(start: Start, uart: Uart, gateway: Watched):
    """From its UUID to a session, in the order and the words of the firmware."""
    living = start()
    online = await gateway.saw(DeviceOnline)
    await uart.until("-> listening")

    assert isinstance(online, DeviceOnline)
    assert online.device == MAC
    kept = [line for line in uart.lines if not line.startswith(("WifiBoard", "WifiStation", "wifi:", "esp_netif"))]
    generic = [re.sub(r"(UUID=|Session ID: |server: )\S+", r"\1...", line) for line in kept]
    assert generic == [
        "Board: UUID=... SKU=virtual-esp32s3",
        "StateMachine: State: unknown -> starting",
        "Application: Network connected",
        "StateMachine: State: starting -> activating",
        "Ota: Current version: 1.0.0",
        "Ota: No mqtt section found !",
        "Ota: Current is the latest version",
        "Ota: Running partition: ota_0",
        "Application: Activation done",
        "SystemInfo: free sram: 180000 minimal sram: 180000",
        "StateMachine: State: activating -> idle",
        generic[11],
        "StateMachine: State: idle -> connecting",
        "WS: Connecting to websocket server: ... with version: 1",
        "WS: Session ID: ...",
        "StateMachine: State: connecting -> listening",
    ]
    assert generic[11].startswith("wsdevice: test console 1: configure")
    assert living.nvs["websocket"]["url"] == gateway.websocket_url
    assert re.fullmatch(r"[0-9a-f-]{36}", living.nvs["board"]["uuid"])


async def test_keeps_its_uuid(start: Start, uart: Uart, board: Board):
    """A UUID that is in NVS is used; a board may have a name."""
    start("board=esp-box-3", nvs={"board": {"uuid": "u-1"}})
    await uart.until("WifiBoard: WiFi config mode entered")

    assert uart.lines[0] == "Board: UUID=u-1 SKU=esp-box-3"
    assert uart.lines[-1] == "StateMachine: State: starting -> wifi_configuring"
    assert board.of("nvs_set") == []


async def test_no_network_in_time(start: Start, uart: Uart, board: Board, monkeypatch: pytest.MonkeyPatch):
    """Without an address in time it gives up, and opens its configuration network."""
    monkeypatch.setattr(life, "CONNECT_SECONDS", 0.05)
    board.answers["wifi_scan"] = {"ok": []}
    start("wifi_scan_seconds=1")
    await uart.until("WifiBoard: WiFi connection timeout, entering config mode")
    await uart.until("-> wifi_configuring")


async def test_reconnects(start: Start, uart: Uart, gateway_of_stubs: Stubs, web: Web):
    """A connection that is lost is opened again."""
    start(ota_url=f"{web.url}/ota")
    for count in (1, 2):
        stub = await greeted(gateway_of_stubs)
        await uart.until("connecting -> listening", count)
        stub.writer.close()
        await uart.until("State: listening -> idle", count)

    assert uart.text.count("Websocket disconnected") == 2


async def test_speaks(start: Start, uart: Uart, gateway_of_stubs: Stubs, web: Web):
    """What the gateway says of speaking is followed, and ends with the connection."""
    start(ota_url=f"{web.url}/ota")
    stub = await greeted(gateway_of_stubs)
    await uart.until("-> listening")
    for state in ("start", "stop", "start"):
        stub.send({"type": "tts", "state": state})
    await uart.until("State: listening -> speaking", count=2)
    stub.writer.close()
    await uart.until("State: listening -> idle")

    assert uart.text.count("State: speaking -> listening") == 2


async def test_not_automatic(start: Start, uart: Uart, gateway: Watched):
    """It can be told to wait for orders."""
    start("automatic=false")
    await uart.until("test console 1")
    await asyncio.sleep(0.05)

    assert "State: idle -> connecting" not in uart.text
    assert not [event for event in gateway.events if isinstance(event, DeviceOnline)]


async def test_orders_end_it(start: Start, uart: Uart, gateway: Watched):
    """The first 'configure' ends what it does by itself; other options stay those of NVS."""
    living = start()
    await uart.until("-> listening")
    living.type('wsdevice 1 configure {"framing":2}')
    await uart.until("wsdevice: 1 ok")
    await gateway.saw(DeviceOffline)
    living.type("wsdevice 2 connect {}")
    await uart.until("with version: 2")
    await uart.until("wsdevice: 2 ok")

    assert uart.text.count("State: listening -> idle") == 1
    assert uart.text.count("Connecting to websocket server") == 2


async def test_a_bad_build_stays_bad(start: Start, uart: Uart, gateway_of_stubs: Stubs):
    """One that is built not to acknowledge does not, whatever it is told."""
    living = start("acks=false", "automatic=false")
    await uart.until("test console 1")
    living.type(f'wsdevice 1 configure {{"acks":true,"url":"{gateway_of_stubs.url}"}}')
    await uart.until("wsdevice: 1 ok")
    living.type("wsdevice 2 connect {}")
    stub = await gateway_of_stubs.connections.get()
    await stub.accept()
    await uart.until("wsdevice: 2 ok")
    living.type("wsdevice 3 hello {}")

    assert (await stub.read_message())["features"] == {"mcp": True}


async def test_check_fails(start: Start, uart: Uart, web: Web):
    """An OTA address that fails is asked ten times; then there is no protocol, and no connection."""
    start(ota_url=f"{web.url}/none")
    await uart.until("State: activating -> idle")

    assert uart.text.count("Ota: Failed to check version, status code: 404") == 10
    assert "Application: Check new version failed, retry in 0 seconds (9/10)" in uart.text
    assert "Application: Too many retries, exit version check" in uart.text
    assert "Application: No protocol specified in the OTA config, using MQTT" in uart.text
    assert "State: idle -> connecting" not in uart.text


async def test_mqtt_comes_first(start: Start, uart: Uart, web: Web):
    """An answer with an MQTT section leads to no WebSocket, as with the firmware."""
    web.answers["/ota"] = (200, {**NO_UPDATE, "mqtt": {"endpoint": "x"}})
    start(ota_url=f"{web.url}/ota")
    await uart.until("test console 1")
    await asyncio.sleep(0.02)

    assert "State: idle -> connecting" not in uart.text


async def test_update(start: Start, uart: Uart, web: Web, board: Board):
    """A newer version is installed, and started by a reset."""
    board.answers["ota_begin"] = {"ok": {"label": "ota_1", "offset": 0x1F0000, "size": 0x1D0000}}
    web.answers["/image"] = (200, b"image")
    web.answers["/ota"] = (200, {**NO_UPDATE, "firmware": {"version": "1.1.0", "url": f"{web.url}/image"}})
    living = start(ota_url=f"{web.url}/ota")

    assert await living.ended() == 70
    assert board.of("ota_end") != []
    assert "State: activating -> upgrading" in uart.text
    assert uart.lines[-1] == "Application: Firmware upgrade successful, rebooting..."


async def test_failed_update(start: Start, uart: Uart, web: Web, board: Board):
    """One that fails is left alone, and what runs goes on."""
    board.answers["ota_begin"] = {"error": "ESP_ERR_NOT_FOUND", "text": "no"}
    web.answers["/ota"] = (200, {**NO_UPDATE, "firmware": {"version": "1.1.0", "url": f"{web.url}/image"}})
    start(ota_url=f"{web.url}/ota")
    await uart.until("State: activating -> idle")

    assert "Application: Firmware upgrade failed, restarting audio service and continuing operation..." in uart.text


@pytest.mark.parametrize(("option", "confirmed"), [("confirms=true", 1), ("confirms=false", 0)])
async def test_confirms(start: Start, uart: Uart, board: Board, option: str, confirmed: int):
    """An update that has booted well is kept; a bad build never says so."""
    board.answers["ota_state"] = {"ok": {"partition": "ota_1", "state": "pending_verify"}}
    start(option)
    await uart.until("Activation done")

    assert len(board.of("ota_confirm")) == confirmed
    assert uart.text.count("Ota: Marking firmware as valid") == confirmed


async def test_factory(start: Start, uart: Uart, board: Board):
    """A factory application has nothing to confirm."""
    board.answers["ota_state"] = {"ok": {"partition": "factory", "state": "undefined"}}
    start()
    await uart.until("Ota: Running from factory partition, skipping")


async def test_version_without_a_number(start: Start, web: Web, board: Board):
    """A version that the firmware cannot read aborts it."""
    web.answers["/ota"] = (200, NO_UPDATE)
    start(ota_url=f"{web.url}/ota", version="v1")

    assert await board.until("misbehave") == {"do": "misbehave", "what": "panic", "how": {"kind": "abort"}}


async def test_retries(start: Start, uart: Uart, web: Web):
    """A gateway that is not there is tried again, and it says why it could not."""
    web.answers["/ota"] = (200, NO_UPDATE)
    start(ota_url=f"{web.url}/ota")
    await uart.until("State: idle -> connecting", count=3)

    assert "wsdevice: cannot connect to ws://127.0.0.1:1/: Connection refused" in uart.text
    assert uart.text.count("State: connecting -> idle") >= 2


async def test_network_lost_and_back(start: Start, uart: Uart, board: Board, gateway: Watched):
    """Without its access point it falls silent, and the gateway is not told; back, it connects anew."""
    start()
    await uart.until("-> listening")
    board.answers["wifi_join"] = [{"ok": {"reason": 201}}, board.answers["wifi_join"]]
    board.say({"event": "wifi", "ssid": "lab", "reachable": False})
    await uart.until("Application: Closing audio channel due to network disconnection")
    await uart.until("Session ID", count=2)

    assert "Websocket disconnected" not in uart.text
    assert (
        uart.text.index("State: listening -> idle") < uart.text.index("Got IP", uart.text.index("Got IP") + 1) + 10**6
    )


async def test_boot_button(start: Start, uart: Uart, board: Board, gateway: Watched):
    """A click ends the conversation, and the next begins one."""
    start()
    await uart.until("-> listening")
    for pressed in (True, False):
        board.say({"event": "boot_button", "pressed": pressed})
    await gateway.saw(DeviceOffline)
    await uart.until("State: listening -> idle")
    await asyncio.sleep(0.1)
    assert uart.text.count("Session ID") == 1

    board.say({"event": "boot_button", "pressed": False})  # no click: it was not pressed
    for pressed in (True, False):
        board.say({"event": "boot_button", "pressed": pressed})
    await uart.until("Session ID", count=2)


def test_retry_by_close_code():
    """What may not be retried at once is waited for."""
    assert life._may_retry(1006)
    assert not life._may_retry(4001)
    assert life._may_retry(4999)
