"""Builds are found in folders, and say what is wrong with which file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.firmware.build import ERASED_OTADATA, Build, find_build
from harness.firmware.chips import CHIPS
from harness.firmware.errors import BadBuild
from harness.firmware.image import Segment
from harness.firmware.image_writer import image_file
from harness.firmware.made_builds import TABLE
from harness.firmware.otadata import OtaData
from harness.firmware.partition_table import APP, DATA, Partition, PartitionTable
from tests.harness.firmware.builds import C3, FLASH, as_arduino, as_platformio, build_in, merged

ROLES = ["bootloader", "partition_table", "data", "application"]


@pytest.fixture
def idf(tmp_path: Path) -> Build:
    """A build in ESP-IDF's layout."""
    return build_in(tmp_path / "idf")


def refused(path: Path) -> BadBuild:
    """Why there is no build."""
    with pytest.raises(BadBuild) as bad:
        find_build(path)
    return bad.value


def change(path: Path, **members: Any) -> None:
    """Change members of a JSON file; None: remove it."""
    value = json.loads(path.read_text())
    for name, member in members.items():
        value[name] = member
        if member is None:
            del value[name]
    path.write_text(json.dumps(value))


def same(build: Build, other: Build) -> bool:
    """Whether two builds flash the same."""
    return [(part.offset, part.data, part.role, part.label) for part in build.parts] == [
        (part.offset, part.data, part.role, part.label) for part in other.parts
    ]


class TestEspIdf:
    """``flasher_args.json``."""

    def test_found(self, idf: Build):
        """Everything it says is there."""
        assert (idf.layout, idf.chip, idf.flash_size) == ("esp-idf", C3, FLASH)
        assert [part.role for part in idf.parts] == ROLES
        assert [part.label for part in idf.parts] == ["", "", "otadata", "ota_0"]
        assert [part.offset for part in idf.parts] == [0, 0x8000, 0xD000, 0x20000]
        assert idf.elf == idf.path / "gateway_device.elf"
        assert idf.descriptor is not None
        assert (idf.descriptor.project, idf.descriptor.version) == ("gateway_device", "1.0.0")
        assert idf.application.path == idf.path / "gateway_device.bin"
        assert idf.application.end == 0x20000 + len(idf.application.data)

    def test_from_the_project(self, idf: Build):
        """The project's folder, or the list itself, does as well."""
        project = idf.path.parent / "project"
        shutil.copytree(idf.path, project / "build")

        assert same(find_build(project), idf)
        assert same(find_build(project / "build" / "flasher_args.json"), idf)
        assert same(find_build(str(project)), idf)

    def test_as_it_was(self, idf: Build):
        """What was found stays as it was, whatever becomes of the files."""
        before = idf.application.data
        (idf.path / "gateway_device.bin").write_bytes(b"new")

        assert idf.application.data == before

    def test_older_versions(self, idf: Build):
        """ESP-IDF 4 wrote neither ``encrypted`` nor a description; the flash size can be left open."""
        (idf.path / "project_description.json").unlink()
        change(
            idf.path / "flasher_args.json",
            app={"offset": "0x20000", "file": "gateway_device.bin"},
            flash_settings={"flash_mode": "dio", "flash_size": "detect", "flash_freq": "40m"},
        )

        build = find_build(idf.path)

        assert same(build, idf)
        assert (build.elf, build.flash_size) == (None, None)

    def test_chip_of_the_image(self, idf: Build):
        """Where the list leaves the chip open, the application says it."""
        change(idf.path / "flasher_args.json", extra_esptool_args={"chip": "auto"})

        assert find_build(idf.path).chip is C3

    def test_without_elf(self, idf: Build):
        """A build without its ELF file, as from CI, can be flashed all the same."""
        (idf.path / "gateway_device.elf").unlink()

        assert find_build(idf.path).elf is None

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"flash_files": None}, "missing required field `flash_files`"),
            ({"flash_files": []}, "Expected `object`, got `array` - at `$.flash_files`"),
            ({"app": {"offset": 5, "file": "x"}}, "Expected `str`, got `int` - at `$.app.offset`"),
            ({"app": {"offset": "0xyz", "file": "x"}}, "expected the offset of x in flash, got '0xyz'"),
            ({"app": {"offset": "-1", "file": "x"}}, "expected the offset of x within"),
            ({"app": {"offset": "0x30000", "file": "x"}}, "expected the application at 0x30000 in the list"),
            ({"app": {"offset": "0x20000", "file": "x", "encrypted": "true"}}, "flash encryption are not supported"),
            ({"flash_settings": {"flash_size": "large"}}, "expected a flash size like 4MB, got 'large'"),
            ({"extra_esptool_args": {"chip": "esp32p4"}}, "expected one of esp32, esp32s3, esp32c3, got 'esp32p4'"),
            ({"flash_files": {"0x20000": "gateway_device.bin"}}, "expected a partition table in the list"),
        ],
    )
    def test_wrong_list(self, idf: Build, members: dict[str, Any], said: str):
        """Each fault of the list names the file and the place."""
        change(idf.path / "flasher_args.json", **members)

        bad = refused(idf.path)

        assert bad.path == idf.path / "flasher_args.json"
        assert said in str(bad)

    @pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"flash_files": NaN}'])
    def test_no_json(self, idf: Build, text: bytes):
        """What is not JSON is said to be so."""
        (idf.path / "flasher_args.json").write_bytes(text)

        bad = refused(idf.path)

        assert bad.path == idf.path / "flasher_args.json"
        assert "expected JSON" in str(bad) or "expected `object`" in str(bad).lower()

    def test_description_no_json(self, idf: Build):
        """The second file is read as carefully as the first."""
        (idf.path / "project_description.json").write_text("{")

        assert refused(idf.path).path == idf.path / "project_description.json"

    def test_missing_file(self, idf: Build):
        """A listed file that is not there is named."""
        (idf.path / "bootloader/bootloader.bin").unlink()

        assert (
            str(refused(idf.path))
            == f"{idf.path}/bootloader/bootloader.bin: expected a file, there is none; build again"
        )

    def test_directory_in_place_of_a_file(self, idf: Build):
        """So is one that is none."""
        (idf.path / "gateway_device.bin").unlink()
        (idf.path / "gateway_device.bin").mkdir()

        assert "it is something else" in str(refused(idf.path))

    def test_table(self, idf: Build):
        """A partition table that is none is the table's fault."""
        table = idf.path / "partition_table/partition-table.bin"
        table.write_bytes(b"\0" * 0xC00)

        bad = refused(idf.path)

        assert bad.path == table
        assert "bad partition table" in str(bad)

    def test_image_of_another_chip(self, idf: Build):
        """An image for a chip that is not supported, in a list that leaves the chip open."""
        change(idf.path / "flasher_args.json", extra_esptool_args={"chip": "auto"})
        (idf.path / "gateway_device.bin").write_bytes(b"\xe9" + bytes(100))

        assert find_build(idf.path).chip.name == "esp32"
        (idf.path / "gateway_device.bin").write_bytes(b"\xe9" + b"\x77" * 100)
        assert "expected the chip" in str(refused(idf.path))


class TestPlatformIo:
    """``idedata.json``."""

    def test_found(self, idf: Build, tmp_path: Path):
        """The same build under other names; the ELF file is beside."""
        folder = as_platformio(idf, tmp_path / "project/.pio/build/door")

        build = find_build(folder)

        assert same(build, idf)
        assert (build.layout, build.chip, build.flash_size) == ("platformio", C3, None)
        assert build.elf == folder / "firmware.elf"
        assert same(find_build(tmp_path / "project"), idf)

    def test_offset_from_the_table(self, idf: Build, tmp_path: Path):
        """Where the platform does not say where the application goes, the table does."""
        assert same(find_build(as_platformio(idf, tmp_path / "pio", application_offset=False)), idf)

    def test_moved(self, idf: Build, tmp_path: Path):
        """Its paths are absolute; a folder that was copied from another machine has the files itself."""
        as_platformio(idf, tmp_path / "pio").rename(tmp_path / "moved")

        build = find_build(tmp_path / "moved")

        assert same(build, idf)
        assert build.elf == tmp_path / "moved/firmware.elf"

    def test_before_esp_idf(self, idf: Build, tmp_path: Path):
        """With ESP-IDF as its framework there is a list of ESP-IDF's too, which does not fit."""
        folder = as_platformio(idf, tmp_path / "pio")
        (folder / "flasher_args.json").write_text("{}")

        assert find_build(folder).layout == "platformio"

    def test_several(self, idf: Build, tmp_path: Path):
        """Of several environments one has to be named."""
        for environment in ("door", "gate"):
            as_platformio(idf, tmp_path / "project/.pio/build" / environment)

        assert str(refused(tmp_path / "project")).endswith(
            "expected one build, there are several: .pio/build/door, .pio/build/gate; name one of them"
        )

    @pytest.mark.parametrize(
        ("members", "said"),
        [
            ({"prog_path": None}, "missing required field `prog_path`"),
            ({"extra": {}}, "missing required field `flash_images` - at `$.extra`"),
            ({"extra": {"flash_images": [{"offset": "0x0"}]}}, "field `path` - at `$.extra.flash_images[0]`"),
            ({"extra": {"flash_images": []}}, "expected a partition table at 0x8000, there is none in the list"),
            ({"extra": {"flash_images": [], "application_offset": "?"}}, "the offset of the application in flash"),
        ],
    )
    def test_wrong_list(self, idf: Build, tmp_path: Path, members: dict[str, Any], said: str):
        """Each fault of the list names the file and the place."""
        folder = as_platformio(idf, tmp_path / "pio")
        change(folder / "idedata.json", **members)

        bad = refused(folder)

        assert bad.path == folder / "idedata.json"
        assert said in str(bad)

    def test_table_without_application(self, idf: Build, tmp_path: Path):
        """A table without a place for applications says nothing."""
        folder = as_platformio(idf, tmp_path / "pio", application_offset=False)
        for table, said in (
            (PartitionTable((Partition("nvs", DATA, 2, 0x9000, 0x4000),)).to_bytes(), "none in the table"),
            (b"\0" * 0xC00, "bad partition table"),
        ):
            (folder / "partitions.bin").write_bytes(table)

            assert said in str(refused(folder))


class TestArduino:
    """``flash_args``, or the names of the files."""

    def test_found(self, idf: Build, tmp_path: Path):
        """The same build under other names."""
        folder = as_arduino(idf, tmp_path / "blink/build/esp32.esp32.esp32c3")

        build = find_build(folder)

        assert same(build, idf)
        assert (build.layout, build.chip, build.flash_size) == ("arduino", C3, FLASH)
        assert build.elf == folder / "blink.ino.elf"
        assert same(find_build(tmp_path / "blink"), idf)

    def test_by_names(self, idf: Build, tmp_path: Path):
        """Without a list the names say it; otadata, which is not there, is to be erased."""
        folder = as_arduino(idf, tmp_path / "out", flash_args=False)
        (folder / "build.options.json").unlink()

        build = find_build(folder)

        assert same(build, idf)
        assert build.parts[2].name == ERASED_OTADATA
        assert build.flash_size is None

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "expected blink.ino.bin in the list"),
            ("--flash_size", "expected something behind '--flash_size', it is the last word"),
            ("--flash_size big 0x0 a", "expected a flash size like 4MB"),
            ("nowhere blink.ino.bin", "expected the offset of blink.ino.bin in flash, got 'nowhere'"),
            ("0x0 'blink", "expected options, offsets and files: No closing quotation"),
        ],
    )
    def test_wrong_list(self, idf: Build, tmp_path: Path, text: str, said: str):
        """Each fault of the list is said."""
        folder = as_arduino(idf, tmp_path / "blink")
        (folder / "flash_args").write_text(text)

        bad = refused(folder)

        assert bad.path == folder / "flash_args"
        assert said in str(bad)

    def test_no_text(self, idf: Build, tmp_path: Path):
        """A list that is no text."""
        folder = as_arduino(idf, tmp_path / "blink")
        (folder / "flash_args").write_bytes(b"\xff\xff")

        assert "expected text in UTF-8" in str(refused(folder))

    def test_sketches(self, idf: Build, tmp_path: Path):
        """A folder has the files of one sketch."""
        folder = as_arduino(idf, tmp_path / "blink")
        shutil.copy(folder / "blink.ino.partitions.bin", folder / "other.ino.partitions.bin")
        assert "there are blink.ino, other.ino" in str(refused(folder))
        for table in folder.glob("*.partitions.bin"):
            table.unlink()
        assert "there are none" in str(refused(folder))

    def test_bootloader(self, idf: Build, tmp_path: Path):
        """Without a list the boot loader has to say for which chip it is."""
        folder = as_arduino(idf, tmp_path / "blink", flash_args=False)
        (folder / "blink.ino.bootloader.bin").write_bytes(b"\xff" * 100)

        assert "expected a boot loader for a chip that is supported" in str(refused(folder))


class TestMerged:
    """One image for the whole flash."""

    @pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
    def test_found(self, tmp_path: Path, chip):
        """Its parts are those it was made of, and the gap with NVS is none of them."""
        idf = build_in(tmp_path / "idf", chip, contents={"storage": b"files" * 1000})
        image = tmp_path / "merged.bin"
        image.write_bytes(merged(idf))

        build = find_build(image)

        assert same(build, idf)
        assert (build.layout, build.chip, build.elf) == ("merged", chip, None)
        assert [part.name for part in build.parts] == ["boot loader", "partition table", "otadata", "ota_0", "storage"]
        assert build.descriptor == idf.descriptor

    def test_padded(self, idf: Build, tmp_path: Path):
        """One that is filled up to the size of the flash has no more parts than another."""
        image = tmp_path / "merged.bin"
        image.write_bytes(merged(idf).ljust(FLASH, b"\xff"))

        assert same(find_build(image), idf)

    def test_in_a_folder(self, idf: Build, tmp_path: Path):
        """The only one in a folder is found, whatever it is called."""
        folder = tmp_path / "release"
        folder.mkdir()
        (folder / "firmware-v1.bin").write_bytes(merged(idf))
        (folder / "notes.bin").write_bytes(b"something else")

        assert find_build(folder).path == folder / "firmware-v1.bin"
        shutil.copy(folder / "firmware-v1.bin", folder / "firmware-v2.bin")
        assert "there are several of these: firmware-v1.bin, firmware-v2.bin" in str(refused(folder))

    def test_otadata_that_was_cut_off(self, tmp_path: Path):
        """An image that ends within otadata has it whole: what is missing is FF."""
        table = PartitionTable(
            (Partition("app", APP, 0x10, 0x10000, 0x10000), Partition("otadata", DATA, 0, 0x20000, 0x2000))
        )
        idf = build_in(tmp_path / "idf", table=table)
        image = tmp_path / "merged.bin"
        image.write_bytes(merged(idf)[:0x20010])

        assert find_build(image).parts[-1].data == OtaData().to_bytes()

    def test_damaged_application(self, idf: Build, tmp_path: Path):
        """An application that is damaged is still a part; what is wrong with it is told when it is to be flashed."""
        raw = bytearray(merged(idf))
        raw[0x20100] ^= 1
        (tmp_path / "merged.bin").write_bytes(raw)

        build = find_build(tmp_path / "merged.bin")

        assert build.descriptor is None
        assert build.application.data == bytes(raw[0x20000:])

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"", "with a partition table at 0x8000: expected at least one entry"),
            (b"\xff" * 0x8000 + TABLE.to_bytes(), "expected a boot loader at one of 0x1000 (esp32), 0x0 (esp32s3)"),
            (
                image_file(C3, 0, [Segment(0, b"x")], flash_size=FLASH).ljust(0x8000, b"\xff") + TABLE.to_bytes(),
                "expected an application in one of the partitions for them",
            ),
        ],
        ids=["empty", "no boot loader", "no application"],
    )
    def test_refused(self, tmp_path: Path, data: bytes, said: str):
        """What is missing is said."""
        (tmp_path / "merged.bin").write_bytes(data)

        assert said in str(refused(tmp_path / "merged.bin"))


class TestNone:
    """Where there is no build."""

    def test_nothing(self, tmp_path: Path):
        """A path that leads nowhere."""
        assert "there is neither" in str(refused(tmp_path / "nowhere"))

    def test_empty_folder(self, tmp_path: Path):
        """What is looked for is said."""
        said = str(refused(tmp_path))

        for layout in ("flasher_args.json", "idedata.json", "flash_args", "merged .bin"):
            assert layout in said

    def test_not_a_regular_file(self, tmp_path: Path):
        """A pipe is not read: that could take for ever."""
        idf = build_in(tmp_path / "build")
        idf.application.path.unlink()
        os.mkfifo(idf.application.path)
        os.mkfifo(tmp_path / "pipe.bin")

        assert "it is something else" in str(refused(idf.path))
        assert refused(tmp_path / "pipe.bin")
        shutil.rmtree(idf.path)
        assert refused(tmp_path)

    def test_control_characters(self, tmp_path: Path):
        """A name that would write to the terminal is shown as escapes."""
        folder = tmp_path / "a\x1b[2Jb"
        folder.mkdir()

        assert "\\x1b" in str(refused(folder))


def test_erased_otadata(tmp_path: Path):
    """A build without otadata for a table that has it gets an erased one; a table without it does not."""
    idf = build_in(tmp_path / "idf")
    change(
        idf.path / "flasher_args.json",
        flash_files={
            hex(part.offset): str(part.path.relative_to(idf.path))
            for part in idf.parts
            if part.path and part.label != "otadata"
        },
    )

    assert [part.name for part in find_build(idf.path).parts][2] == ERASED_OTADATA
    assert same(find_build(idf.path), idf)

    without = build_in(tmp_path / "other", table=PartitionTable((Partition("factory", APP, 0, 0x10000, 0x100000),)))
    assert [part.role for part in without.parts] == ["bootloader", "partition_table", "application"]
