"""Settings on a board: what firmware finds in its NVS when it boots, such as the Wi-Fi's password.

An image of the partition is made from the settings and written to where the board's own partition table has NVS. It
takes the place of all that was there, so a board starts with these settings and no others. It is compared with what is
on the flash first, and not written when it is the same; firmware that keeps things of its own in NVS changes it, and
gets it anew.

Passwords and tokens are in no argument list and in no log: they pass through a file that only this user can read and
that is deleted, and every redactor here knows them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from harness.board.flash_plan import Flashed, Planned
from harness.board.flasher import Flasher
from harness.device import Settings
from harness.firmware import nvs
from harness.firmware.nvs_image import I32, Value, generate
from harness.firmware.partition_table import TABLE_BYTES, TABLE_OFFSET, PartitionTable
from harness.redaction import Redactor

LABEL = "nvs"
"""Of the partition that `nvs_flash_init` opens; a table may have others of the same kind."""
SECRET = ("password", "token", "secret", "psk", "key")
"""A key that one of these is in, as in ``password1``, has a value that is nobody's business."""

READ_BYTES = 0x10000
"""Of an NVS that is read to see what it has: half a second at 921600 baud; a larger one is sooner written."""

Values: TypeAlias = Mapping[str, Mapping[str, Value]]
"""Settings by namespace and key."""


def device_settings(
    ssid: str, password: str = "", *, ota_url: str = "", websocket: Settings | None = None, more: Values | None = None
) -> dict[str, dict[str, Value]]:
    """Return the settings that xiaozhi firmware needs to get to a gateway.

    Args:
        ssid: of the Wi-Fi.
        password: of it; empty: it is open.
        ota_url: of the gateway's OTA endpoint. Firmware always asks one when it boots, and has the vendor's own, on the
            internet, where this is missing.
        websocket: where the OTA answer will send it; firmware overwrites this with the answer.
        more: settings besides; those of the same key win.
    """
    values: dict[str, dict[str, Value]] = {"wifi": {"ssid": ssid, "password": password}}
    if ota_url:
        values["wifi"]["ota_url"] = ota_url
    if websocket is not None:
        version = I32(websocket.framing)
        values["websocket"] = {"url": websocket.url, "token": websocket.token, "version": version}
    for namespace, members in (more or {}).items():
        values.setdefault(namespace, {}).update(members)
    return values


def secrets_in(values: Values) -> Iterator[str]:
    """Yield the values that must not be seen: those whose key says so."""
    for members in values.values():
        for key, value in members.items():
            if isinstance(value, str) and value and any(word in key.lower() for word in SECRET):
                yield value


def settings_image(values: Values, table: PartitionTable) -> Planned:
    """Return the NVS partition with these settings, where a table has it; the same bytes for the same settings.

    Raises:
        NoSuchPartition: the table has none of that label.
        Misuse: what NVS does not allow, or more than there is room for.
        NotInstalled: the generator is missing.
    """
    partition = table.labelled(LABEL)
    return Planned(partition.offset, generate(values, partition.size), LABEL, "settings")


class Provisioner:
    """Writes settings to one board.

    Args:
        flasher: of the board.
        redactor: is told the secrets before anything else is done.
    """

    def __init__(self, flasher: Flasher, redactor: Redactor) -> None:
        self._flasher = flasher
        self._redactor = redactor

    def image(self, values: Values, table: PartitionTable, *, anew: bool = False) -> Planned:
        """Return what `Flasher.flash` takes as settings: what is on the board, if they are among it, or new ones.

        Firmware writes to its NVS, too: what is there is seldom what was written, and need not be written again. It is
        read where this machine has written to the board before, and the partition is small; not if all is to be
        ``anew``.

        Raises:
            FlashFailed, PortFailed: and their children.
            NoSuchPartition, Misuse, NotInstalled: as `settings_image`.
        """
        self._redactor.add(*secrets_in(values))
        wanted = settings_image(values, table)
        if not anew and self._flasher.remembers and len(wanted.data) <= READ_BYTES:
            found = self._flasher.read(wanted.offset, len(wanted.data))
            if _has(found, wanted.data):
                return Planned(wanted.offset, found, LABEL, "settings")
        return wanted

    def provision(
        self,
        values: Values,
        table: PartitionTable | None = None,
        within: float = math.inf,
        *,
        anew: bool = False,
    ) -> Flashed:
        """Have settings on the board.

        Args:
            values: the settings.
            table: of the build that is on the board; None: it is read from the board, which costs a run of esptool.
            within: seconds for the write.
            anew: what firmware has written is to be gone.

        Raises:
            NoSuchPartition, BadPartitionTable: the board has no place for them, or no table at all.
            Misuse, NotInstalled: as `settings_image`.
            FlashFailed, PortFailed: and their children.
        """
        if table is None:
            table = PartitionTable.parse(self._flasher.read(TABLE_OFFSET, TABLE_BYTES))
        return self._flasher.write_settings(self.image(values, table, anew=anew), within)


def _has(found: bytes, wanted: bytes) -> bool:
    """Whether an NVS partition has all the values of another one."""
    contents = nvs.examine(found)
    has = contents.namespaces
    return not contents.faults and all(
        has.get(namespace, {}).get(key) == value
        for namespace, values in nvs.read(wanted).items()
        for key, value in values.items()
    )
