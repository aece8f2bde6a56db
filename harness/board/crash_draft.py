"""The crash that is being told right now: takes the lines of a dump in any order, with room for so many of each."""

from __future__ import annotations

import re
from typing import Final

from harness.board.crash_report import CoreState, CrashKind, CrashReport, Frame
from harness.board.resets import Reset

LINES: Final = 400
"""Kept of one crash; a dump of two cores has about ninety."""
DETAILS: Final = 12
CORES: Final = 4
FRAMES: Final = 128
"""The firmware prints at most a hundred."""
STACK_ROWS: Final = 64
"""The firmware prints 32."""
CORE_DUMP_CHARACTERS: Final = 1 << 20
"""Of a core dump's text; about thirty tasks make 85 KB."""

_XTENSA = "PC PS A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12 A13 A14 A15 SAR EXCCAUSE EXCVADDR LBEG LEND LCOUNT"
_XTENSA_INTERRUPTS = "EPC1 EPC2 EPC3 EPC4"
_RISCV = (
    "MEPC RA SP GP TP T0 T1 T2 S0/FP S1 A0 A1 A2 A3 A4 A5 A6 A7 S2 S3 S4 S5 S6 S7 S8 S9 S10 S11 T3 T4 T5 T6 "
    "MSTATUS MTVEC MCAUSE MTVAL MHARTID"
)
_NAMES = frozenset(f"{_XTENSA} {_XTENSA_INTERRUPTS} {_RISCV}".split())

_REGISTER = re.compile(r"\b([A-Z][A-Z0-9/]{0,7}) *: 0x([0-9a-fA-F]{8})\b")
_REGISTER_LINE = re.compile(r"\s*[A-Z][A-Z0-9/]{0,7} *: 0x[0-9a-fA-F]{8}\b")
_CORE_DUMP_TEXT = re.compile(r"[A-Za-z0-9+/=]{1,100}")
_FRAME = re.compile(r"0x([0-9a-fA-F]{1,8}):0x([0-9a-fA-F]{1,8})")
_BACKTRACE = re.compile(r"Backtrace: ?(?=0x)")
_DUMP = re.compile(r"Core +(\d{1,2}) register dump:")
_STACK = re.compile(r"([0-9a-fA-F]{8}): ((?:0x[0-9a-fA-F]{8} ?){1,8})")
_ELF = re.compile(r"ELF file SHA256: +([0-9a-fA-F]{4,64})")


class _Core:
    def __init__(self, core: int | None) -> None:
        self.core = core
        self.registers: dict[str, int] = {}
        self.backtrace: list[Frame] = []
        self.corrupted = False
        self.stack: list[tuple[int, tuple[int, ...]]] = []

    def state(self) -> CoreState:
        return CoreState(self.core, dict(self.registers), tuple(self.backtrace), self.corrupted, tuple(self.stack))


class CrashDraft:
    """A crash in the making.

    Args:
        kind, cause: as its first line has it.
        at: when that came.
        certain: whether that line can be nothing else; if not, the dump has to show it.
        fatal: whether the firmware is sure to end.

    Attributes:
        task, address: that were named; empty and None: none was.
        core: that was named: the one of the next backtrace that has no registers before it.
        core_dump_saved: whether it was said that a core dump is in flash.
        ended: whether it has said that it resets now.
        quiet: lines in a row that were none of it.
    """

    def __init__(self, kind: CrashKind, cause: str, at: float, *, certain: bool = True, fatal: bool = True) -> None:
        self.kind = kind
        self.cause = cause
        self.certain = certain
        self.fatal = fatal
        self.task = ""
        self.core: int | None = None
        self.address: int | None = None
        self.ended = False
        self.quiet = 0
        self.core_dump_saved = False
        self._at = at
        self._details: list[str] = []
        self._cores: list[_Core] = []
        self._elf_sha256 = ""
        self._core_dump: list[str] = []
        self._core_dump_characters = 0
        self._lines: list[str] = []

    @property
    def has_state(self) -> bool:
        """Whether registers or a backtrace have come."""
        return bool(self._cores)

    def keep(self, line: str) -> None:
        """Keep a line as it is."""
        if len(self._lines) < LINES:
            self._lines.append(line)

    def detail(self, text: str) -> bool:
        """Keep what is said of the crash beside the dump; return whether there was room."""
        if len(self._details) == DETAILS:
            return False
        self._details.append(text)
        return True

    def add(self, other: CrashDraft) -> None:
        """Take in what another first line says of the same crash."""
        self.fatal = self.fatal or other.fatal
        self.certain = self.certain or other.certain
        self.address = other.address if self.address is None else self.address
        self.core = other.core if self.core is None else self.core
        if other.kind != "abort":
            self.detail(other.cause)

    def take_dump_line(self, line: str) -> bool:
        """Take a line of registers, backtrace, stack or hash; return whether it was one."""
        return (
            self._take_dump(line)
            or self._take_registers(line)
            or self._take_backtrace(line)
            or self._take_stack(line)
            or self._take_elf(line)
        )

    def take_core_dump_line(self, line: str) -> bool:
        """Take a line between the marks of a core dump, or a blank one; return whether it was one."""
        text = line.strip()
        if not text:
            return True
        if not _CORE_DUMP_TEXT.fullmatch(text):
            return False
        if self._core_dump_characters < CORE_DUMP_CHARACTERS:
            self._core_dump.append(text)
            self._core_dump_characters += len(text)
        return True

    def report(self, reset: Reset | None = None) -> CrashReport:
        """Return the crash as far as it has been told."""
        by_itself = reset is not None and reset.kind in {"software", "watchdog", "brown_out"}
        return CrashReport(
            kind=self.kind,
            cause=self.cause,
            fatal=self.fatal or self.ended or by_itself,
            at=self._at,
            details=tuple(self._details),
            task=self.task,
            address=self.address,
            cores=tuple(core.state() for core in self._cores) or self._named_core(),
            elf_sha256=self._elf_sha256,
            core_dump="\n".join(self._core_dump),
            core_dump_saved=self.core_dump_saved,
            reset=reset,
            lines=tuple(self._lines),
        )

    def _named_core(self) -> tuple[CoreState, ...]:
        return () if self.core is None else (CoreState(self.core),)

    def _take_dump(self, line: str) -> bool:
        found = _DUMP.search(line)
        if found and len(self._cores) < CORES:
            self._cores.append(_Core(int(found[1])))
            self.core = None
        return found is not None

    def _take_registers(self, line: str) -> bool:
        if not (self._cores and _REGISTER_LINE.match(line)):
            return False
        found = {name: int(value, 16) for name, value in _REGISTER.findall(line) if name in _NAMES}
        self._cores[-1].registers.update(found)
        return bool(found)

    def _take_backtrace(self, line: str) -> bool:
        found = _BACKTRACE.search(line)
        if found is None:
            return False
        if not self._cores or self._cores[-1].backtrace:
            if len(self._cores) == CORES:
                return True
            self._cores.append(_Core(self.core))
            self.core = None
        core = self._cores[-1]
        frames = _FRAME.findall(line[found.end() :])[:FRAMES]
        core.backtrace = [Frame(int(pc, 16), int(sp, 16)) for pc, sp in frames]
        core.corrupted = "CORRUPTED" in line
        return True

    def _take_stack(self, line: str) -> bool:
        found = _STACK.fullmatch(line.strip())
        if not (found and self._cores):
            return False
        core = self._cores[-1]
        if len(core.stack) < STACK_ROWS:
            core.stack.append((int(found[1], 16), tuple(int(word, 16) for word in found[2].split())))
        return True

    def _take_elf(self, line: str) -> bool:
        found = _ELF.match(line)
        if found:
            self._elf_sha256 = found[1].lower()
        return found is not None
