"""MicroPython's ``esp32.NVS``: integers of 32 bits, and blobs."""

import binascii
import json
import os

from _board import ask  # type: ignore[import-not-found]


class NVS:
    """One namespace; what is set is on the flash at once."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        with open(os.getenv("WSDEVICE_NVS") or "") as file:  # noqa: PTH123 - MicroPython has no pathlib
            self._values: dict[str, object] = json.load(file).get(namespace, {})

    def get_i32(self, key: str) -> int:
        """Return an integer; `OSError` where there is none."""
        value = self._values.get(key)
        if not isinstance(value, int):
            raise OSError("ESP_ERR_NVS_NOT_FOUND")
        return value

    def set_i32(self, key: str, value: int) -> None:
        """Write an integer."""
        ask("nvs_set", namespace=self._namespace, key=key, type="i32", value=value)
        self._values[key] = value

    def get_blob(self, key: str, buffer: bytearray) -> int:
        """Read a blob into the buffer, and return its length; `OSError` where there is none, or it does not fit."""
        value = self._values.get(key)
        if not isinstance(value, dict):
            raise OSError("ESP_ERR_NVS_NOT_FOUND")
        data = binascii.a2b_base64(value["base64"])
        if len(data) > len(buffer):
            raise OSError("ESP_ERR_NVS_INVALID_LENGTH")
        buffer[: len(data)] = data
        return len(data)

    def set_blob(self, key: str, value: bytes) -> None:
        """Write a blob."""
        data = binascii.b2a_base64(value).decode().strip()
        ask("nvs_set", namespace=self._namespace, key=key, type="blob", value=data)
        self._values[key] = {"base64": data}

    def erase_key(self, key: str) -> None:
        """Erase a key; `OSError` where there is none."""
        if key not in self._values:
            raise OSError("ESP_ERR_NVS_NOT_FOUND")
        ask("nvs_erase", namespace=self._namespace, key=key)
        del self._values[key]

    def commit(self) -> None:
        """Do nothing more: what was set is on the flash."""
