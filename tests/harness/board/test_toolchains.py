"""Programs of tool chains are found where they are installed, and do not run for ever."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from harness.board.toolchains import TookTooLong, candidates, first_present, run
from harness.firmware.chips import CHIPS


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing but a shell; return its folder for programs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IDF_TOOLS_PATH", raising=False)
    return folder


class TestFound:
    """Where they are looked for."""

    def test_order(self):
        """The chip's own comes first, LLVM's last."""
        assert candidates("addr2line", "xtensa", CHIPS["esp32s3"]) == (
            "xtensa-esp32s3-elf-addr2line",
            "xtensa-esp32-elf-addr2line",
            "xtensa-esp-elf-addr2line",
            "llvm-addr2line",
        )
        assert candidates("gdb", "riscv") == ("riscv32-esp-elf-gdb", "riscv64-unknown-elf-gdb", "llvm-gdb")

    def test_none(self):
        """On a machine without any, none is found."""
        assert first_present(candidates("addr2line", "xtensa")) is None

    @pytest.mark.parametrize(
        "folder",
        [
            "bin",
            "home/.espressif/tools/xtensa-esp-elf/esp-14.2.0/xtensa-esp-elf/bin",
            "home/.platformio/packages/toolchain-xtensa-esp32/bin",
        ],
    )
    def test_installed(self, tmp_path: Path, folder: str):
        """On the path, or where installers put them without setting it."""
        there = program(tmp_path / folder / "xtensa-esp-elf-addr2line", "")

        assert first_present(candidates("addr2line", "xtensa")) == str(there)

    def test_other_folder_of_tools(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """ESP-IDF's tools may be elsewhere."""
        monkeypatch.setenv("IDF_TOOLS_PATH", str(tmp_path / "idf"))
        there = program(tmp_path / "idf/tools/a/b/c/bin/riscv32-esp-elf-gdb", "")

        assert first_present(["riscv32-esp-elf-gdb"]) == str(there)

    def test_first_of_several(self, nothing_installed: Path):
        """The first name counts, not the first folder."""
        program(nothing_installed / "llvm-addr2line", "")
        there = program(nothing_installed / "xtensa-esp32-elf-addr2line", "")

        assert first_present(candidates("addr2line", "xtensa")) == str(there)


class TestRun:
    """Running one."""

    def test_output(self, tmp_path: Path):
        """Both kinds of output and the exit code come back; it runs in the folder it is given."""
        tool = program(tmp_path / "tool", 'pwd; echo "$1" >&2; exit 3')

        assert run([str(tool), "a b"], time.monotonic() + 10, tmp_path) == (3, f"{tmp_path}\na b\n")

    def test_too_long(self, tmp_path: Path):
        """One that takes too long is ended, with what it started."""
        tool = program(tmp_path / "tool", f"/bin/sleep 60 & echo $! > {tmp_path}/child; wait")
        began = time.monotonic()
        with pytest.raises(TookTooLong):
            run([str(tool)], began + 0.5, tmp_path)

        assert time.monotonic() - began < 5
        state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
        while state.exists() and " Z " not in state.read_text():
            assert time.monotonic() - began < 5, "what it started is still running"

    def test_leaves_a_child_behind(self, tmp_path: Path):
        """What a program leaves behind, with its output, is ended, too."""
        tool = program(tmp_path / "tool", f"/bin/sleep 60 & echo $! > {tmp_path}/child")
        began = time.monotonic()
        with pytest.raises(TookTooLong):
            run([str(tool)], began + 0.5, tmp_path)

        state = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
        while state.exists() and " Z " not in state.read_text():
            assert time.monotonic() - began < 5, "what it left is still running"

    def test_no_input(self, tmp_path: Path):
        """Nothing waits for somebody to type."""
        assert run(["/bin/cat"], time.monotonic() + 10, tmp_path) == (0, "")

    def test_not_text(self, tmp_path: Path):
        """Output that is no text is read all the same."""
        tool = program(tmp_path / "tool", "printf '\\377x'")

        assert run([str(tool)], time.monotonic() + 10, tmp_path) == (0, "\ufffdx")

    def test_killed(self, tmp_path: Path):
        """One that dies of a signal has its number as exit code."""
        tool = program(tmp_path / "tool", "kill -9 $$")

        assert run([str(tool)], time.monotonic() + 10, tmp_path) == (-signal.SIGKILL, "")
