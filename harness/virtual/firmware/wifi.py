"""Wi-Fi as the firmware does it: scan, join, lose, try again, with the lines of esp-wifi-connect and the driver.

Lines: ``wifi_station.cc`` and ``wifi_board.cc``; those of the driver as boards print them. A disconnect's state line
carries its reason in the upper byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.virtual.access_point import BEACON_TIMEOUT, NO_AP_FOUND
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs

CONNECT_SECONDS = 60.0
"""From the first attempt after a reset until the firmware gives up and opens its configuration network
(``CONNECT_TIMEOUT_SEC``)."""
RECONNECTS = 5
"""Attempts after a disconnect, before it scans again (``MAX_RECONNECT_COUNT``)."""
ATTEMPT_SECONDS = 0.05
"""For an attempt to fail; with a radio it is 0.2 to 4 s."""
_LONGEST_SCAN_FACTOR = 30  # from 10 s to 300 s in the firmware

_STATION, _BOARD = "WifiStation", "WifiBoard"


class Wifi:
    """The station of one life.

    Args:
        board: hears and joins.
        nvs: the networks it knows.
        log: its lines.
        scan_seconds: from a scan that found nothing to the next, at first.
        lost: is called when the network is lost; no connection is ended by that.

    Attributes:
        connected: set while it has an address.
        address: that it has, or had last.
    """

    def __init__(self, board: BoardChannel, nvs: Nvs, log: Log, *, scan_seconds: int, lost: Callable[[], None]) -> None:
        self.connected = asyncio.Event()
        self.address = ""
        self._board = board
        self._nvs = nvs
        self._log = log
        self._lost = lost
        self._least = self._interval = scan_seconds
        self._ssid = ""
        self._gone = asyncio.Event()

    def happened(self, event: dict[str, Any]) -> None:
        """Take an event of the board about an access point; ``ssid`` None: of all of them."""
        if self.connected.is_set() and not event["reachable"] and event["ssid"] in {None, self._ssid}:
            self._gone.set()

    async def run(self) -> None:
        """Join, and join again whenever the network was lost; returns only where it knows no network."""
        if not self._nvs.networks:
            return
        self._log("I", _BOARD, "Starting WiFi connection attempt")
        await self._join_any()
        while True:
            await self._gone.wait()
            if not await self._rejoin():
                await self._join_any()

    # --- joining ------------------------------------------------------------------------------------------------

    async def _join_any(self) -> None:
        while True:
            self._log("I", _BOARD, "WiFi scanning")
            found = await self._scan()
            if not found:
                await self._wait("No AP found")
            for ssid, password in found:
                self._log("I", _BOARD, f"WiFi connecting to {ssid}")
                if await self._attempts(ssid, password):
                    return
            if found:
                await self._wait("No more AP to connect")

    async def _scan(self) -> list[tuple[str, str]]:
        known = dict(reversed(self._nvs.networks))
        found: list[tuple[str, str]] = []
        for point in await self._board.ask("wifi_scan"):
            ssid = point["ssid"]
            if ssid in known:
                where = f"BSSID: {point['bssid']}, RSSI: {point['rssi']}, Channel: {point['channel']}"
                self._log("I", _STATION, f"Found AP: {ssid}, {where}, Authmode: {point['authmode']}")
                found.append((ssid, known[ssid]))
        return found

    async def _wait(self, why: str) -> None:
        self._log("I", _STATION, f"{why}, next scan in {self._interval} seconds")
        await asyncio.sleep(self._interval)
        self._interval = min(self._interval * 2, self._least * _LONGEST_SCAN_FACTOR)

    async def _attempts(self, ssid: str, password: str, first: int = 0) -> bool:
        """Try to join, and then as often again as the firmware does."""
        for attempt in range(first, RECONNECTS + 1):
            if attempt:
                self._log("I", _STATION, f"Reconnecting {ssid} (attempt {attempt} / {RECONNECTS})")
            answer = await self._board.ask("wifi_join", ssid=ssid, password=password)
            if "address" in answer:
                self._joined(ssid, answer["address"])
                return True
            await self._refused(answer["reason"])
        return False

    async def _refused(self, reason: int) -> None:
        if reason != NO_AP_FOUND:  # it was heard, but did not let it in
            self._associates()
        await asyncio.sleep(ATTEMPT_SECONDS)
        if reason != NO_AP_FOUND:
            self._log.driver(f"state: run -> init ({reason << 8:#x})")
        self._log("I", _STATION, f"WiFi disconnected, reason: {reason}")

    def _joined(self, ssid: str, address: str) -> None:
        self._associates()
        gateway = address.rpartition(".")[0] + ".1"
        self._log("I", "esp_netif_handlers", f"sta ip: {address}, mask: 255.255.255.0, gw: {gateway}")
        self._log("I", _STATION, f"Got IP: {address}")
        self._log("I", _BOARD, f"Connected to WiFi: {ssid}")
        self._ssid, self.address, self._interval = ssid, address, self._least
        self._gone.clear()
        self.connected.set()

    def _associates(self) -> None:
        for change in ("init -> auth (0xb0)", "auth -> assoc (0x0)", "assoc -> run (0x10)"):
            self._log.driver(f"state: {change}")

    # --- losing -------------------------------------------------------------------------------------------------

    async def _rejoin(self) -> bool:
        """Lose the network, and try to join it again; false: it has to be scanned for."""
        self.connected.clear()
        self._lost()
        self._log.driver("bcn_timeout,ap_probe_send_start")
        self._log.driver("ap_probe_send over, resett wifi status to disassoc")
        self._log.driver(f"state: run -> init ({BEACON_TIMEOUT << 8:#x})")
        self._log("I", _STATION, f"WiFi disconnected, reason: {BEACON_TIMEOUT}")
        self._log("W", _BOARD, "WiFi disconnected")
        password = dict(reversed(self._nvs.networks)).get(self._ssid, "")
        if await self._attempts(self._ssid, password, first=1):
            return True
        await self._wait("No more AP to connect")
        return False
