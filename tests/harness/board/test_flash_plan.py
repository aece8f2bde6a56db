"""What goes on the flash, and what became of it: pure, on made builds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.board.esptool_output import Transcript, Wrote
from harness.board.flash_plan import Flashed, PartDone, Planned, outcome, planned, to_compare
from harness.firmware.build import Build
from harness.firmware.chips import CHIPS
from harness.firmware.made_builds import TABLE, make_build
from harness.firmware.otadata import OtaData, OtaState
from harness.firmware.partition_table import APP, DATA, FACTORY, Partition, PartitionTable

SETTINGS = Planned(0x9000, b"settings", "nvs", "settings")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build with two slots."""
    return make_build(tmp_path, CHIPS["esp32s3"])


def names(plan: tuple[Planned, ...]) -> list[str]:
    """The names of its parts."""
    return [part.name for part in plan]


def test_parts_of_a_build(build: Build):
    """All parts of a build, by offset; settings among them, in the place of the build's own."""
    assert names(planned(build)) == ["bootloader.bin", "partition-table.bin", "otadata", "ota_0"]
    assert names(planned(build, SETTINGS)) == ["bootloader.bin", "partition-table.bin", "nvs", "otadata", "ota_0"]


def test_settings_take_the_place(tmp_path: Path):
    """An NVS partition that the build ships gives way to the settings."""
    build = make_build(tmp_path, CHIPS["esp32s3"], contents={"nvs": b"\x00" * 0x4000})
    assert planned(build)[2].data == b"\x00" * 0x4000
    assert planned(build, SETTINGS)[2] == SETTINGS


def test_otadata_as_the_boot_loader_leaves_it(build: Build):
    """Erased otadata is written as the boot loader is going to note it, so that it is the same the next time."""
    written = next(part.data for part in planned(build) if part.name == "otadata")

    assert len(written) == 0x2000
    data = OtaData.parse(written)
    assert (data.slot(2), data.state, data.entries[1]) == (0, OtaState.VALID, None)


def test_otadata_that_stays(tmp_path: Path):
    """Otadata of the build's own choice stays as it is, and erased one does where there is a factory application."""
    chosen = OtaData().choosing(0, 2).to_bytes()
    build = make_build(tmp_path / "chosen", CHIPS["esp32s3"], contents={"otadata": chosen})
    assert next(part.data for part in planned(build) if part.name == "otadata") == chosen

    app = Partition("app", APP, FACTORY, 0x10000, 0x100000)
    factory = PartitionTable((*TABLE.entries[:3], app, *TABLE.entries[4:]))
    build = make_build(tmp_path / "factory", CHIPS["esp32s3"], table=factory)
    assert next(part.data for part in planned(build) if part.name == "otadata") == b"\xff" * 0x2000

    beside = msgspec.structs.replace(
        make_build(tmp_path / "beside", CHIPS["esp32s3"]), table=PartitionTable((*TABLE, app))
    )
    assert next(part.data for part in planned(beside) if part.name == "otadata") == b"\xff" * 0x2000

    alone = PartitionTable((Partition("nvs", DATA, 2, 0x9000, 0x4000), app))
    build = make_build(tmp_path / "alone", CHIPS["esp32s3"], table=alone)
    assert names(planned(build)) == ["bootloader.bin", "partition-table.bin", "app"]


def test_outcome():
    """Writes are counted for the part they lie in; a part without any was there."""
    plan = (Planned(0x1000, bytes(0x1000), "one"), Planned(0x2000, bytes(0x3000), "two"), SETTINGS)
    said = Transcript()
    said.mac = "02:00:00:00:00:01"
    said.wrote = [Wrote(0x2000, 0x1000), Wrote(0x4000, 0x1000)]
    flashed = outcome(plan, said, 1.25, 4 << 20)

    assert flashed.parts == (
        PartDone("one", 0x1000, 0x1000, 0),
        PartDone("two", 0x2000, 0x3000, 0x2000),
        PartDone("nvs", 0x9000, 8, 0, "settings"),
    )
    assert (flashed.written, flashed.skipped) == ((flashed.parts[1],), (flashed.parts[0],))
    assert (flashed.settings_written, flashed.bytes_written) == (False, 0x2000)
    assert str(flashed) == "wrote two: 8 KiB, 1 skipped; settings are there (1.2 s)"


def test_nothing_written():
    """A flash that had nothing to write says so; settings are said besides."""
    one, nvs = PartDone("one", 0, 1, 0), PartDone("nvs", 0x9000, 0x4000, 0x4000, "settings")
    assert str(Flashed("", 0, (one, one), 0.34)) == "nothing to write, its 2 parts are there (0.3 s)"
    assert str(Flashed("", 0, (nvs,), 0.34)) == "settings written (0.3 s)"
    both = Flashed("", 0, (one, nvs), 0.34)
    assert str(both) == "nothing to write, its 1 parts are there; settings written (0.3 s)"
    assert (both.written, both.bytes_written) == ((), 0x4000)


def test_what_to_compare_with():
    """The images that are held are compared with, if all are there and one has changed; settings are never held."""
    plan = (Planned(0, b"old", "one"), Planned(0x1000, b"new", "two"), SETTINGS)
    held = {0: b"old", 0x1000: b"older", 0x9000: b"never"}

    assert to_compare(plan, held) == (b"old", b"older", None)
    assert to_compare(plan, {0: b"old"}) == ()
    assert to_compare(plan, {0: b"old", 0x1000: b"new"}) == ()
    assert to_compare(plan, {}) == ()
