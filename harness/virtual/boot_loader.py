"""What happens between reset and the application: the ROM, then the second-stage boot loader, on what is flashed.

Nothing of them executes; both are re-told from ESP-IDF (``components/bootloader_support/src``): errors, order, otadata,
and the rollback of applications that nobody confirmed (``CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE``, which the xiaozhi
firmware is built with).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from harness.firmware.chips import Chip
from harness.firmware.errors import BadImage
from harness.firmware.image import HASH_BYTES, Image
from harness.firmware.otadata import ERASED_SEQUENCE, OTADATA_BYTES, OtaData, OtaEntry, OtaState
from harness.firmware.partition_table import SECTOR, TABLE_OFFSET, Partition, PartitionTable
from harness.virtual import image_check, rom_log, table_check
from harness.virtual.boot_log import BootLog
from harness.virtual.machine import FlashMemory, ResetCause

VIRTUAL_LINE = "virtual board: flash, images, NVS and network are real; CPU, radio and timing are not"
"""Stands in each boot log, so that no log of a virtual board can be taken for one of silicon."""

_FACTORY = -1  # FACTORY_INDEX: before all OTA slots
_GIVEN_UP = frozenset({OtaState.INVALID, OtaState.ABORTED})

Say: TypeAlias = Callable[[list[str]], None]


class Started(msgspec.Struct, frozen=True):
    """The application that the boot loader has chosen and found in order.

    Attributes:
        table: of the flash.
        partition: that it is in.
        image: itself.
    """

    table: PartitionTable
    partition: Partition
    image: Image


class CannotStart(msgspec.Struct, frozen=True):
    """Nothing can be started, and this is the reset that follows."""

    cause: ResetCause


def start_rom(flash: FlashMemory, chip: Chip, cause: ResetCause, say: Say) -> Image | CannotStart:
    """Print what the ROM does and return the boot loader it has loaded."""
    say(rom_log.banner(chip, cause))
    at = chip.bootloader_offset
    raw = flash.read(at, TABLE_OFFSET - at)
    try:
        image = Image.parse(raw, chip)
    except BadImage as bad:
        found = _despite(raw, bad, chip, say)
        if found is None:
            return CannotStart("boot_watchdog")
        image = found
    else:
        say(_loading(chip, image))
    say([rom_log.entering(image.entry)])
    return image


def _despite(raw: bytes, bad: BadImage, chip: Chip, say: Say) -> Image | None:
    """Say what is wrong with a boot loader; return it if the ROM starts it all the same."""
    if bad.kind == "magic":
        say(rom_log.no_header(int.from_bytes(raw[:4], "little")))
        return None
    if bad.kind != "hash":
        kind, mode = raw[2], raw[3]
        segments = image_check.whole_segments(raw)
        say(rom_log.loading(chip, kind, mode & 0xF, segments))
        calculated, stored = image_check.checksums(raw) if bad.kind == "checksum" else (0xEF, 0xFF)
        say(rom_log.wrong_checksum(chip, calculated, stored))
        return None
    # a ROM without secure boot does not insist on the hash; byte 23 says that there is one
    image = Image.parse(raw[:23] + b"\0" + raw[24:], chip)
    say(_loading(chip, image))
    if chip.name != "esp32":
        say(rom_log.wrong_hash(hashlib.sha256(raw[: image.size]).digest(), raw[image.size : image.size + HASH_BYTES]))
    return image


def _loading(chip: Chip, image: Image) -> list[str]:
    segments = [(segment.address, len(segment.data)) for segment in image.segments]
    return rom_log.loading(chip, image.flash_mode, image.flash_frequency, segments)


class BootLoader:
    """The second-stage boot loader.

    Args:
        flash: what it reads, and whose otadata it writes.
        chip: that it runs on.
        log: where it writes to; silent ones (``CONFIG_BOOTLOADER_LOG_LEVEL_NONE``) get one that leads nowhere.
        rollback: whether an application that was not confirmed is given up at its second start.
    """

    def __init__(self, flash: FlashMemory, chip: Chip, log: BootLog, *, rollback: bool) -> None:
        self._flash = flash
        self._chip = chip
        self._log = log
        self._rollback = rollback
        self._table = PartitionTable(())
        self._sets_first_entry = False

    def run(self, itself: Image) -> Started | CannotStart:
        """Choose the application and check it, with its fall-backs."""
        self._introduce(itself)
        table = table_check.check(self._flash, self._log)
        if table is None:
            return CannotStart("boot_loader")
        self._table = table
        return self._load(self._chosen()) or CannotStart("boot_loader")

    def _introduce(self, itself: Image) -> None:
        descriptor = itself.bootloader_descriptor
        if descriptor is not None:
            self._log("I", "boot", f"ESP-IDF {descriptor.idf} 2nd stage bootloader")
            if descriptor.date:  # reproducible builds have none
                self._log("I", "boot", f"compile time {descriptor.date}")
        modes = ("QIO", "QOUT", "DIO", "DOUT")
        tag = f"boot.{self._chip.name}"
        self._log("I", tag, f"SPI Mode       : {modes[itself.flash_mode] if itself.flash_mode < 4 else 'DIO'}")
        self._log("I", tag, f"SPI Flash Size : {1 << itself.flash_size}MB")

    # --- otadata ------------------------------------------------------------------------------------------------

    def _chosen(self) -> int:
        """Return the number of the slot to begin with, after what rollback does to otadata."""
        where, slots = self._table.otadata, self._table.ota_slots
        if where is None:
            return _FACTORY
        data = self._aborted(OtaData.parse(self._flash.read(where.offset, OTADATA_BYTES)), where)
        if not slots or all(_is_invalid(entry) for entry in data.entries):
            return self._default(data)
        slot = data.slot(len(slots))
        if slot is None:
            rest = "falling back to factory" if self._table.factory else "and no factory, will try all partitions"
            self._log("E", "boot", f"ota data partition invalid{',' if self._table.factory else ''} {rest}")
            return _FACTORY
        if self._rollback and data.state is OtaState.NEW:
            self._write(where, data, data.marked(OtaState.PENDING_VERIFY))
        return slot

    def _aborted(self, data: OtaData, where: Partition) -> OtaData:
        """Give up what was started before and nobody has confirmed."""
        if not self._rollback:
            return data
        entries = [
            OtaEntry(entry.sequence, OtaState.ABORTED, entry.intact)
            if entry is not None and entry.state is OtaState.PENDING_VERIFY
            else entry
            for entry in data.entries
        ]
        after = OtaData((entries[0], entries[1]))
        self._write(where, data, after)
        return after

    def _default(self, data: OtaData) -> int:
        if self._table.factory is not None:
            self._log("I", "boot", "Defaulting to factory image")
            return _FACTORY
        self._log("I", "boot", "No factory image, trying OTA 0")
        self._sets_first_entry = all(entry is None or not entry.intact for entry in data.entries)
        return 0

    def _write(self, where: Partition, before: OtaData, after: OtaData) -> None:
        write_otadata(self._flash, where, before, after)

    # --- images -------------------------------------------------------------------------------------------------

    def _load(self, start: int) -> Started | None:
        """Try the slot, then those below it down to factory, then those above, then the test application."""
        slots = self._table.ota_slots
        for index in [*range(start, _FACTORY - 1, -1), *range(start + 1, len(slots))]:
            partition = self._table.factory if index == _FACTORY else slots[index] if index < len(slots) else None
            if partition is None:
                continue
            started = self._try(partition)
            if started is not None:
                self._set_first_entry(index)
                return started
            name = "Factory app partition" if index == _FACTORY else f"OTA app partition slot {index}"
            self._log("E", "boot", f"{name} is not bootable")
        test = self._table.find("app/test")
        started = self._try(test) if test is not None else None
        if started is None:
            self._log("E", "boot", "No bootable app partitions in the partition table")
        else:
            self._log("W", "boot", "Falling back to test app as only bootable partition")
        return started

    def _try(self, partition: Partition) -> Started | None:
        image = image_check.check(self._flash, partition, self._chip, self._log)
        if image is None:
            return None
        self._log("I", "boot", f"Loaded app from partition at offset {partition.offset:#x}")
        return Started(self._table, partition, image)

    def _set_first_entry(self, index: int) -> None:
        where = self._table.otadata
        if self._sets_first_entry and index > _FACTORY and where is not None:
            sector = OtaEntry(index + 1, OtaState.VALID).to_bytes()
            self._flash.erase(where.offset, SECTOR)
            self._flash.program(where.offset, sector)
            self._log("I", "boot", f"Set actual ota_seq={index + 1} in otadata[0]")


def write_otadata(flash: FlashMemory, where: Partition, before: OtaData, after: OtaData) -> None:
    """Write the sectors of otadata that have changed: erase, then program, with power that may go in between."""
    for number, (old, new) in enumerate(zip(before.entries, after.entries, strict=True)):
        if new is not None and new != old:
            at = where.offset + number * SECTOR
            flash.erase(at, SECTOR)
            flash.program(at, new.to_bytes())


def _is_invalid(entry: OtaEntry | None) -> bool:
    return entry is None or entry.sequence == ERASED_SEQUENCE or entry.state in _GIVEN_UP
