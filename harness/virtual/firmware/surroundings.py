"""What the firmware finds when it starts: the environment of a device program, read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.firmware.descriptors import AppDescriptor


class Surroundings(msgspec.Struct, frozen=True):
    """What is so for one life; see ``docs/device-programs.md``.

    Attributes:
        mac: its MAC, lower case with colons: what gateways call the device.
        chip: its name.
        flash_size: in bytes.
        reset_reason: why it was reset.
        reset_at: `time.monotonic()` then.
        application: what the image says of itself.
        partition: that it runs from.
        nvs: values by namespace and key; blobs as bytes.
        channel: file descriptor of the channel to the board.
    """

    mac: str
    chip: str
    flash_size: int
    reset_reason: str
    reset_at: float
    application: AppDescriptor
    partition: str
    nvs: dict[str, dict[str, Any]]
    channel: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Surroundings:
        """Read the environment of this process."""
        application = msgspec.json.decode(environment["WSDEVICE_APP"], type=AppDescriptor | None)
        return cls(
            mac=environment["WSDEVICE_MAC"],
            chip=environment["WSDEVICE_CHIP"],
            flash_size=int(environment["WSDEVICE_FLASH_SIZE"]),
            reset_reason=environment["WSDEVICE_RESET_REASON"],
            reset_at=float(environment["WSDEVICE_RESET_AT"]),
            application=application or AppDescriptor("unknown", "0.0.0"),
            partition=environment["WSDEVICE_PARTITION"],
            nvs=msgspec.json.decode(Path(environment["WSDEVICE_NVS"]).read_bytes()),
            channel=int(environment["WSDEVICE_CHANNEL"]),
        )
