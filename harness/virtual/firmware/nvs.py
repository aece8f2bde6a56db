"""Settings in NVS, as the firmware's ``Settings`` class reads and writes them."""

from __future__ import annotations

from typing import Any, Literal

from harness.virtual.firmware.board_channel import BoardChannel

NETWORKS = 10
"""``ssid``, ``ssid1`` to ``ssid9`` (esp-wifi-connect, ``MAX_WIFI_SSID_COUNT``)."""


class Nvs:
    """What is in NVS; what is written is in force at once, and on the flash when the call returns.

    Args:
        values: by namespace and key, as the program was given them.
        board: writes.
    """

    def __init__(self, values: dict[str, dict[str, Any]], board: BoardChannel) -> None:
        self._values = values
        self._board = board

    def text(self, namespace: str, key: str) -> str:
        """Return a string; empty where there is none."""
        value = self._values.get(namespace, {}).get(key, "")
        return value if isinstance(value, str) else ""

    def number(self, namespace: str, key: str, otherwise: int = 0) -> int:
        """Return an integer, or what is given where there is none."""
        value = self._values.get(namespace, {}).get(key, otherwise)
        return value if isinstance(value, int) else otherwise

    async def put(self, namespace: str, key: str, value: str | int) -> None:
        """Write a value, unless it is there already; integers as i32, as ``Settings::SetInt`` does.

        Raises:
            BoardRefused: NVS is full, or has no such names.
        """
        if self._values.get(namespace, {}).get(key) == value:
            return
        kind: Literal["str", "i32"] = "str" if isinstance(value, str) else "i32"
        await self._board.ask("nvs_set", namespace=namespace, key=key, type=kind, value=value)
        self._values.setdefault(namespace, {})[key] = value

    @property
    def networks(self) -> list[tuple[str, str]]:
        """Names and passwords of the networks it knows, in their order; one without the other does not count."""
        known = self._values.get("wifi", {})
        numbers = ["", *map(str, range(1, NETWORKS))]
        pairs = [(known.get(f"ssid{number}"), known.get(f"password{number}")) for number in numbers]
        return [(ssid, password) for ssid, password in pairs if isinstance(ssid, str) and isinstance(password, str)]
