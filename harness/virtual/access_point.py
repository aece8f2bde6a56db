"""Virtual access points: what a device's Wi-Fi finds in the air, whether it is let in, and why not.

Nothing is transmitted. A device that has joined uses the network of this machine, so what it says to a gateway goes
over real TCP; one that has not joined is kept from it by its program.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

# wifi_err_reason_t of ESP-IDF, components/esp_wifi/include/esp_wifi_types_generic.h
HANDSHAKE_TIMEOUT: Final = 15
"""``WIFI_REASON_4WAY_HANDSHAKE_TIMEOUT``: what a wrong password looks like to a device."""
BEACON_TIMEOUT: Final = 200
"""``WIFI_REASON_BEACON_TIMEOUT``: the access point it had joined is not heard any more."""
NO_AP_FOUND: Final = 201
"""``WIFI_REASON_NO_AP_FOUND``: no access point of this name is heard."""

_OPEN, _WPA2_PSK = 0, 3  # wifi_auth_mode_t


class Joined(msgspec.Struct, frozen=True):
    """A device has joined.

    Attributes:
        address: the IPv4 address it was given.
    """

    address: str


class AccessPoint:
    """One access point; any thread may call.

    Args:
        ssid: its name, at most 32 bytes.
        password: of WPA2; empty: an open network.
        reachable: it is switched on.
        address: the IPv4 address that devices are told; they really use this machine's loopback.
        channel, rssi: what a scan shows.
    """

    def __init__(
        self,
        ssid: str = "wsdevice",
        password: str = "",
        *,
        reachable: bool = True,
        address: str = "127.0.0.1",
        channel: int = 6,
        rssi: int = -42,
    ) -> None:
        self.ssid = ssid
        self.address = address
        self.channel = channel
        self.rssi = rssi
        self._password = password
        self._reachable = reachable
        self._watchers: list[Callable[[AccessPoint], None]] = []
        self._lock = threading.Lock()

    @property
    def reachable(self) -> bool:
        """Whether it is switched on."""
        return self._reachable

    def switch_off(self) -> None:
        """Vanish: who has joined loses its network without a farewell on any connection. Idempotent."""
        self._switch(reachable=False)

    def switch_on(self) -> None:
        """Come back. Idempotent."""
        self._switch(reachable=True)

    def watch(self, watcher: Callable[[AccessPoint], None]) -> Callable[[], None]:
        """Call back, in the thread that does it, when it is switched on or off; the result ends that."""
        with self._lock:
            self._watchers.append(watcher)

        def detach() -> None:
            with self._lock:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)

        return detach

    def seen(self) -> dict[str, Any]:
        """Return what a scan shows of it."""
        return {
            "ssid": self.ssid,
            "bssid": "02:ac:ce:55:00:01",
            "channel": self.channel,
            "rssi": self.rssi,
            "authmode": _WPA2_PSK if self._password else _OPEN,
        }

    def admits(self, password: str) -> bool:
        """Tell whether this is its password; an open one asks for none."""
        return not self._password or hmac.compare_digest(password.encode(), self._password.encode())

    def _switch(self, *, reachable: bool) -> None:
        with self._lock:
            changed = self._reachable != reachable
            self._reachable = reachable
            watchers = tuple(self._watchers)
        for watcher in watchers if changed else ():
            watcher(self)


def scan(points: Iterable[AccessPoint]) -> list[dict[str, Any]]:
    """Return what a scan shows, the strongest first."""
    return [point.seen() for point in sorted(points, key=lambda point: -point.rssi) if point.reachable]


def join(points: Iterable[AccessPoint], ssid: str, password: str) -> Joined | int:
    """Let a device join; return the reason of ESP-IDF where it is not let in."""
    heard = [point for point in points if point.reachable and point.ssid == ssid]
    if not heard:
        return NO_AP_FOUND
    return next((Joined(point.address) for point in heard if point.admits(password)), HANDSHAKE_TIMEOUT)
