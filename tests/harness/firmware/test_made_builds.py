"""Builds are made without a compiler, and Espressif's own tool finds nothing wrong with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import Misuse
from harness.firmware import littlefs
from harness.firmware.chips import CHIPS, Chip
from harness.firmware.descriptors import APP_DESCRIPTOR_BYTES
from harness.firmware.elf import LOOPS, MACHINES, Section, elf_file
from harness.firmware.image import Image, Segment
from harness.firmware.image_writer import image_file
from harness.firmware.made_builds import DEFAULT_PROGRAM, PROJECT, TABLE, make_build
from harness.firmware.made_images import IDF, MEMORY
from harness.firmware.partition_table import DATA, Partition, PartitionTable
from harness.firmware.spoiled_builds import SPOILINGS, spoil
from tests.harness.firmware.builds import C3, build_in, merged

FIXTURES = Path(__file__).parents[3] / "firmware_fixtures"
VERSIONS = ("1.0.0", "1.1.0")


def esptool(*arguments: str, folder: Path) -> str:
    """Run esptool, which is no part of ours, in a folder; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "esptool", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestFixtures:
    """The builds in ``firmware_fixtures``."""

    def test_made_again(self, tmp_path: Path):
        """The script makes each of them again, byte for byte, with esptool's images."""
        subprocess.run(
            [sys.executable, str(FIXTURES / "make.py"), "--into", str(tmp_path)], timeout=30, check=True, cwd=tmp_path
        )

        made = files_in(tmp_path)
        assert len({name.split("/")[0] for name in made}) == len(CHIPS) * len(VERSIONS)
        assert {name: (FIXTURES / name).read_bytes() for name in made} == made

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
    def test_without_esptool(self, tmp_path: Path, chip: Chip, version: str):
        """This package makes the very same without esptool."""
        build_in(tmp_path, chip, version=version)

        assert files_in(tmp_path) == files_in(FIXTURES / f"{chip.name}-{version}")

    @pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
    def test_accepted_by_esptool(self, chip: Chip):
        """``esptool image-info`` finds checksums and hashes valid, and reads who they are."""
        folder = FIXTURES / f"{chip.name}-1.1.0"

        application = esptool("image-info", f"{PROJECT}.bin", folder=folder)
        bootloader = esptool("image-info", "bootloader/bootloader.bin", folder=folder)

        for said in (application, bootloader):
            assert "Checksum: " in said
            assert "Validation hash: " in said
            assert said.count("(valid)") == 2
            assert f"image type: {chip.title.replace('-', '')}".lower() in said.lower().replace("-", "")
        for fact in (f"Project name: {PROJECT}", "App version: 1.1.0", f"ESP-IDF: {IDF}", "Flash size: 4MB"):
            assert fact in application
        assert "Bootloader version: 1" in bootloader

    def test_spoiled_ones(self, tmp_path: Path):
        """The script makes a spoiled build for each way to spoil one, and the page there names them all."""
        subprocess.run(
            [sys.executable, str(FIXTURES / "make.py"), "--spoiled", str(tmp_path)],
            timeout=30,
            check=True,
            cwd=tmp_path,
        )
        page = (FIXTURES / "README.md").read_text()

        assert {path.name for path in tmp_path.iterdir()} == set(SPOILINGS)
        for name, spoiling in SPOILINGS.items():
            assert f"| `{name}` | {spoiling.what} |" in page


def test_other_builds(tmp_path: Path):
    """Name, version, program, contents and size are as they were asked for."""
    files = littlefs.build({"main.py": b"print(1)\n"}, 0x40000)
    build = make_build(
        tmp_path,
        C3,
        project="door_bell",
        version="2.0.0-rc1",
        program="print('ring')\n",
        contents={"storage": files},
        least_bytes=100_000,
    )

    image = Image.parse(build.application.data, C3)
    assert build.descriptor is not None
    assert (build.descriptor.project, build.descriptor.version) == ("door_bell", "2.0.0-rc1")
    assert image.program == "print('ring')\n"
    assert image.size >= 100_000
    assert (build.parts[-1].label, build.parts[-1].data) == ("storage", files)
    assert build.elf == tmp_path / "door_bell.elf"


def test_default_program(tmp_path: Path):
    """What is made without further words is the built-in device."""
    assert Image.parse(build_in(tmp_path).application.data).program == DEFAULT_PROGRAM


def test_large_ones_like_esptool(tmp_path: Path):
    """An application of more than a page of memory is what esptool would make of it, too; so is a merged image."""
    build = build_in(tmp_path, least_bytes=70_000)
    options = ("--flash-mode", "dio", "--flash-freq", "80m", "--flash-size", "4MB")
    parts = [word for part in build.parts for word in (hex(part.offset), str(part.path))]

    elf2image = ("--chip", "esp32c3", "elf2image", *options, "--elf-sha256-offset", "0xb0", "-o", "app.bin")
    esptool(*elf2image, f"{PROJECT}.elf", folder=tmp_path)
    esptool("--chip", "esp32c3", "merge-bin", "-o", "merged.bin", *parts, folder=tmp_path)

    assert (tmp_path / "app.bin").read_bytes() == build.application.data
    assert (tmp_path / "merged.bin").read_bytes() == merged(build)


class TestRefused:
    """Arguments that cannot be."""

    def test_table_without_application(self, tmp_path: Path):
        """There has to be a place for the application, and nothing is written otherwise."""
        with pytest.raises(Misuse, match="a partition for an application"):
            build_in(tmp_path / "build", table=PartitionTable((Partition("nvs", DATA, 2, 0x9000, 0x4000),)))

        assert not (tmp_path / "build").exists()

    @pytest.mark.parametrize("size", [0, 1000, 3 << 20, 1 << 40, -1])
    def test_flash_size(self, size: int):
        """A flash has a power of two of MiB."""
        with pytest.raises(Misuse, match=r"expected a flash of 1, 2, 4, \.\.\. MiB"):
            image_file(C3, 0, [Segment(0, b"")], flash_size=size)

    @pytest.mark.parametrize("count", [0, 17])
    def test_segments(self, count: int):
        """An image has one to sixteen segments."""
        with pytest.raises(Misuse, match="1 to 16 segments"):
            image_file(C3, 0, [Segment(0, b"")] * count, flash_size=1 << 20)

    def test_no_such_spoiling(self, tmp_path: Path):
        """The names there are."""
        with pytest.raises(Misuse, match=r"expected one of wrong-magic, .*, got 'rust'"):
            spoil(tmp_path, "rust")


@pytest.mark.parametrize("architecture", MACHINES)
def test_elf(architecture):
    """An independent reader finds the sections where they were put."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    import io

    sections = [Section(".a", 0x3C000020, b"abc"), Section(".b", 0x40380000, LOOPS[architecture], executable=True)]

    read = elffile.ELFFile(io.BytesIO(elf_file(architecture, 0x40380000, sections)))

    assert read["e_entry"] == 0x40380000
    assert read["e_machine"] == {"xtensa": "EM_XTENSA", "riscv": "EM_RISCV"}[architecture]
    found = [(part.name, part["sh_addr"], part.data()) for part in read.iter_sections() if part["sh_addr"]]
    assert found == [(".a", 0x3C000020, b"abc\0"), (".b", 0x40380000, LOOPS[architecture])]


def test_memory_maps():
    """Descriptors lie where each chip maps constants, code where it maps code."""
    assert set(MEMORY) == set(CHIPS)
    for name, memory in MEMORY.items():
        image = Image.parse((FIXTURES / f"{name}-1.0.0/{PROJECT}.bin").read_bytes())
        assert [hex(segment.address >> 16) for segment in image.segments] == [
            hex(start >> 16) for start in (memory.drom, memory.irom, memory.dram, memory.iram)
        ]
        assert len(image.segments[0].data) > APP_DESCRIPTOR_BYTES


def test_tables_of_the_page():
    """The page says which partitions the builds have."""
    page = (FIXTURES / "README.md").read_text()

    for partition in TABLE:
        assert f"| `{partition.label}` | {partition.kind} | {partition.offset:#x} | {partition.size:#x} |" in page
