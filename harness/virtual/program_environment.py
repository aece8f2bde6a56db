"""What a device program is told at its start, in its environment; ``docs/device-programs.md`` lists it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.firmware.nvs import NvsContents
from harness.virtual.boot_loader import Started
from harness.virtual.machine import Machine

_OF_THE_HOST = ("PATH", "LANG", "LC_ALL", "TMPDIR")
"""What is passed on of this process's own environment: a chip knows nothing of the tokens and keys in the rest."""


def program_environment(
    machine: Machine,
    started: Started,
    *,
    reset_reason: str,
    reset_at: float,
    nvs_file: Path,
    heard: Sequence[dict[str, Any]],
    state_folder: Path,
) -> dict[str, str]:
    """Return the environment of a program, but for the channel.

    Args:
        machine: the chip.
        started: the application.
        reset_reason: why the chip was reset.
        reset_at: `time.monotonic()` when its clock began.
        nvs_file: made by `write_nvs`.
        heard: the access points.
        state_folder: that is kept over resets.
    """
    descriptor = started.image.descriptor
    return {
        **{name: os.environ[name] for name in _OF_THE_HOST if name in os.environ},
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        "WSDEVICE_MAC": machine.mac.hex(":"),
        "WSDEVICE_CHIP": machine.chip.name,
        "WSDEVICE_FLASH_SIZE": str(machine.flash.size),
        "WSDEVICE_RESET_REASON": reset_reason,
        "WSDEVICE_RESET_AT": repr(reset_at),
        "WSDEVICE_APP": json.dumps(msgspec.to_builtins(descriptor)),
        "WSDEVICE_PARTITION": started.partition.label,
        "WSDEVICE_NVS": str(nvs_file),
        "WSDEVICE_NETWORK": json.dumps(heard),
        "WSDEVICE_BOARD_STATE": str(state_folder),
    }


def write_nvs(path: Path, contents: NvsContents | None) -> Path:
    """Write what is in NVS as JSON, for this user's eyes only: the Wi-Fi password is in it."""
    values: dict[str, dict[str, Any]] = {}
    for item in contents.items if contents is not None else ():
        # blobs as {"base64": ...}: a string would be taken for one
        value = {"base64": item.value} if isinstance(item.value, bytes) else item.value
        values.setdefault(item.namespace, {})[item.key] = value
    path.touch(0o600)
    path.write_bytes(msgspec.json.encode(values))
    return path
