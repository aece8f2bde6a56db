"""Wi-Fi as the firmware does it, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.wifi import Wifi
from tests.harness.virtual.firmware.stage import SOON, Board, Uart

LAB = {"wifi": {"ssid": "lab", "password": "secret12"}}
REFUSED, GONE = {"ok": {"reason": 15}}, {"ok": {"reason": 201}}
JOINED = {"ok": {"address": "192.168.4.2"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts fail at once."""
    monkeypatch.setattr("harness.virtual.firmware.wifi.ATTEMPT_SECONDS", 0)


@pytest.fixture
async def start(board: Board, uart: Uart) -> AsyncIterator[Callable[..., Wifi]]:
    """Starts Wi-Fi with what is in NVS; it is ended at the end."""
    tasks: list[asyncio.Task[None]] = []

    def begin(values: dict[str, dict[str, str]] = LAB) -> Wifi:
        wifi = Wifi(
            board.channel,
            Nvs(values, board.channel),
            uart.log,
            scan_seconds=0,
            lost=lambda: uart.log("I", "Test", "lost"),
        )
        tasks.append(asyncio.get_running_loop().create_task(wifi.run()))
        return wifi

    yield begin
    for task in tasks:
        task.cancel()
        await asyncio.wait([task])


async def connected(wifi: Wifi) -> None:
    """Wait until it has an address."""
    await asyncio.wait_for(wifi.connected.wait(), SOON)


async def test_joins(start: Callable[..., Wifi], board: Board, uart: Uart):
    """Scan, association and address, each in its line."""
    wifi = start()
    await connected(wifi)

    assert wifi.address == "192.168.4.2"
    assert board.of("wifi_join")[0] == {"do": "wifi_join", "ssid": "lab", "password": "secret12"}
    assert uart.lines == [
        "WifiBoard: Starting WiFi connection attempt",
        "WifiBoard: WiFi scanning",
        "WifiStation: Found AP: lab, BSSID: 02:ac:ce:55:00:01, RSSI: -42, Channel: 6, Authmode: 3",
        "WifiBoard: WiFi connecting to lab",
        "wifi:state: init -> auth (0xb0)",
        "wifi:state: auth -> assoc (0x0)",
        "wifi:state: assoc -> run (0x10)",
        "esp_netif_handlers: sta ip: 192.168.4.2, mask: 255.255.255.0, gw: 192.168.4.1",
        "WifiStation: Got IP: 192.168.4.2",
        "WifiBoard: Connected to WiFi: lab",
    ]
    assert "secret12" not in uart.text


async def test_wrong_password(start: Callable[..., Wifi], board: Board, uart: Uart):
    """The handshake does not come to an end: reason 15, five attempts more, then another scan."""
    board.answers["wifi_join"] = [REFUSED] * 6 + [JOINED]
    await connected(start())

    assert uart.text.count("wifi:state: run -> init (0xf00)") == 6
    assert uart.text.count("WifiStation: WiFi disconnected, reason: 15") == 6
    assert "WifiStation: Reconnecting lab (attempt 5 / 5)" in uart.text
    assert "WifiStation: No more AP to connect, next scan in 0 seconds" in uart.text


async def test_missing_network(start: Callable[..., Wifi], board: Board, uart: Uart):
    """Nothing of that name is heard: it is scanned for again and again."""
    other = {"ssid": "other", "bssid": "02:00:00:00:00:02", "channel": 1, "rssi": -1, "authmode": 0}
    board.answers["wifi_scan"] = [{"ok": []}, {"ok": [other]}, board.answers["wifi_scan"]]
    await connected(start())

    assert uart.text.count("WifiStation: No AP found, next scan in 0 seconds") == 2
    assert "other" not in uart.text


async def test_next_network(start: Callable[..., Wifi], board: Board, uart: Uart):
    """Where one does not let it in, the next one it knows is tried."""
    second = {"ssid": "two", "bssid": "02:00:00:00:00:02", "channel": 1, "rssi": -1, "authmode": 3}
    board.answers["wifi_scan"] = {"ok": [*board.answers["wifi_scan"]["ok"], second]}
    board.answers["wifi_join"] = [REFUSED] * 6 + [JOINED]
    await connected(start({"wifi": {**LAB["wifi"], "ssid1": "two", "password1": "p"}}))

    assert board.of("wifi_join")[-1] == {"do": "wifi_join", "ssid": "two", "password": "p"}
    assert "Connected to WiFi: two" in uart.text


async def test_lost_and_back(start: Callable[..., Wifi], board: Board, uart: Uart):
    """It loses its access point: reason 200, then 201 until it is back."""
    wifi = start()
    await connected(wifi)
    board.answers["wifi_join"] = [GONE, JOINED]
    wifi.happened({"event": "wifi", "ssid": "lab", "reachable": False})
    await uart.until("WifiStation: Got IP", count=2)

    assert uart.lines[10:20] == [
        "Test: lost",
        "wifi:bcn_timeout,ap_probe_send_start",
        "wifi:ap_probe_send over, resett wifi status to disassoc",
        "wifi:state: run -> init (0xc800)",
        "WifiStation: WiFi disconnected, reason: 200",
        "WifiBoard: WiFi disconnected",
        "WifiStation: Reconnecting lab (attempt 1 / 5)",
        "WifiStation: WiFi disconnected, reason: 201",
        "WifiStation: Reconnecting lab (attempt 2 / 5)",
        "wifi:state: init -> auth (0xb0)",
    ]


async def test_lost_for_long(start: Callable[..., Wifi], board: Board, uart: Uart):
    """After five attempts it scans, until the access point is there again."""
    wifi = start()
    await connected(wifi)
    board.answers["wifi_join"] = [GONE] * 5 + [JOINED]
    board.answers["wifi_scan"] = [{"ok": []}, board.answers["wifi_scan"]]
    wifi.happened({"event": "wifi", "ssid": None, "reachable": False})
    await uart.until("WifiStation: Got IP", count=2)

    assert "No more AP to connect, next scan in 0 seconds" in uart.text
    assert "No AP found, next scan in 0 seconds" in uart.text


@pytest.mark.parametrize("event", [{"ssid": "other", "reachable": False}, {"ssid": "lab", "reachable": True}])
async def test_none_of_its_business(start: Callable[..., Wifi], event: dict[str, object]):
    """Other access points, and one that comes back, change nothing."""
    wifi = start()
    await connected(wifi)
    wifi.happened(event)
    await asyncio.sleep(0)

    assert wifi.connected.is_set()


async def test_knows_no_network(start: Callable[..., Wifi], uart: Uart):
    """Without a network in NVS nothing is tried."""
    start({})
    await asyncio.sleep(0)

    assert uart.text == ""


async def test_scan_interval(board: Board, uart: Uart, monkeypatch: pytest.MonkeyPatch):
    """From scan to scan it waits twice as long, up to thirty times as long as at first."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        if seconds:
            waited.append(seconds)

    monkeypatch.setattr("harness.virtual.firmware.wifi.asyncio.sleep", wait)
    board.answers["wifi_scan"] = [{"ok": []}] * 7 + [board.answers["wifi_scan"]]
    wifi = Wifi(board.channel, Nvs(LAB, board.channel), uart.log, scan_seconds=10, lost=lambda: None)
    task = asyncio.create_task(wifi.run())
    await connected(wifi)
    task.cancel()

    assert waited == [10, 20, 40, 80, 160, 300, 300]
