"""The words of the panic handler."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from harness.board.crash_report import CrashKind, CrashReport
from harness.board.crashes import CrashParser
from harness.errors import Misuse
from harness.firmware.chips import CHIPS, ChipName
from harness.firmware.image import Image
from harness.virtual.panics import PanicKind, code_addresses, panic_kind, panic_lines
from harness.virtual.rom_log import banner
from tests.harness.virtual.flashed import image


def said(chip: ChipName, kind: PanicKind) -> tuple[Image, list[str]]:
    """What panics, and what is printed."""
    sound = Image.parse(image(chip))
    return sound, panic_lines(CHIPS[chip], sound, kind)


@pytest.mark.parametrize(
    ("chip", "kind", "first"),
    [
        (
            "esp32",
            "LoadProhibited",
            "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
        ),
        (
            "esp32c3",
            "LoadProhibited",
            "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.",
        ),
        (
            "esp32c3",
            "StoreProhibited",
            "Guru Meditation Error: Core  0 panic'ed (Store access fault). Exception was unhandled.",
        ),
        ("esp32s3", "interrupt_watchdog", "Guru Meditation Error: Core  0 panic'ed (Interrupt wdt timeout on CPU0). "),
        ("esp32s3", "stack_overflow", "***ERROR*** A stack overflow in task main has been detected."),
        ("esp32s3", "assert", "assert failed: app_main app_main.c:42 (queue != NULL)"),
    ],
)
def test_why(chip: ChipName, kind: PanicKind, first: str):
    """The reason comes first, in the words of the architecture."""
    _, lines = said(chip, kind)

    assert first in lines[:2]


@pytest.mark.parametrize("chip", ["esp32", "esp32s3"])
def test_xtensa(chip: ChipName):
    """24 registers in rows of four, and a backtrace of code and stack."""
    sound, lines = said(chip, "LoadProhibited")
    rows = lines[lines.index("Core  0 register dump:") + 1 :][:6]
    trace = next(line for line in lines if line.startswith("Backtrace:"))

    assert all(re.fullmatch(r"(?:\S+ *: 0x[0-9a-f]{8}  ){4}", row) for row in rows)
    assert rows[0].startswith(f"PC      : 0x{sound.entry:08x}  PS      : ")
    assert "EXCCAUSE: 0x0000001c" in rows[4]
    assert re.fullmatch(r"Backtrace:(?: 0x[0-9a-f]{8}:0x3f[0-9a-f]{6})+", trace)


def test_riscv():
    """37 registers, and 1024 bytes of the stack, from the stack pointer on."""
    sound, lines = said("esp32c3", "LoadProhibited")
    text = "\n".join(lines)
    stack = lines[lines.index("Stack memory:") + 1 :]

    assert f"MEPC    : 0x{sound.entry:08x}  RA      : 0x" in text
    assert "MCAUSE  : 0x00000005  MTVAL   : 0x00000010" in text
    assert len(re.findall(r"\S+ *: 0x[0-9a-f]{8}  ", text)) == 37
    assert sum(bool(re.fullmatch(r"3fc[0-9a-f]{5}: (?:0x[0-9a-f]{8} ?){8}", row)) for row in stack) == 32
    assert f"SP      : 0x{stack[0][:8]}" in text


def test_registers_after_an_abort():
    """Xtensa leaves them out after an abort, RISC-V needs them."""
    assert "Core  0 register dump:" not in said("esp32s3", "abort")[1]
    assert "Core  0 register dump:" in said("esp32c3", "abort")[1]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("kind", get_args(PanicKind))
def test_ends(chip: ChipName, kind: PanicKind):
    """Each names the ELF file it belongs to, and ends with the reboot."""
    sound, lines = said(chip, kind)

    assert sound.descriptor is not None
    assert f"ELF file SHA256: {sound.descriptor.elf_sha256[:9]}" in lines
    assert lines[-1] == "Rebooting..."


KINDS: dict[PanicKind, CrashKind] = {
    "abort": "abort",
    "assert": "assert",
    "LoadProhibited": "exception",
    "StoreProhibited": "exception",
    "IllegalInstruction": "exception",
    "IntegerDivideByZero": "exception",
    "stack_overflow": "stack_overflow",
    "interrupt_watchdog": "interrupt_watchdog",
    "corrupt_heap": "heap_corruption",
}


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("kind", get_args(PanicKind))
def test_is_read_by_the_crash_parser(chip: ChipName, kind: PanicKind):
    """What watches real boards finds the crash, its registers or backtrace, and the ELF file."""
    sound, lines = said(chip, kind)
    parser = CrashParser()
    found = [notice for line in [*lines, *banner(CHIPS[chip], "panic")] for notice in parser.feed(line)]
    report = found[0]

    assert isinstance(report, CrashReport)
    assert (report.kind, report.architecture) == (KINDS[kind], CHIPS[chip].architecture)
    assert report.elf_sha256 == (sound.descriptor.elf_sha256 if sound.descriptor else "")[:9]
    assert sound.entry in report.addresses


def test_addresses_are_code():
    """Addresses lie in the application's code, so that its ELF file has a name for them."""
    sound = Image.parse(image())
    code = next(s for s in sound.segments if s.address <= sound.entry < s.address + len(s.data))

    assert all(code.address <= at < code.address + len(code.data) for at in code_addresses(sound))


def test_kinds():
    """A kind that there is not is refused."""
    assert panic_kind("abort") == "abort"
    with pytest.raises(Misuse, match="expected one of abort, assert, "):
        panic_kind("fire")
