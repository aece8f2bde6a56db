"""Otadata: the two sectors that say which OTA slot to start, and how sure of it the firmware is.

Format: ESP-IDF, "Over The Air Updates" (System API reference) and ``esp_ota_select_entry_t``. An update writes the
sector that is not in force, with a sequence number one or more higher; the higher one that is whole counts.
"""

from __future__ import annotations

import enum
import struct
import zlib

import msgspec

from harness.errors import Misuse
from harness.firmware.errors import BadOtaData

SECTOR = 0x1000
OTADATA_BYTES = 2 * SECTOR
"""Of the partition."""
ERASED_SEQUENCE = 0xFFFFFFFF

_ENTRY = struct.Struct("<I20sII")


class OtaState(enum.IntEnum):
    """How sure of its application the firmware is (``esp_ota_img_states_t``); it matters where rollback is enabled."""

    NEW = 0
    PENDING_VERIFY = 1
    VALID = 2
    INVALID = 3
    ABORTED = 4
    UNDEFINED = 0xFFFFFFFF
    """As written where rollback is not enabled."""


class OtaEntry(msgspec.Struct, frozen=True):
    """One of the two sectors.

    Attributes:
        sequence: counts the updates; the slot is ``(sequence - 1) % slots``.
        state: of the application in that slot; a number that is none of `OtaState` reads as UNDEFINED, like a boot
            loader treats it.
        intact: whether the CRC of the sequence number holds.
    """

    sequence: int
    state: OtaState = OtaState.UNDEFINED
    intact: bool = True

    @property
    def counts(self) -> bool:
        """Whether a boot loader takes it into account: whole, not erased, neither INVALID nor ABORTED."""
        excluded = self.state in {OtaState.INVALID, OtaState.ABORTED}
        return self.intact and self.sequence not in {0, ERASED_SEQUENCE} and not excluded

    def to_bytes(self) -> bytes:
        """Return the entry as it is written, with the CRC that holds."""
        return _ENTRY.pack(self.sequence, b"\xff" * 20, self.state, _crc(self.sequence))


class OtaData(msgspec.Struct, frozen=True):
    """Both sectors.

    Attributes:
        entries: the first and the second; None: erased.
    """

    entries: tuple[OtaEntry | None, OtaEntry | None] = (None, None)

    @classmethod
    def parse(cls, data: bytes | memoryview) -> OtaData:
        """Read a whole otadata partition.

        Raises:
            BadOtaData: it has less than two sectors.
        """
        if len(data) < OTADATA_BYTES:
            raise BadOtaData(f"expected otadata of {OTADATA_BYTES:#x} bytes, there are {len(data):#x}")
        return cls((_entry(data[:SECTOR]), _entry(data[SECTOR:OTADATA_BYTES])))

    def to_bytes(self) -> bytes:
        """Return the partition: two sectors, FF where nothing is."""
        return b"".join((entry.to_bytes() if entry else b"").ljust(SECTOR, b"\xff") for entry in self.entries)

    @property
    def active(self) -> int | None:
        """Which of the two entries is in force; None: neither, and the boot loader starts factory, else ota_0."""
        sequences = [entry.sequence if entry and entry.counts else 0 for entry in self.entries]
        if not any(sequences):
            return None
        return 0 if sequences[0] >= sequences[1] else 1

    @property
    def state(self) -> OtaState | None:
        """The state in the entry in force; None: neither is."""
        entry = self.entries[self.active] if self.active is not None else None
        return entry.state if entry else None

    def slot(self, slots: int) -> int | None:
        """Return the number of the OTA slot that is chosen, of so many; None: factory, else ota_0."""
        entry = self.entries[self.active] if self.active is not None else None
        return (entry.sequence - 1) % slots if entry and slots else None

    def choosing(self, slot: int, slots: int, state: OtaState = OtaState.UNDEFINED) -> OtaData:
        """Return what ``esp_ota_set_boot_partition`` leaves behind: the entry not in force, with the next number.

        Raises:
            Misuse: there is no such slot.
        """
        if not 0 <= slot < slots:
            raise Misuse(f"expected a slot from 0 to {slots - 1}, got {slot}")
        entry = self.entries[self.active] if self.active is not None else None
        last = entry.sequence if entry else 0
        sequence = next(number for number in range(last + 1, last + slots + 1) if (number - 1) % slots == slot)
        return self._with(1 - self.active if self.active is not None else 0, OtaEntry(sequence, state))

    def marked(self, state: OtaState) -> OtaData:
        """Return the same choice in another state, as the boot loader or the application writes it.

        Raises:
            Misuse: no entry is in force.
        """
        entry = self.entries[self.active] if self.active is not None else None
        if entry is None or self.active is None:
            raise Misuse("expected an entry in force, otadata has none")
        return self._with(self.active, OtaEntry(entry.sequence, state))

    def _with(self, index: int, entry: OtaEntry) -> OtaData:
        return OtaData((entry, self.entries[1]) if index == 0 else (self.entries[0], entry))


def _entry(sector: bytes | memoryview) -> OtaEntry | None:
    raw = bytes(sector[: _ENTRY.size])
    if raw == b"\xff" * _ENTRY.size:
        return None
    sequence, _, state, crc = _ENTRY.unpack(raw)
    known = OtaState(state) if state in OtaState._value2member_map_ else OtaState.UNDEFINED
    return OtaEntry(sequence, known, intact=crc == _crc(sequence))


def _crc(sequence: int) -> int:
    return zlib.crc32(sequence.to_bytes(4, "little"), 0xFFFFFFFF)
