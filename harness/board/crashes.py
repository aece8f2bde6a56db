"""Finds crashes, resets and boot loops in what a board prints, line by line, for Xtensa and RISC-V.

Texts: ESP-IDF, "Fatal Errors" (API guides), and the components they come from: ``esp_system`` (panic.c, the
panic_arch.c of each architecture, task_wdt.c, esp_err.c), ``esp_libc`` (abort.c, assert.c), ``heap``, ``espcoredump``,
``esp_hw_support`` (brownout.c). Versions 4.4 to 6 differ little, and where they do, both are known.

Nothing here waits or reads: whoever feeds lines says when they came, and with `CrashParser.flush` that no more will.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from harness.board.crash_draft import CrashDraft
from harness.board.crash_report import CrashKind, CrashReport
from harness.board.resets import BootLoop, LoopWatch, Reset, read_reset

Notice: TypeAlias = CrashReport | Reset | BootLoop

LINE_CHARACTERS: Final = 4096
"""Of a line that are looked at: a backtrace of a hundred frames has 2,300."""
QUIET_LINES: Final = 3
"""Ordinary log lines after which a crash that may not be one is over: the firmware goes on."""
QUIET_LINES_OF_A_CRASH: Final = 30
"""Of any kind after which a crash is over though no reset was seen: the ROM's lines get lost on some ports."""

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}[A-Za-z]")
_LOG = re.compile(r"[EWIDV] \([0-9:. -]{1,24}\) ([^:]{1,60}): ?(.*)", re.DOTALL)
_TROUBLE = re.compile(r"invalid header: |csum err:|flash read err|ets_main\.c|ets_loader\.c|Checksum failure")
_BOOT_TAGS: Final = frozenset({"boot", "esp_image", "flash_parts", "boot_comm", "qio_mode", "bootloader_flash"})


class _Beginning(NamedTuple):
    """A line that begins a crash.

    Attributes:
        pattern: found anywhere in it, since what was printed before may not have ended its line.
        kind: of the crash.
        cause: made of what was found.
        fatal: whether the firmware is sure to end.
        task: the group that names the task; 0: none does.
        address: the group that names an address, hexadecimal; 0: none does.
        core: the group that names the core; 0: none does.
    """

    pattern: re.Pattern[str]
    kind: CrashKind
    cause: Callable[[re.Match[str]], str]
    fatal: bool = True
    task: int = 0
    address: int = 0
    core: int = 0


_GURU = re.compile(r"Guru Meditation Error: Core +(\d{1,2}) panic'ed \(([^)]{1,80})\)")
_BEGINNINGS = (
    _Beginning(
        re.compile(r"\*\*\*ERROR\*\*\* (A stack overflow in task (.{0,40}?) has been detected)"),
        "stack_overflow",
        lambda found: found[1],
        task=2,
    ),
    _Beginning(re.compile(r"assert failed: .{0,300}"), "assert", lambda found: found[0]),
    # of ESP-IDF before 4.4, and of newlib in ROM
    _Beginning(re.compile(r'assertion ".{1,200}?" failed: file .{1,200}'), "assert", lambda found: found[0]),
    _Beginning(
        re.compile(r"ESP_ERROR_CHECK failed: (esp_err_t .{1,80}?) at 0x([0-9a-fA-F]{1,8})"),
        "error_check",
        lambda found: found[1],
        address=2,
    ),
    _Beginning(
        re.compile(r"ESP_ERROR_CHECK_WITHOUT_ABORT failed: (esp_err_t .{1,80}?) at 0x([0-9a-fA-F]{1,8})"),
        "error_check",
        lambda found: found[1],
        fatal=False,
        address=2,
    ),
    _Beginning(re.compile(r"Stack smashing protect failure!"), "stack_smashing", lambda found: found[0]),
    _Beginning(re.compile(r"CORRUPT HEAP: .{0,200}"), "heap_corruption", lambda found: found[0], fatal=False),
    _Beginning(
        re.compile(r"abort\(\) was called at PC 0x([0-9a-fA-F]{1,8})(?: on core (\d))?"),
        "abort",
        lambda _: "abort()",
        address=1,
        core=2,
    ),
)
_TASK_WATCHDOG = re.compile(r"Task watchdog got triggered")
_BROWN_OUT = re.compile(r"Brownout detector was triggered")
_LOST_BEGINNING = re.compile(r"Core +\d{1,2} register dump:|ELF file SHA256: +[0-9a-fA-F]{4}")
"""What a dump has in any case; at the beginning of a line no ordinary log has it."""
_BUILT_ON: Final = frozenset(
    {"task_watchdog", "error_check", "heap_corruption", "stack_smashing", "stack_overflow", "assert"}
)
"""These say what is wrong, and then call ``abort()`` or ``assert()``, which belongs to them."""

_ENDS = re.compile(r"Rebooting\.\.\.|Panic handler entered multiple times\.")
_HALTS = re.compile(r"CPU halted\.|Entering gdb stub now\.")
_CORE_DUMP_BEGINS, _CORE_DUMP_ENDS = "CORE DUMP START ====", "CORE DUMP END ===="
_STARVING = re.compile(r" - (.{1,40}?) \(CPU [0-9/]{1,3}\)$")
_BACKTRACE_OF = re.compile(r"Print CPU (\d)(?: \(current core\))? (?:backtrace|registers)")
_STACK_WATCH = re.compile(r"Stack canary watchpoint triggered \((.{0,40}?)\)")
_STACK_GUARD = re.compile(r'Detected in task "(.{0,40}?)" at 0x')


class CrashParser:
    """Takes a board's lines one by one; text of any kind does no harm."""

    def __init__(self) -> None:
        self._draft: CrashDraft | None = None
        self._in_core_dump = False
        self._loop = LoopWatch()
        self._trouble = ""

    @property
    def under_way(self) -> bool:
        """Whether a crash is being told, for certain."""
        return self._draft is not None and self._draft.certain

    @property
    def current(self) -> CrashReport | None:
        """The crash that is being told, as far as it has come; None: none is for certain.

        Whoever cannot wait for its end has it from its first line on.
        """
        return self._draft.report() if self._draft and self._draft.certain else None

    def feed(self, line: str, at: float = 0.0) -> list[Notice]:
        """Take a line without its end; return what is complete with it, in the order it happened.

        Args:
            line: colours and further control characters do not matter.
            at: when it came, in seconds; never less than before.
        """
        text = _COLOUR.sub("", line[:LINE_CHARACTERS]).rstrip("\r\n")
        log = _LOG.match(text)
        if not log and (reset := read_reset(text, at)):
            return self._reset(reset)
        self._note_trouble(text, log)
        if self._take_core_dump(text, at):
            return []
        begun = self._begun(text, log, at)
        if begun is None:
            return self._go_on(self._draft, text, log) if self._draft else []
        notices = [] if begun is self._draft else self._close(None)
        self._draft = begun
        begun.keep(text)
        begun.quiet = 0
        return notices

    def flush(self) -> list[Notice]:
        """Return the crash that was being told, as complete: no more lines came for a while."""
        return self._close(None)

    # --- the end of a crash -------------------------------------------------------------------------------------

    def _reset(self, reset: Reset) -> list[Notice]:
        notices: list[Notice] = [*self._close(reset), reset]
        loop = self._loop.saw(reset, self._trouble)
        self._trouble = ""
        return [*notices, loop] if loop else notices

    def _close(self, reset: Reset | None) -> list[Notice]:
        draft, self._draft, self._in_core_dump = self._draft, None, False
        if draft is None or not draft.certain:
            return []
        report = draft.report(reset)
        if report.fatal:
            self._trouble = f"{report.kind}: {report.cause}"
        return [report]

    # --- its beginning ------------------------------------------------------------------------------------------

    def _begun(self, text: str, log: re.Match[str] | None, at: float) -> CrashDraft | None:
        """Return the crash a line begins, or belongs to as another beginning; None: it is an ordinary line."""
        begun, draft = _beginning(text, log, at), self._draft
        if draft is None:
            lost = begun is None and _LOST_BEGINNING.match(text)
            if lost:
                begun = CrashDraft("unknown", "a dump whose first lines are missing", at)
                begun.take_dump_line(text)
            return begun
        if begun is None or (draft.certain and not begun.certain):
            return None
        follows = begun.kind in {"abort", "assert"} or begun.kind == draft.kind != "task_watchdog"
        if draft.has_state or draft.kind not in _BUILT_ON or not follows:
            return begun
        draft.add(begun)
        return draft

    # --- what comes between -------------------------------------------------------------------------------------

    def _go_on(self, draft: CrashDraft, text: str, log: re.Match[str] | None) -> list[Notice]:
        draft.keep(text)
        plain = text.strip()
        if _HALTS.match(plain):
            draft.certain = draft.fatal = True
            return self._close(None)
        if draft.take_dump_line(text):
            draft.certain, draft.quiet = True, 0
        elif _ENDS.match(plain):
            draft.certain, draft.ended, draft.quiet = True, True, 0
        elif plain and not _explains(draft, plain, log):
            draft.quiet += 1
        patience = QUIET_LINES if log and not (draft.fatal and draft.certain) else QUIET_LINES_OF_A_CRASH
        return self._close(None) if draft.quiet >= patience else []

    # --- around it ----------------------------------------------------------------------------------------------

    def _take_core_dump(self, text: str, at: float) -> bool:
        """Take a line of a core dump; return whether it was one."""
        if _CORE_DUMP_BEGINS in text:
            if self._draft is None:
                self._draft = CrashDraft("unknown", "a core dump without a crash before it", at)
            self._in_core_dump = True
        elif not self._in_core_dump or self._draft is None:
            return False
        elif _CORE_DUMP_ENDS in text:
            self._in_core_dump = False
        else:
            self._in_core_dump = self._draft.take_core_dump_line(text)
            return self._in_core_dump
        return True

    def _note_trouble(self, text: str, log: re.Match[str] | None) -> None:
        """Keep the last thing that ROM and boot loader complained of."""
        if _TROUBLE.search(text) if not log else (text.startswith("E") and log[1] in _BOOT_TAGS):
            self._trouble = text.strip()[:200]


def _beginning(text: str, log: re.Match[str] | None, at: float) -> CrashDraft | None:
    """Return the crash whose first line this is; None: it is none."""
    if _TASK_WATCHDOG.search(text) and log and log[1] == "task_wdt":
        return CrashDraft("task_watchdog", "Task watchdog got triggered", at, fatal=False)
    if (found := _BROWN_OUT.search(text)) and (not log or log[1] == "BOD"):
        return CrashDraft("brown_out", found[0], at)
    # in an ordinary line it is either a crash that broke in, or a text that the firmware repeats from somewhere
    certain = log is None
    if found := _GURU.search(text):
        draft = CrashDraft(_kind_of(found[2]), found[2], at, certain=certain)
        draft.core = int(found[1])
        return draft
    for begins in _BEGINNINGS:
        if found := begins.pattern.search(text):
            draft = CrashDraft(begins.kind, begins.cause(found), at, certain=certain, fatal=begins.fatal)
            draft.task = found[begins.task] if begins.task else ""
            draft.address = int(found[begins.address], 16) if begins.address else None
            draft.core = int(found[begins.core]) if begins.core and found[begins.core] else None
            return draft
    return None


def _kind_of(cause: str) -> CrashKind:
    if cause.startswith("Interrupt wdt timeout"):
        return "interrupt_watchdog"
    return "stack_overflow" if cause == "Stack protection fault" else "exception"


def _explains(draft: CrashDraft, plain: str, log: re.Match[str] | None) -> bool:
    """Take a line that says more about a crash; return whether it was one, and there was room for it."""
    if log:
        return _explains_in_log(draft, log[1], log[2])
    if draft.has_state or draft.ended:
        return False
    if found := _STACK_WATCH.search(plain):
        draft.kind, draft.cause, draft.task = "stack_overflow", found[0], found[1]
    elif found := _STACK_GUARD.search(plain):
        draft.task = found[1]
    return draft.detail(plain)


def _explains_in_log(draft: CrashDraft, tag: str, text: str) -> bool:
    if tag.startswith("esp_core_dump"):
        draft.core_dump_saved = draft.core_dump_saved or "Core dump has been saved to flash" in text
        return True
    if tag != "task_wdt" or draft.kind != "task_watchdog":
        return False
    if found := _STARVING.match(text):
        draft.task = draft.task or found[1]
    if found := _BACKTRACE_OF.match(text):
        draft.core = int(found[1])
    draft.fatal = draft.fatal or text.startswith("Aborting.")
    return draft.detail(text)
