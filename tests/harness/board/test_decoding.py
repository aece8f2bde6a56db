"""Addresses become places in the source where a decoder is installed; elsewhere it is said what is missing."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.board.crash_report import CrashReport
from harness.board.crashes import CrashParser
from harness.board.decoding import Decoded, DecodedFrame, Place, decode, in_words, read_addr2line, read_gdb_backtrace
from harness.firmware.chips import CHIPS

LOGS = Path(__file__).parents[3] / "firmware_fixtures/logs"

ADDR2LINE = """\
0x400d5a2e
read_level
/home/user/door/main/level.c:12 (discriminator 2)
app_main
/home/user/door/main/main.c:40
0x400d5a2b
??
??:0
0x400e2c1f
main_task
/idf/components/freertos/app_startup.c:208
"""
GDB = """\
0x420072d4 in ring (bell=0x4) at ../main/ring.c:18
#0  0x420072d4 in ring (bell=0x4) at ../main/ring.c:18
#1  0x420072ee in app_main () at ../main/main.c:28
#2  0x42015ece in main_task (args=<optimized out>) at /idf/app_startup.c:142
#3  0x403859b8 in vPortEnterCritical () at /idf/port.c:130
#4  0x00000000 in ?? ()
Backtrace stopped: frame did not save the PC
"""


def crash(name: str) -> CrashReport:
    """The first crash of a recording."""
    parser = CrashParser()
    found = [notice for line in (LOGS / f"{name}.log").read_text().splitlines() for notice in parser.feed(line)]
    return next(notice for notice in [*found, *parser.flush()] if isinstance(notice, CrashReport))


def elf_for(report: CrashReport, folder: Path) -> tuple[CrashReport, Path]:
    """A report, and a file that it names as its ELF file."""
    import msgspec

    elf = folder / "app.elf"
    elf.write_bytes(b"\x7fELF, of a kind")
    sha256 = hashlib.sha256(elf.read_bytes()).hexdigest()
    return msgspec.structs.replace(report, elf_sha256=sha256[:9]), elf


class Machine:
    """A machine on which a test installs programs and packages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("HOME", str(folder))
        monkeypatch.delenv("IDF_TOOLS_PATH", raising=False)
        for package in ("esp_idf_panic_decoder", "esp_coredump"):
            monkeypatch.setitem(sys.modules, package, None)
        self._packages = folder / "packages"
        self._monkeypatch = monkeypatch

    def program(self, name: str, prints: str = "", code: int = 0, then: str = "") -> Path:
        """Install a program that keeps its arguments, and prints a text."""
        text = self.bin / f"{name}.txt"
        text.write_text(prints)
        path = self.bin / name
        path.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$@" > {self.bin}/{name}.args\n{then}\n/bin/cat {text}\nexit {code}\n'
        )
        path.chmod(0o755)
        return path

    def arguments(self, name: str) -> list[str]:
        """What a program was started with."""
        return (self.bin / f"{name}.args").read_text().splitlines()

    def package(self, name: str, main: str) -> None:
        """Install a package with a program."""
        (self._packages / name).mkdir(parents=True)
        (self._packages / name / "__init__.py").touch()
        (self._packages / name / "__main__.py").write_text(main)
        self._monkeypatch.delitem(sys.modules, name, raising=False)
        self._monkeypatch.syspath_prepend(str(self._packages))
        self._monkeypatch.setenv("PYTHONPATH", str(self._packages))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine without any decoder."""
    return Machine(tmp_path, monkeypatch)


class TestAddr2line:
    """The ordinary way."""

    def test_decoded(self, machine: Machine, tmp_path: Path):
        """Functions, files and lines, inlined ones too; addresses without any are left out."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        machine.program("xtensa-esp32-elf-addr2line", ADDR2LINE)

        decoded = decode(report, elf, CHIPS["esp32"])

        assert decoded == Decoded(
            frames=(
                DecodedFrame(
                    0x400D5A2E,
                    (
                        Place("read_level", "/home/user/door/main/level.c", 12),
                        Place("app_main", "/home/user/door/main/main.c", 40),
                    ),
                ),
                DecodedFrame(0x400E2C1F, (Place("main_task", "/idf/components/freertos/app_startup.c", 208),)),
            ),
            decoders=("xtensa-esp32-elf-addr2line",),
        )
        assert machine.arguments("xtensa-esp32-elf-addr2line") == [
            "-fiaC",
            "-e",
            str(elf),
            *(f"{address:#010x}" for address in report.addresses),
        ]

    def test_in_words(self, machine: Machine, tmp_path: Path):
        """A person gets the report, the places, and who decoded them."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        machine.program("llvm-addr2line", ADDR2LINE)

        said = in_words(report, decode(report, elf))

        assert said.startswith(str(report))
        assert "  #0  0x400d5a2e read_level at /home/user/door/main/level.c:12\n" in said
        assert "      inlined into app_main at /home/user/door/main/main.c:40\n" in said
        assert said.endswith("\n  decoded by llvm-addr2line")

    def test_none_installed(self, machine: Machine, tmp_path: Path):
        """Which programs would do is said."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)

        decoded = decode(report, elf, CHIPS["esp32"])

        names = "xtensa-esp32-elf-addr2line, xtensa-esp32s3-elf-addr2line, xtensa-esp-elf-addr2line, llvm-addr2line"
        assert decoded.missing == (f"none of {names} is installed",)
        assert in_words(report, decoded).endswith(f"\n  not decoded: {decoded.missing[0]}")

    @pytest.mark.parametrize(("prints", "code"), [("no such file\x1b[1m", 1), ("", 0), ("0x400d5a2e\n??\n??:0\n", 0)])
    def test_no_places(self, machine: Machine, tmp_path: Path, prints: str, code: int):
        """A decoder that fails, or knows nothing, is no decoder."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        machine.program("xtensa-esp-elf-addr2line", prints, code)

        decoded = decode(report, elf)

        (reason,) = decoded.missing
        assert reason.startswith("xtensa-esp-elf-addr2line found no places, and said: ")
        assert reason.isprintable()
        assert decoded.frames == decoded.decoders == ()

    def test_too_long(self, machine: Machine, tmp_path: Path):
        """One that hangs costs the time it is given, and no more."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        machine.program("xtensa-esp-elf-addr2line", then="/bin/sleep 60")

        decoded = decode(report, elf, seconds=0.3)

        assert decoded.missing == ("xtensa-esp-elf-addr2line took too long, and was ended",)

    def test_not_startable(self, machine: Machine, tmp_path: Path):
        """One that cannot be started at all."""
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        machine.program("xtensa-esp-elf-addr2line").write_bytes(b"\x7fELF, but not really")

        (reason,) = decode(report, elf).missing

        assert reason.startswith("a decoder cannot be started: ")

    def test_nothing_to_decode(self, machine: Machine, tmp_path: Path):
        """A report without any address of code."""
        report, elf = elf_for(crash("panic-xtensa-corrupted"), tmp_path)

        assert decode(report, elf).missing == ("the report has no address of code",)

    @given(st.text())
    def test_any_output(self, output: str):
        """Whatever a program prints."""
        read_addr2line(output)
        read_addr2line("0x400d5a2e\n" + output)
        read_gdb_backtrace("#0  0x42 in f () at a:1\n" + output)


class TestElf:
    """The ELF file has to be the one that runs."""

    def test_none(self):
        """Without one nothing can be decoded."""
        assert decode(crash("panic-xtensa"), None).missing == ("there is no ELF file of what runs on the board",)

    def test_missing(self, tmp_path: Path):
        """One that is not there any more."""
        (reason,) = decode(crash("panic-xtensa"), tmp_path / "app.elf").missing

        assert reason == f"{tmp_path}/app.elf cannot be read: No such file or directory"

    def test_of_another_build(self, machine: Machine, tmp_path: Path):
        """One of another build would name wrong places, so it names none."""
        machine.program("xtensa-esp-elf-addr2line", ADDR2LINE)
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)
        elf.write_bytes(b"\x7fELF, newer")

        decoded = decode(report, elf)

        (reason,) = decoded.missing
        assert "is of another build: its SHA-256 begins with " in reason
        assert reason.endswith(f"the board runs {report.elf_sha256}")
        assert decoded.frames == ()

    @pytest.mark.parametrize("sha256", ["", "0" * 16])
    def test_hash_unknown(self, machine: Machine, tmp_path: Path, sha256: str):
        """Where the firmware does not say its hash, the file is believed."""
        import msgspec

        machine.program("xtensa-esp-elf-addr2line", ADDR2LINE)
        report, elf = elf_for(crash("panic-xtensa"), tmp_path)

        assert decode(msgspec.structs.replace(report, elf_sha256=sha256), elf).frames


class TestPanicDecoder:
    """RISC-V prints its stack, which gdb can unwind."""

    def test_decoded(self, machine: Machine, tmp_path: Path):
        """With gdb and esp-idf-panic-decoder there is a backtrace; addr2line then has nothing to add."""
        report, elf = elf_for(crash("panic-riscv"), tmp_path)
        machine.package("esp_idf_panic_decoder", "")
        machine.program("riscv32-esp-elf-gdb", GDB, then=f'/bin/cp "${{5#*decoder \\"}}" {tmp_path} 2>/dev/null')

        decoded = decode(report, elf, CHIPS["esp32c3"])

        assert [(hex(frame.address), str(*frame.places)) for frame in decoded.frames] == [
            ("0x420072d4", "ring at ../main/ring.c:18"),
            ("0x420072ee", "app_main at ../main/main.c:28"),
            ("0x42015ece", "main_task at /idf/app_startup.c:142"),
            ("0x403859b8", "vPortEnterCritical at /idf/port.c:130"),
        ]
        assert decoded.decoders == ("esp-idf-panic-decoder",)
        *options, _, server, _, backtrace = machine.arguments("riscv32-esp-elf-gdb")
        assert options == ["--batch", "-n", str(elf)]
        assert server.startswith(f'target remote | "{sys.executable}" -m esp_idf_panic_decoder "')
        assert backtrace == "bt"
        assert not Path(server.split('"')[-2]).exists()

    def test_not_installed(self, machine: Machine, tmp_path: Path):
        """Without it there are the two addresses in registers, and a word on what would show more."""
        report, elf = elf_for(crash("panic-riscv"), tmp_path)
        machine.program("riscv32-esp-elf-addr2line", "0x420072d4\nring\nring.c:18\n")

        decoded = decode(report, elf, CHIPS["esp32c3"])

        assert len(decoded.frames) == 1
        assert decoded.missing == (
            "the stack: esp-idf-panic-decoder is not installed (pip install esp-idf-panic-decoder)",
        )

    def test_without_gdb(self, machine: Machine, tmp_path: Path):
        """It needs gdb, too."""
        report, elf = elf_for(crash("panic-riscv"), tmp_path)
        machine.package("esp_idf_panic_decoder", "")

        assert "the stack: no gdb for RISC-V is installed (riscv32-esp-elf-gdb)" in decode(report, elf).missing

    def test_gdb_fails(self, machine: Machine, tmp_path: Path):
        """A gdb that says nothing of use."""
        report, elf = elf_for(crash("panic-riscv"), tmp_path)
        machine.package("esp_idf_panic_decoder", "")
        machine.program("riscv32-esp-elf-gdb", "Remote connection closed\n", 1)

        assert "the stack: riscv32-esp-elf-gdb found no frames" in decode(report, elf).missing


class TestCoreDump:
    """A core dump on the console."""

    PROGRAM = """
import pathlib, sys
arguments = sys.argv[1:]
print("threads of", arguments[1], pathlib.Path(arguments[arguments.index("--core") + 1]).read_text().split()[-1])
sys.exit({code})
"""

    def test_decoded(self, machine: Machine, tmp_path: Path):
        """What esp-coredump prints is kept, and shown."""
        report, elf = elf_for(crash("core-dump"), tmp_path)
        machine.package("esp_coredump", self.PROGRAM.format(code=0))
        machine.program("xtensa-esp32-elf-gdb")

        decoded = decode(report, elf, CHIPS["esp32"])

        assert decoded.texts == ("threads of esp32 yL0mAQ==\n",)
        assert decoded.decoders == ("esp-coredump",)
        assert "\n  | threads of esp32 yL0mAQ==\n  decoded by esp-coredump\n" in in_words(report, decoded)

    def test_not_installed(self, machine: Machine, tmp_path: Path):
        """What is missing: the program, gdb, or the chip's name."""
        report, elf = elf_for(crash("core-dump"), tmp_path)
        assert "the core dump: esp-coredump is not installed (pip install esp-coredump)" in decode(report, elf).missing

        machine.package("esp_coredump", "")
        assert "the core dump: the chip is not known" in decode(report, elf).missing
        assert any(
            reason.startswith("the core dump: none of xtensa-esp32-elf-gdb")
            for reason in decode(report, elf, CHIPS["esp32"]).missing
        )

    def test_fails(self, machine: Machine, tmp_path: Path):
        """One that cannot read the dump."""
        report, elf = elf_for(crash("core-dump"), tmp_path)
        machine.package("esp_coredump", self.PROGRAM.format(code=2))
        machine.program("xtensa-esp32-elf-gdb")

        assert (
            "the core dump: esp-coredump ended with 2: threads of esp32 yL0mAQ=="
            in decode(report, elf, CHIPS["esp32"]).missing
        )
