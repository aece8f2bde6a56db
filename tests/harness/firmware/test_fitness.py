"""A build that would not run on a board is refused with the reason; and builds say how full they are."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.firmware.build import Build, Part, find_build
from harness.firmware.chips import CHIPS
from harness.firmware.errors import FirmwareError, Unfit
from harness.firmware.fitness import PartSize, fits, sizes
from harness.firmware.made_builds import TABLE
from harness.firmware.otadata import OtaData
from harness.firmware.partition_table import APP, DATA, Partition, PartitionTable
from harness.firmware.spoiled_builds import SPOILINGS, spoil
from tests.harness.firmware.builds import C3, FLASH, as_arduino, as_platformio, build_in, merged


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build that fits."""
    return build_in(tmp_path / "build")


def refused(build: Build, chip=C3, flash_size: int = FLASH) -> Unfit:
    """Why it does not fit."""
    with pytest.raises(Unfit) as unfit:
        fits(build, chip, flash_size)
    return unfit.value


def with_part(build: Build, role: str, **changes: object) -> Build:
    """The build with one part changed."""
    parts = [msgspec.structs.replace(part, **changes) if part.role == role else part for part in build.parts]
    return msgspec.structs.replace(build, parts=tuple(sorted(parts, key=lambda part: part.offset)))


class TestFits:
    """What fits."""

    @pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
    def test_each_layout(self, tmp_path: Path, chip):
        """A good build fits, however it was found."""
        idf = build_in(tmp_path / "idf", chip, contents={"storage": bytes(0x40000)})
        image = tmp_path / "merged.bin"
        image.write_bytes(merged(idf))
        plain = build_in(tmp_path / "plain", chip)

        fits(idf, chip, FLASH)
        fits(find_build(image), chip, FLASH)
        fits(find_build(as_platformio(plain, tmp_path / "pio")), chip, FLASH)
        fits(find_build(as_arduino(plain, tmp_path / "arduino", flash_args=False)), chip, FLASH)

    def test_larger_flash(self, build: Build):
        """A board may have more flash than the build needs."""
        fits(build, C3, 4 * FLASH)

    def test_to_the_last_byte(self, tmp_path: Path):
        """An application may fill its slot."""
        slot = TABLE.applications[0].size
        build = build_in(tmp_path / "large", least_bytes=slot - 128)

        assert len(build.application.data) == slot
        fits(build, C3, FLASH)

    def test_factory(self, tmp_path: Path):
        """A table with a factory partition only, as the firmware's own one for 4 MB."""
        table = PartitionTable(
            (Partition("nvs", DATA, 2, 0x9000, 0x4000), Partition("factory", APP, 0, 0x10000, 0x2F0000))
        )

        fits(build_in(tmp_path / "factory", table=table), C3, FLASH)

    def test_otadata_that_chooses(self, tmp_path: Path):
        """Otadata of the build's own may choose another slot, if the application is there."""
        build = build_in(tmp_path / "chosen", contents={"otadata": OtaData().choosing(1, 2).to_bytes()})
        assert "the boot loader would start ota_1" in str(refused(build))

        fits(with_part(build, "application", offset=0x1F0000, label="ota_1"), C3, FLASH)


@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
@pytest.mark.parametrize("name", SPOILINGS)
def test_spoiled(tmp_path: Path, name: str, chip):
    """Each way to spoil a build is found, for the reason it was spoiled with."""
    build_in(tmp_path, chip)
    spoiling = spoil(tmp_path, name)

    with pytest.raises(FirmwareError) as refusal:
        fits(find_build(tmp_path), chip, FLASH)

    assert type(refusal.value) is spoiling.refusal
    assert getattr(refusal.value, "kind", "") == spoiling.kind


class TestRefused:
    """What does not fit."""

    def test_other_chip(self, build: Build):
        """The board has another chip."""
        unfit = refused(build, CHIPS["esp32"])

        assert unfit.kind == "chip"
        assert str(unfit) == "the build is refused: it is for esp32c3, the board has esp32"

    def test_smaller_flash(self, build: Build):
        """The board has less flash than the table needs."""
        unfit = refused(build, flash_size=FLASH // 2)

        assert unfit.kind == "flash_size"
        assert "the board has 0x200000 bytes of flash" in str(unfit)

    def test_bootloader_set_to_less(self, tmp_path: Path):
        """The boot loader believes in less flash than the table needs."""
        assert "its boot loader is set to 0x200000 bytes of flash" in str(
            refused(build_in(tmp_path / "small", flash_size=FLASH // 2))
        )

    def test_bootloader_set_to_more(self, tmp_path: Path):
        """Or in more than there is: it would not start."""
        assert refused(build_in(tmp_path / "large", flash_size=4 * FLASH)).reason == (
            "its boot loader is set to 0x1000000 bytes of flash, the board has 0x400000"
        )

    def test_without_bootloader(self, build: Build):
        """A build that has none where its chip looks for it."""
        parts = tuple(part for part in build.parts if part.role != "bootloader")

        assert "no boot loader at 0x0" in str(refused(msgspec.structs.replace(build, parts=parts)))

    def test_application_in_data(self, build: Build):
        """An application in a partition for something else."""
        assert "is an application and lies in storage" in str(
            refused(with_part(build, "application", offset=0x3C0000, label="storage"))
        )

    def test_short_otadata(self, build: Build):
        """Otadata of one sector."""
        assert "expected otadata of 0x2000 bytes" in str(refused(with_part(build, "data", data=b"\xff" * 0x1000)))

    def test_overlap(self, build: Build):
        """Two parts in one place."""
        twice = Part(0x8000, b"x", "twice.bin", "partition_table")
        unfit = refused(msgspec.structs.replace(build, parts=(*build.parts[:2], twice, *build.parts[2:])))

        assert unfit.kind == "overlap"
        assert "partition-table.bin ends at 0x8c00, twice.bin begins at 0x8000" in str(unfit)


def test_sizes(tmp_path: Path):
    """Parts, their places, and what is left in them."""
    build = build_in(tmp_path, contents={"storage": bytes(0x10000)})
    application = build.application

    found = {size.name: size for size in sizes(build)}

    assert found["gateway_device.bin"] == PartSize("gateway_device.bin", "ota_0", len(application.data), 0x1D0000)
    assert found["gateway_device.bin"].free == 0x1D0000 - len(application.data)
    assert (found["storage.bin"].used, found["storage.bin"].free) == (0x10000, 0x30000)
    assert (found["bootloader.bin"].label, found["bootloader.bin"].room) == ("", 0x8000)
    assert found["partition-table.bin"].room == 0x1000


def test_size_of_an_image(build: Build):
    """What is filled up behind an image is not its size; a damaged one counts as it is."""
    padded = with_part(build, "application", data=build.application.data.ljust(5000, b"\xff"))
    damaged = with_part(build, "application", data=build.application.data[:100])

    assert sizes(padded)[-1].used == len(build.application.data)
    assert sizes(damaged)[-1].used == 100
