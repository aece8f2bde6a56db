"""What the panic handler of ESP-IDF prints: why, registers, backtrace or stack, and which ELF file that belongs to.

Formats: ``components/esp_system/panic.c``, ``port/panic_handler.c`` and ``port/arch/{xtensa,riscv}``; the texts of
``abort()``, ``assert()`` and the stack check come from ``components/esp_libc`` and ``components/freertos``. Addresses
of code lie in the application's own segments, so that its ELF file has something to say of them; all else is made up,
the same for the same kind.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from harness.errors import Misuse
from harness.firmware.chips import Chip, ChipName
from harness.firmware.image import Image

PanicKind: TypeAlias = Literal[
    "abort",
    "assert",
    "LoadProhibited",
    "StoreProhibited",
    "IllegalInstruction",
    "IntegerDivideByZero",
    "stack_overflow",
    "interrupt_watchdog",
    "corrupt_heap",
]
"""Ways to crash, by the names of Xtensa's exceptions; RISC-V has its own words for the same."""

SHOWN_SHA: Final = 9
"""Digits of the ELF file's SHA-256 (``CONFIG_APP_RETRIEVE_LEN_ELF_SHA``)."""


class _Exception(msgspec.Struct, frozen=True):
    """One kind of exception: its number and name on Xtensa, and on RISC-V; the address that was accessed."""

    exccause: int
    reason: str
    mcause: int
    riscv_reason: str
    address: int = 0


_EXCEPTIONS: dict[PanicKind, _Exception] = {
    "LoadProhibited": _Exception(28, "LoadProhibited", 5, "Load access fault", 0x10),
    "StoreProhibited": _Exception(29, "StoreProhibited", 7, "Store access fault", 0x4),
    "IllegalInstruction": _Exception(0, "IllegalInstruction", 2, "Illegal instruction"),
    # a division by zero raises nothing on RISC-V; compilers put an EBREAK there
    "IntegerDivideByZero": _Exception(6, "IntegerDivideByZero", 3, "Breakpoint"),
    "interrupt_watchdog": _Exception(5, "Interrupt wdt timeout on CPU0", 0x18, "Interrupt wdt timeout on CPU0"),
}
_STACK: dict[ChipName, int] = {"esp32": 0x3FFB5E50, "esp32s3": 0x3FC9A0F0, "esp32c3": 0x3FC94D80}
_TASK = "main"

_XTENSA = (
    "PC      ", "PS      ", "A0      ", "A1      ", "A2      ", "A3      ", "A4      ", "A5      ",
    "A6      ", "A7      ", "A8      ", "A9      ", "A10     ", "A11     ", "A12     ", "A13     ",
    "A14     ", "A15     ", "SAR     ", "EXCCAUSE", "EXCVADDR", "LBEG    ", "LEND    ", "LCOUNT  ",
)  # fmt: skip
_RISCV = (
    "MEPC    ", "RA      ", "SP      ", "GP      ", "TP      ", "T0      ", "T1      ", "T2      ",
    "S0/FP   ", "S1      ", "A0      ", "A1      ", "A2      ", "A3      ", "A4      ", "A5      ",
    "A6      ", "A7      ", "S2      ", "S3      ", "S4      ", "S5      ", "S6      ", "S7      ",
    "S8      ", "S9      ", "S10     ", "S11     ", "T3      ", "T4      ", "T5      ", "T6      ",
    "MSTATUS ", "MTVEC   ", "MCAUSE  ", "MTVAL   ", "MHARTID ",
)  # fmt: skip
_STACK_ROWS = 32  # of 8 words each: 1024 bytes


def panic_kind(text: str) -> PanicKind:
    """Return the kind with this name.

    Raises:
        Misuse: there is none, with those there are.
    """
    for kind in get_args(PanicKind):
        if kind == text:
            return kind  # type: ignore[no-any-return]
    raise Misuse(f"expected one of {', '.join(get_args(PanicKind))}, got {text!r}")


def panic_lines(chip: Chip, image: Image, kind: PanicKind) -> list[str]:
    """Return what is printed, to the last line before the reset."""
    descriptor = image.descriptor
    sha = descriptor.elf_sha256 if descriptor else "0" * 64
    return [
        *_why(image, kind, chip),
        "",
        *state_lines(chip, image, kind),
        "",
        "",
        f"ELF file SHA256: {sha[:SHOWN_SHA]}",
        "",
        "Rebooting...",
    ]


def state_lines(chip: Chip, image: Image, kind: PanicKind) -> list[str]:
    """Return registers and backtrace; Xtensa shows no registers after an abort."""
    if chip.architecture == "riscv":
        return [*_registers(_RISCV, _riscv_values(chip, image, kind)), "", *_stack(chip, image)]
    if kind in _EXCEPTIONS:
        return [*_registers(_XTENSA, _xtensa_values(chip, image, kind)), "", "", *backtrace(chip, image)]
    return ["", "", *backtrace(chip, image)]


def backtrace(chip: Chip, image: Image) -> list[str]:
    """Return Xtensa's backtrace: code and stack address of each frame, and the blank lines around."""
    stack = _STACK[chip.name]
    frames = zip(code_addresses(image), range(stack, stack + 0x200, 0x20), strict=False)
    return ["Backtrace:" + "".join(f" 0x{code:08x}:0x{at:08x}" for code, at in frames), ""]


def code_addresses(image: Image) -> list[int]:
    """Return addresses of the application's code: its entry, and what comes behind it."""
    code = next((s for s in image.segments if s.address <= image.entry < s.address + len(s.data)), None)
    end = code.address + len(code.data) if code else image.entry + 16
    return list(range(image.entry, end, 3))[:5]


def _why(image: Image, kind: PanicKind, chip: Chip) -> list[str]:
    at = image.entry
    if kind in _EXCEPTIONS:
        found = _EXCEPTIONS[kind]
        reason = found.riscv_reason if chip.architecture == "riscv" else found.reason
        unhandled = "" if kind == "interrupt_watchdog" else "Exception was unhandled."
        return [f"Guru Meditation Error: Core  0 panic'ed ({reason}). {unhandled}"]
    said = {
        "assert": "assert failed: app_main app_main.c:42 (queue != NULL)",
        "stack_overflow": f"***ERROR*** A stack overflow in task {_TASK} has been detected.",
        "corrupt_heap": "assert failed: multi_heap_free multi_heap_poisoning.c:279 (head != NULL)",
    }
    corrupt = f"CORRUPT HEAP: Bad head at 0x{_STACK[chip.name]:08x}. Expected 0xabba1234 got 0x00000000"
    text = said.get(kind, f"abort() was called at PC 0x{at:x} on core 0")
    return [*([corrupt] if kind == "corrupt_heap" else []), "", text]


def _registers(names: tuple[str, ...], values: list[int]) -> list[str]:
    cells = [f"{name}: 0x{value:08x}  " for name, value in zip(names, values, strict=True)]
    return ["Core  0 register dump:", *("".join(cells[at : at + 4]) for at in range(0, len(cells), 4))]


def _xtensa_values(chip: Chip, image: Image, kind: PanicKind) -> list[int]:
    found = _EXCEPTIONS[kind]
    stack = _STACK[chip.name]
    code = code_addresses(image)
    return_address = code[min(1, len(code) - 1)] & 0x3FFFFFFF | 0x80000000  # as a windowed call leaves it
    working = [stack + 0x40 * number for number in range(1, 15)]
    return [code[0], 0x00060830, return_address, stack, *working, 0x1E, found.exccause, found.address, 0, 0, 0]


def _riscv_values(chip: Chip, image: Image, kind: PanicKind) -> list[int]:
    found = _EXCEPTIONS.get(kind, _EXCEPTIONS["IllegalInstruction"])
    stack = _STACK[chip.name]
    code = code_addresses(image)
    working = [stack + 0x40 * number for number in range(1, 30)]
    return [code[0], code[-1], stack, *working, 0x1881, 0x40380001, found.mcause, found.address, 0]


def _stack(chip: Chip, image: Image) -> list[str]:
    stack = _STACK[chip.name]
    code = code_addresses(image)
    rows = ["Stack memory:"]
    for row in range(_STACK_ROWS):
        at = stack + row * 32
        # a return address in every fourth row; FreeRTOS fills unused stack with a5
        words = [0xA5A5A5A5] * 7 + [code[row // 4 % len(code)] if row % 4 == 0 else at]
        rows.append(f"{at:08x}: " + " ".join(f"0x{word:08x}" for word in words))
    return rows
