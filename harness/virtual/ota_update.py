"""Over-the-air updates as ESP-IDF's ``esp_ota_ops.c`` does them: the other slot is written, checked and chosen.

Errors are its codes (``esp_err.h``, ``esp_ota_ops.h``), which device programs get as they are.
"""

from __future__ import annotations

from harness.firmware.chips import Chip
from harness.firmware.otadata import OTADATA_BYTES, OtaData, OtaState
from harness.firmware.partition_table import SECTOR, Partition
from harness.virtual import image_check
from harness.virtual.boot_loader import Started, write_otadata
from harness.virtual.boot_log import BootLog
from harness.virtual.errors import OtaRefused
from harness.virtual.machine import FlashMemory


class OtaUpdate:
    """The updates of one application, from the slot it runs in; not to be used from two threads.

    Args:
        flash: that it lies on.
        chip: that an image has to be for.
        started: what runs, and where from.
        log: where the check of an image is logged, as on a chip.
        rollback: see `BootLoader`.
    """

    def __init__(self, flash: FlashMemory, chip: Chip, started: Started, log: BootLog, *, rollback: bool) -> None:
        self._flash = flash
        self._chip = chip
        self._started = started
        self._log = log
        self._rollback = rollback
        self._target: Partition | None = None
        self._written = 0
        self._erased = 0

    def begin(self) -> Partition:
        """Begin an update; return the slot that it goes to (``esp_ota_begin``, with sequential writes)."""
        slots = self._started.table.ota_slots
        running = self._started.partition
        if self._rollback and self._state() is OtaState.PENDING_VERIFY:
            raise OtaRefused("ESP_ERR_OTA_ROLLBACK_INVALID_STATE", "the running application was not confirmed")
        others = [slot for slot in (*slots[_place(running, slots) + 1 :], *slots) if slot != running]
        if self._started.table.otadata is None or not others:
            raise OtaRefused("ESP_ERR_NOT_FOUND", "the partition table has no other slot, or no otadata")
        self._target, self._written, self._erased = others[0], 0, 0
        return others[0]

    def write(self, data: bytes) -> int:
        """Write the next bytes; sectors are erased as they are come to. Return how many there are now."""
        target = self._begun()
        end = self._written + len(data)
        if end > target.size:
            raise OtaRefused("ESP_ERR_INVALID_SIZE", f"expected at most {target.size} bytes")
        while self._erased < end:
            self._flash.erase(target.offset + self._erased, SECTOR)
            self._erased += SECTOR
        self._flash.program(target.offset + self._written, data)
        self._written = end
        return end

    def end(self) -> None:
        """Check what was written, and have it started after the next reset (``esp_ota_set_boot_partition``, too)."""
        target = self._begun()
        self._target = None
        if image_check.check(self._flash, target, self._chip, self._log) is None:
            raise OtaRefused("ESP_ERR_OTA_VALIDATE_FAILED", "no chip would start what was written")
        where, data = self._otadata()
        slots = self._started.table.ota_slots
        state = OtaState.NEW if self._rollback else OtaState.UNDEFINED
        write_otadata(self._flash, where, data, data.choosing(slots.index(target), len(slots), state))

    def abort(self) -> None:
        """Forget what was begun; idempotent."""
        self._target = None

    # --- the running application --------------------------------------------------------------------------------

    def state(self) -> str:
        """Return the state of the running application in the words of ``esp_ota_img_states_t``, in lower case."""
        state = self._state()
        return (OtaState.UNDEFINED if state is None else state).name.lower()

    def confirm(self) -> None:
        """Say that it works (``esp_ota_mark_app_valid_cancel_rollback``); without it, it is given up next time."""
        self._mark(OtaState.VALID)

    def reject(self) -> None:
        """Say that it does not work; the one before is started after the next reset."""
        self._mark(OtaState.INVALID)

    def _mark(self, state: OtaState) -> None:
        if self._state() is not None:
            where, data = self._otadata()
            write_otadata(self._flash, where, data, data.marked(state))

    def _state(self) -> OtaState | None:
        """Return the state in otadata; None: it runs from factory, or otadata has none for it."""
        slots = self._started.table.ota_slots
        if self._started.table.otadata is None or self._started.partition not in slots:
            return None
        _, data = self._otadata()
        return data.state if data.slot(len(slots)) == slots.index(self._started.partition) else None

    def _otadata(self) -> tuple[Partition, OtaData]:
        where = self._started.table.otadata
        assert where is not None, "looked for before"
        return where, OtaData.parse(self._flash.read(where.offset, OTADATA_BYTES))

    def _begun(self) -> Partition:
        if self._target is None:
            raise OtaRefused("ESP_ERR_INVALID_STATE", "expected ota_begin before")
        return self._target


def _place(running: Partition, slots: tuple[Partition, ...]) -> int:
    return slots.index(running) if running in slots else -1
