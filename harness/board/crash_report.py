"""A crash, as the firmware itself told it on the console."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from gateway.identity import printable
from harness.board.resets import Reset
from harness.firmware.chips import Architecture

CrashKind: TypeAlias = Literal[
    "exception",
    "abort",
    "assert",
    "error_check",
    "stack_overflow",
    "stack_smashing",
    "heap_corruption",
    "interrupt_watchdog",
    "task_watchdog",
    "brown_out",
    "unknown",
]
"""``error_check`` is ``ESP_ERROR_CHECK``; ``unknown`` a dump whose first line got lost."""

SIGNED_FRAMES: Final = 8
"""Of a backtrace, in a signature: what is further out is the same for many crashes, or differs for one."""
FIRST_CODE: Final = 0x40000000
"""Below it no code lies on any of these chips, nor above `LAST_CODE`."""
LAST_CODE: Final = 0x50000000
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+")


class Frame(NamedTuple):
    """One call: where its code was, and its stack."""

    pc: int
    sp: int


class CoreState(msgspec.Struct, frozen=True):
    """What one core was doing.

    Attributes:
        core: its number; None: it was not said.
        registers: by name, as printed.
        backtrace: innermost first; RISC-V has none unless the firmware was built for it.
        corrupted: the backtrace ends where the stack made no sense (``|<-CORRUPTED``); its last frames may be none.
        stack: rows of stack memory, by address; RISC-V only.
    """

    core: int | None = None
    registers: Mapping[str, int] = msgspec.field(default_factory=dict)
    backtrace: tuple[Frame, ...] = ()
    corrupted: bool = False
    stack: tuple[tuple[int, tuple[int, ...]], ...] = ()


class CrashReport(msgspec.Struct, frozen=True):
    """One crash.

    Attributes:
        kind: what it is.
        cause: the firmware's word for it, for example ``LoadProhibited`` or the failed assertion.
        fatal: whether the firmware ended; a task watchdog may only say so.
        at: when its first line came, in the seconds of whoever fed it.
        details: what else was said of it, line by line.
        task: that it is about, where one was named.
        address: that was named beside the dump, as by ``abort()``; None: none was.
        cores: what the cores were doing, the crashed one first; empty: no dump came.
        elf_sha256: the beginning of the ELF file's hash, as printed; empty: it was not.
        core_dump: text of a core dump in base64, as printed; empty: none came this way.
        core_dump_saved: whether one was saved to flash.
        reset: what followed; None: nothing, or not in time.
        lines: its first lines, as they came.
    """

    kind: CrashKind
    cause: str
    fatal: bool
    at: float
    details: tuple[str, ...] = ()
    task: str = ""
    address: int | None = None
    cores: tuple[CoreState, ...] = ()
    elf_sha256: str = ""
    core_dump: str = ""
    core_dump_saved: bool = False
    reset: Reset | None = None
    lines: tuple[str, ...] = ()

    @property
    def crashed(self) -> CoreState:
        """The state of the core that crashed; an empty one where no dump came."""
        return self.cores[0] if self.cores else CoreState()

    @property
    def registers(self) -> Mapping[str, int]:
        """Of the crashed core, by name."""
        return self.crashed.registers

    @property
    def backtrace(self) -> tuple[Frame, ...]:
        """Of the crashed core, innermost first."""
        return self.crashed.backtrace

    @property
    def corrupted(self) -> bool:
        """Whether that backtrace ends in a stack that made no sense."""
        return self.crashed.corrupted

    @property
    def core(self) -> int | None:
        """The number of the crashed core; None: it was not said."""
        return self.crashed.core

    @property
    def architecture(self) -> Architecture | None:
        """That the registers belong to; None: there are none."""
        if "MEPC" in self.registers:
            return "riscv"
        return "xtensa" if "PC" in self.registers or self.backtrace else None

    @property
    def pc(self) -> int | None:
        """Where it crashed: the program counter, else the address that was named, else the first frame's."""
        counter = self.registers.get("PC", self.registers.get("MEPC"))
        first = self.backtrace[0].pc if self.backtrace else None
        named = [counter, self.address] if self.kind == "exception" else [self.address, counter]
        return next((address for address in (*named, first) if address is not None), None)

    @property
    def addresses(self) -> tuple[int, ...]:
        """Those that code can lie at, innermost first, each once: for decoding."""
        registers = [self.registers[name] for name in ("PC", "MEPC", "RA") if name in self.registers]
        named = [self.address] if self.address is not None else []
        found = [*named, *registers, *(frame.pc for frame in self.backtrace)]
        return tuple(dict.fromkeys(address for address in found if FIRST_CODE <= address < LAST_CODE))

    @property
    def signature(self) -> str:
        """The same for the same crash of the same build, wherever stack and heap were: for grouping."""
        frames = [frame.pc for frame in self.backtrace]
        if self.corrupted:
            frames = frames[:1]
        where = frames[:SIGNED_FRAMES] or [self.registers.get(name, 0) for name in ("MEPC", "RA")]
        what = _NUMBERS.sub("0x", self.cause)
        digest = hashlib.sha256(repr((self.kind, what, self.task, self.address, where)).encode()).hexdigest()
        return f"{self.kind} {digest[:8]}"

    def __str__(self) -> str:
        """Say it in a few lines, without decoding: what, where, and what followed."""
        place = f" at {self.pc:#010x}" if self.pc is not None else ""
        core = f" on core {self.core}" if self.core is not None else ""
        task = f" in task {printable(self.task, 40)}" if self.task else ""
        lines = [f"{self.kind}: {printable(self.cause, 200)}{place}{core}{task}"]
        lines += [f"  {printable(detail, 200)}" for detail in self.details]
        if self.backtrace:
            end = " (the stack is corrupted there)" if self.corrupted else ""
            lines.append("  backtrace: " + " ".join(f"{frame.pc:#010x}" for frame in self.backtrace) + end)
        if self.elf_sha256:
            lines.append(f"  ELF file SHA256: {self.elf_sha256}")
        if self.reset:
            lines.append(f"  reset: {printable(self.reset.cause)}")
        elif not self.fatal:
            lines.append("  the firmware went on")
        return "\n".join(lines)
