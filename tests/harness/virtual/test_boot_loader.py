"""From the ROM to the application: what is chosen, what is fallen back to, and what stands in otadata afterwards."""

from __future__ import annotations

import pytest

from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.otadata import OTADATA_BYTES, OtaData, OtaEntry, OtaState
from harness.firmware.partition_table import APP, Partition, PartitionTable
from harness.virtual.boot_loader import BootLoader, CannotStart, Started, start_rom
from harness.virtual.boot_log import BootLog
from tests.harness.virtual.flashed import OTADATA, WITH_FACTORY, flashed, image
from tests.harness.virtual.memory import Memory

NEW, PENDING, VALID, ABORTED = OtaState.NEW, OtaState.PENDING_VERIFY, OtaState.VALID, OtaState.ABORTED


def booted(memory: Memory, chip: ChipName = "esp32s3", *, rollback: bool = True) -> tuple[Started | CannotStart, str]:
    """What is started, and the log."""
    lines: list[str] = []
    itself = start_rom(memory, CHIPS[chip], "power_on", lines.extend)
    if isinstance(itself, CannotStart):
        return itself, "\n".join(lines)
    log = BootLog(lambda data: lines.append(data.decode().strip()))
    return BootLoader(memory, CHIPS[chip], log, rollback=rollback).run(itself), "\n".join(lines)


def started(memory: Memory, **settings: bool) -> str:
    """The label of what is started."""
    outcome, said = booted(memory, **settings)
    assert isinstance(outcome, Started), said
    return outcome.partition.label


def otadata(memory: Memory) -> OtaData:
    """What stands in otadata."""
    return OtaData.parse(memory.read(OTADATA.offset, OTADATA_BYTES))


def with_otadata(*entries: OtaEntry | None, apps: tuple[str, ...] = ("ota_0", "ota_1")) -> Memory:
    """A flash with these applications and this otadata."""
    memory = flashed(apps={label: image() for label in apps})
    memory.put(OTADATA.offset, OtaData((entries[0], entries[1] if len(entries) > 1 else None)).to_bytes())
    return memory


class TestRom:
    """The boot loader is looked for where each chip's ROM does."""

    @pytest.mark.parametrize("chip", CHIPS)
    def test_loads(self, chip: ChipName):
        """It is loaded, and entered."""
        outcome, said = booted(flashed(chip, apps={"ota_0": image(chip)}), chip)

        assert isinstance(outcome, Started)
        assert "mode:DIO, clock div:1" in said
        assert "entry 0x40" in said

    @pytest.mark.parametrize("chip", CHIPS)
    def test_erased(self, chip: ChipName):
        """On an erased flash it finds no header, and its watchdog bites."""
        outcome, said = booted(Memory(), chip)

        assert outcome == CannotStart("boot_watchdog")
        assert said.endswith("invalid header: 0xffffffff")

    def test_for_another_chip(self):
        """A boot loader for another chip is none."""
        outcome, said = booted(flashed("esp32c3"), "esp32s3")

        assert outcome == CannotStart("boot_watchdog")
        assert "csum err" in said

    def test_damaged(self):
        """A wrong checksum ends it."""
        memory = flashed()
        memory.put(0x40, b"\x55")
        outcome, said = booted(memory)

        assert outcome == CannotStart("boot_watchdog")
        assert "csum err:0x" in said
        assert "entry" not in said

    @pytest.mark.parametrize(("chip", "is_told"), [("esp32", False), ("esp32s3", True)])
    def test_changed_header(self, chip: ChipName, is_told: bool):
        """A wrong hash does not: esptool changes the header; the newer ROMs say so."""
        memory = flashed(chip, apps={"ota_0": image(chip)})
        at = CHIPS[chip].bootloader_offset + 2
        memory.put(at, b"\0")  # the mode is QIO now
        outcome, said = booted(memory, chip)

        assert isinstance(outcome, Started)
        assert ("SHA-256 comparison failed:" in said) is is_told


class TestChoice:
    """Which application is started."""

    def test_first_start(self):
        """Without otadata ota_0 is, and that is written down."""
        memory = flashed()

        assert started(memory) == "ota_0"
        assert otadata(memory).entries == (OtaEntry(1, VALID), None)

    def test_factory(self):
        """Where there is a factory application, it is; and nothing is written."""
        memory = flashed(table=WITH_FACTORY, apps={"factory": image(), "ota_0": image()})

        assert started(memory) == "factory"
        assert otadata(memory).entries == (None, None)

    @pytest.mark.parametrize(("sequence", "label"), [(1, "ota_0"), (2, "ota_1"), (3, "ota_0")])
    def test_by_sequence(self, sequence: int, label: str):
        """The sequence number says which."""
        assert started(with_otadata(OtaEntry(sequence, VALID))) == label

    def test_higher_sequence(self):
        """Of two entries the higher number counts."""
        assert started(with_otadata(OtaEntry(3, VALID), OtaEntry(2, VALID))) == "ota_0"

    def test_damaged_otadata(self):
        """Entries whose CRC does not hold are no choice."""
        memory = with_otadata(OtaEntry(2, VALID))
        memory.put(OTADATA.offset + 28, b"\0\0\0\0")
        _, said = booted(memory)

        assert "E (0) boot: ota data partition invalid and no factory, will try all partitions" in said

    def test_damaged_otadata_with_factory(self):
        """Then the factory application is started."""
        memory = flashed(table=WITH_FACTORY, apps={"factory": image(), "ota_1": image()})
        memory.put(OTADATA.offset, OtaEntry(2, VALID).to_bytes()[:28] + b"\0" * 4)
        outcome, said = booted(memory)

        assert isinstance(outcome, Started)
        assert outcome.partition.label == "factory"
        assert "ota data partition invalid, falling back to factory" in said

    def test_no_otadata(self):
        """A table without OTA has its factory application."""
        table = PartitionTable((Partition("factory", APP, 0, 0x10000, 0x100000),))

        assert started(flashed(table=table, apps={"factory": image()})) == "factory"


class TestFallBack:
    """What is damaged is passed over."""

    def test_to_the_other_slot(self):
        """The slot below is tried next, and the damaged one named."""
        outcome, said = booted(with_otadata(OtaEntry(2, VALID), apps=("ota_0",)))

        assert isinstance(outcome, Started)
        assert outcome.partition.label == "ota_0"
        assert "OTA app partition slot 1 is not bootable" in said

    def test_to_the_slot_above(self):
        """Then those above."""
        assert started(with_otadata(OtaEntry(1, VALID), apps=("ota_1",))) == "ota_1"

    def test_to_the_test_application(self):
        """At last the test application."""
        table = PartitionTable((Partition("test", APP, 0x20, 0x10000, 0x100000),))
        outcome, said = booted(flashed(table=table, apps={"test": image()}))

        assert isinstance(outcome, Started)
        assert "Falling back to test app as only bootable partition" in said

    def test_nothing_left(self):
        """Where nothing can be started, the boot loader resets the chip."""
        outcome, said = booted(flashed(apps={}))

        assert outcome == CannotStart("boot_loader")
        assert said.splitlines()[-1].endswith("boot: No bootable app partitions in the partition table")
        assert "OTA app partition slot 0 is not bootable" in said

    def test_no_table(self):
        """Nor without a table."""
        memory = flashed()
        memory.put(0x8000, b"\0" * 32)
        outcome, said = booted(memory)

        assert outcome == CannotStart("boot_loader")
        assert "load partition table error!" in said


class TestRollback:
    """An update that nobody confirms is given up."""

    def test_first_start_of_an_update(self):
        """It is started, and waits to be confirmed."""
        memory = with_otadata(OtaEntry(1, VALID), OtaEntry(2, NEW))

        assert started(memory) == "ota_1"
        assert otadata(memory).entries == (OtaEntry(1, VALID), OtaEntry(2, PENDING))

    def test_second_start(self):
        """Not confirmed until then, it is aborted, and the one before is started."""
        memory = with_otadata(OtaEntry(1, VALID), OtaEntry(2, PENDING))

        assert started(memory) == "ota_0"
        assert otadata(memory).entries == (OtaEntry(1, VALID), OtaEntry(2, ABORTED))
        assert started(memory) == "ota_0"

    def test_confirmed(self):
        """Confirmed, it stays."""
        memory = with_otadata(OtaEntry(1, VALID), OtaEntry(2, VALID))

        assert [started(memory), started(memory)] == ["ota_1", "ota_1"]

    def test_without_rollback(self):
        """A boot loader without rollback changes nothing."""
        memory = with_otadata(OtaEntry(1, VALID), OtaEntry(2, PENDING))

        assert started(memory, rollback=False) == "ota_1"
        assert otadata(memory).entries == (OtaEntry(1, VALID), OtaEntry(2, PENDING))

    def test_all_given_up(self):
        """Where no entry counts, it begins with ota_0, and does not take that for a first start."""
        for entries in ((OtaEntry(1, ABORTED), OtaEntry(2, ABORTED)), (None, OtaEntry(2, ABORTED))):
            memory = with_otadata(*entries)

            assert started(memory) == "ota_0"
            assert otadata(memory).entries == entries
