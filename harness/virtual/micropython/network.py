"""MicroPython's ``network.WLAN`` as a station: the virtual access points of the board."""

import json
import os

from _board import ask  # type: ignore[import-not-found]

STA_IF = 0
STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP = 1000, 1001, 1010
STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 201, 202
_HANDSHAKE_TIMEOUT = 15


class WLAN:
    """The station."""

    def __init__(self, interface: int = STA_IF) -> None:
        if interface != STA_IF:
            raise ValueError("a virtual board has a station only")
        self._address = ""
        self._status = STAT_IDLE

    def active(self, is_active: bool = True) -> bool:
        """Do nothing: it is."""
        return is_active

    def scan(self) -> list[tuple[bytes, str, int, int, int, bool]]:
        """Return what is heard: name, BSSID, channel, RSSI, kind of security, whether it is hidden."""
        heard = json.loads(os.getenv("WSDEVICE_NETWORK") or "[]")
        return [
            (point["ssid"].encode(), point["bssid"], point["channel"], point["rssi"], point["authmode"], False)
            for point in heard
        ]

    def connect(self, ssid: str, key: str = "") -> None:
        """Join an access point; `status` tells what became of it."""
        answer = ask("wifi_join", ssid=ssid, password=key)
        self._address = answer.get("address", "")
        reason = answer.get("reason", 0)
        self._status = STAT_GOT_IP if self._address else STAT_WRONG_PASSWORD if reason == _HANDSHAKE_TIMEOUT else reason

    def disconnect(self) -> None:
        """Leave it."""
        self._address, self._status = "", STAT_IDLE

    def isconnected(self) -> bool:
        """Whether it has joined."""
        return bool(self._address)

    def status(self) -> int:
        """Return one of ``STAT_...``, or the reason of ESP-IDF."""
        return self._status

    def ifconfig(self) -> tuple[str, str, str, str]:
        """Return address, mask, gateway and name server."""
        return (self._address or "0.0.0.0", "255.255.255.0", "127.0.0.1", "127.0.0.1")  # noqa: S104 - no address
