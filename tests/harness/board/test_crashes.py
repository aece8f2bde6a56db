"""Crashes, resets and boot loops are found in what boards print, and in nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.board.crash_draft import CORE_DUMP_CHARACTERS, DETAILS, LINES
from harness.board.crash_report import CrashReport
from harness.board.crashes import LINE_CHARACTERS, QUIET_LINES_OF_A_CRASH, CrashParser, Notice
from harness.board.resets import BootLoop, Reset
from harness.firmware.chips import CHIPS
from harness.firmware.image import Image
from harness.firmware.made_images import MEMORY
from harness.virtual.panics import PanicKind, panic_lines
from harness.virtual.rom_log import banner

LOGS = Path(__file__).parents[3] / "firmware_fixtures/logs"
NAMES = sorted(path.stem for path in LOGS.glob("*.log"))
KINDS = {"crash": CrashReport, "reset": Reset, "boot_loop": BootLoop}


def lines_of(name: str) -> list[str]:
    """The lines of a recording."""
    return (LOGS / f"{name}.log").read_text().splitlines()


def read(lines: list[str], *, every: float = 0.05) -> list[Notice]:
    """What a parser finds in them, silence afterwards included."""
    parser = CrashParser()
    found = [notice for number, line in enumerate(lines) for notice in parser.feed(line, number * every)]
    return found + parser.flush()


def crashes(lines: list[str]) -> list[CrashReport]:
    """Only the crashes."""
    return [notice for notice in read(lines) if isinstance(notice, CrashReport)]


def found_as(expected: dict[str, Any], notice: Notice, before: list[Notice]) -> dict[str, Any]:
    """What a notice says of each thing that is expected of it."""
    special = {
        "notice": lambda: next(name for name, kind in KINDS.items() if isinstance(notice, kind)),
        "registers": lambda: {name: notice.registers.get(name) for name in expected["registers"]} or notice.registers,
        "backtrace": lambda: [list(frame) for frame in notice.backtrace],
        "details": lambda: list(notice.details),
        "frames": lambda: len(notice.backtrace),
        "cores": lambda: [core.core for core in notice.cores],
        "stack_rows": lambda: len(notice.crashed.stack),
        "stack_begins": lambda: notice.crashed.stack[0][0],
        "core_dump_lines": lambda: len(notice.core_dump.split()),
        "reset": lambda: notice.reset and notice.reset.cause,
        "same_signature_as": lambda: before.index(next(n for n in before if _signature(n) == notice.signature)),
        "other_signature_than": lambda: next(
            number for number, n in enumerate(before) if _signature(n) not in {None, notice.signature}
        ),
    }
    return {name: special[name]() if name in special else getattr(notice, name) for name in expected}


def _signature(notice: Notice) -> str | None:
    return notice.signature if isinstance(notice, CrashReport) else None


@pytest.mark.parametrize("name", NAMES)
def test_recordings(name: str):
    """Each recording is found to be what stands beside it: no less, and no more."""
    expected = tomllib.loads((LOGS / f"{name}.toml").read_text())["notices"]

    found = read(lines_of(name))

    assert [found_as(wanted, notice, found) for wanted, notice in zip(expected, found, strict=False)] == expected
    assert len(found) == len(expected), found


def test_listed():
    """Each recording has its expectation, and its line in the page there."""
    page = (LOGS.parent / "README.md").read_text()

    assert sorted(path.stem for path in LOGS.glob("*.toml")) == NAMES
    for name in NAMES:
        assert f"| `{name}` | {tomllib.loads((LOGS / f'{name}.toml').read_text())['what']} |" in page


@pytest.mark.parametrize("name", NAMES)
def test_with_colours_and_carriage_returns(name: str):
    """Line ends of the wire, and colours around each line, change nothing but the text that is kept."""
    plain = [str(notice) for notice in read(lines_of(name))]

    dressed = [str(notice) for notice in read([f"\x1b[0;31m{line}\x1b[0m\r" for line in lines_of(name)])]

    assert dressed == plain


@pytest.mark.parametrize("kind", get_args(PanicKind))
@pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)
def test_virtual_boards(chip, kind: PanicKind):
    """What a virtual board prints when it panics is understood just as well."""
    image = Image.parse((LOGS.parent / f"{chip.name}-1.0.0/gateway_device.bin").read_bytes())
    assert image.descriptor is not None

    crash, reset = read([*panic_lines(chip, image, kind), *banner(chip, "panic")])

    assert isinstance(crash, CrashReport)
    assert crash.kind == {"corrupt_heap": "heap_corruption"}.get(kind, kind if kind in KNOWN else "exception")
    assert image.descriptor.elf_sha256.startswith(crash.elf_sha256)
    assert crash.elf_sha256
    assert crash.pc is not None
    assert crash.pc & 0xFFFF0000 == MEMORY[chip.name].irom
    assert crash.reset is reset


KNOWN = {"abort", "assert", "stack_overflow", "interrupt_watchdog"}


class TestWhile:
    """While a crash is being told."""

    def test_from_the_first_line_on(self):
        """It is known at once, and more of it with each line; complete it is with the reset."""
        parser = CrashParser()
        states: list[tuple[bool, bool, bool]] = []
        for line in lines_of("panic-xtensa"):
            complete = parser.feed(line)
            crash = parser.current
            states.append((crash is not None, bool(crash and crash.registers), bool(crash and crash.backtrace)))
            if complete:
                break

        begun = next(number for number, state in enumerate(states) if state[0])
        assert lines_of("panic-xtensa")[begun].startswith("Guru Meditation Error")
        assert states[-2] == (True, True, True)
        assert states[-1] == (False, False, False)
        assert isinstance(complete[0], CrashReport)

    def test_silence(self):
        """Where the ROM's lines get lost, silence completes it."""
        parser = CrashParser()
        lines = lines_of("panic-xtensa")
        for line in lines[: lines.index("Rebooting...") + 1]:
            assert parser.feed(line) == []

        (crash,) = parser.flush()

        assert isinstance(crash, CrashReport)
        assert (crash.fatal, crash.reset) == (True, None)
        assert parser.flush() == []
        assert parser.current is None

    def test_many_other_lines(self):
        """Or what the next boot prints instead of them."""
        lines = lines_of("panic-xtensa")
        parser = CrashParser()
        for line in lines[: lines.index("Rebooting...") + 1]:
            parser.feed(line)

        found = [parser.feed(f"I ({number}) app: line") for number in range(QUIET_LINES_OF_A_CRASH)]

        assert [len(notices) for notices in found] == [0] * (QUIET_LINES_OF_A_CRASH - 1) + [1]

    def test_crash_in_a_crash(self):
        """A second one begins before the first has ended: both are told."""
        first = lines_of("panic-xtensa")
        first = first[: first.index("Rebooting...") - 3]
        first, second, _ = read([*first, *lines_of("abort-xtensa")])

        assert isinstance(first, CrashReport)
        assert isinstance(second, CrashReport)
        assert (first.kind, first.reset, second.kind) == ("exception", None, "abort")

    def test_reset_button(self):
        """A report that the firmware survived is not made fatal by whoever resets the board then."""
        watchdog = lines_of("task-watchdog")[:10]
        (told, reset) = read([*watchdog, "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"])
        assert isinstance(told, CrashReport)
        assert not told.fatal

        (told, reset) = read([*watchdog, "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"])
        assert isinstance(told, CrashReport)
        assert told.fatal
        assert told.reset is reset

    def test_backtraces_of_other_cores(self):
        """A backtrace without registers before it is another core's, and not of the one that crashed."""
        lines = lines_of("panic-xtensa")
        at = next(number for number, line in enumerate(lines) if line.startswith("Backtrace:")) + 1
        (crash, _) = read([*lines[:at], "Backtrace: 0x40081234:0x3ffb0000", *lines[at:]])

        assert isinstance(crash, CrashReport)
        assert [(core.core, len(core.backtrace)) for core in crash.cores] == [(0, 4), (None, 1)]

    def test_watchdog_without_backtraces(self):
        """A watchdog that reports again before it has shown anything has reported twice."""
        said = lines_of("task-watchdog")[1:3]

        assert [crash.task for crash in crashes([*said, *said])] == ["IDLE0", "IDLE0"]

    def test_trouble_of_another_time(self):
        """A crash long ago does not make a loop of restarts that somebody asked for."""
        restart = "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)"

        assert not any(isinstance(notice, BootLoop) for notice in read([*lines_of("panic-xtensa"), *[restart] * 5]))


class TestNoCrash:
    """What looks like one and is none."""

    @pytest.mark.parametrize(
        "line",
        [
            "I (100) Application: << Guru Meditation Error: Core  0 panic'ed (LoadProhibited).",
            "I (100) chat: abort() was called at PC 0x400d2138 on core 0",
            "W (100) parser: assert failed: what a text",
            "I (100) app: rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)",
            "E (100) app: Task watchdog got triggered",
            "I (100) app: Brownout detector was triggered",
            "I (193) app_init: ELF file SHA256:  0f8cb1759...",
            "Backtrace: 0x400d5a2b:0x3ffb5e50",
            "I (100) app: Rebooting...",
            "Rebooting...",
            "CPU halted.",
            "I (12:34:56.789) Application: << CORRUPT HEAP: ha ha",
        ],
    )
    def test_text_that_is_repeated(self, line: str):
        """Firmware logs what others said to it; that is no crash of its own."""
        assert read(["I (99) app: before", line, *[f"I ({n}) app: after" for n in range(100)]]) == []
        assert read([line]) == []

    def test_not_in_the_way(self):
        """Nor does it hide a real one, before or after it."""
        echo = "I (100) Application: << Guru Meditation Error: Core  0 panic'ed (joke). Exception was unhandled."
        lines = lines_of("panic-xtensa")
        at = lines.index("Rebooting...")

        (crash, reset) = read([echo, *lines[:at], echo, *lines[at:]])

        assert isinstance(crash, CrashReport)
        assert (crash.cause, crash.reset) == ("LoadProhibited", reset)


class TestReport:
    """What a report says."""

    def test_in_words(self):
        """What, where, in which task, and what followed."""
        (crash,) = crashes(lines_of("stack-watchpoint"))

        assert str(crash).splitlines() == [
            "stack_overflow: Stack canary watchpoint triggered (main) at 0x40083a1c on core 0 in task main",
            "  Debug exception reason: Stack canary watchpoint triggered (main)",
            "  backtrace: 0x40083a19 0x400d6b0b",
            "  ELF file SHA256: 0f8cb1759",
            "  reset: SW_CPU_RESET",
        ]

    def test_survived(self):
        """A report of a firmware that went on says so; a corrupted stack is named."""
        assert str(crashes(lines_of("error-check-goes-on"))[0]).endswith("\n  the firmware went on")
        assert "(the stack is corrupted there)" in str(crashes(lines_of("panic-xtensa-corrupted"))[0])

    def test_control_characters(self):
        """Nothing of a crash's text reaches a terminal as it is."""
        (crash,) = crashes(["assert failed: f file.c:1 (\x07\x1b]0;title\x07)"])

        assert "\\x07" in str(crash)
        assert str(crash).replace("\n", "").isprintable()

    def test_lines(self):
        """The text is kept as it came, from the first line on."""
        (crash,) = crashes(lines_of("panic-xtensa"))

        assert crash.lines[0] == lines_of("panic-xtensa")[1]
        assert "Rebooting..." in crash.lines

    def test_addresses(self):
        """Those of code, innermost first, each once."""
        (corrupted,) = crashes(lines_of("panic-xtensa-corrupted"))
        (riscv,) = crashes(lines_of("panic-riscv"))
        (check,) = crashes(lines_of("error-check"))

        assert corrupted.addresses == ()
        assert riscv.addresses == (0x420072D4, 0x420072CE)
        assert check.addresses == (0x400D5F2A, 0x40081B2E, 0x4008A0D3)

    def test_signatures(self):
        """Each recording has a crash of its own; heap addresses are no part of it, line numbers are."""
        signatures = {name: [crash.signature for crash in crashes(lines_of(name))] for name in NAMES}
        firsts = [found[0] for found in signatures.values() if found]
        moved = [line.replace("0x3ffe270a", "0x3ffe0000") for line in lines_of("corrupt-heap")]
        other = [line.replace("queue.c:1713", "queue.c:1714") for line in lines_of("assert")]

        assert len(set(firsts)) == len(firsts) > 20
        torn = [line.replace("0x0000abab:", "0x40083210:") for line in lines_of("panic-xtensa-corrupted")]
        assert crashes(torn)[0].signature == signatures["panic-xtensa-corrupted"][0]
        assert crashes(moved)[0].signature == signatures["corrupt-heap"][0]
        assert crashes(other)[0].signature != signatures["assert"][0]
        assert re.fullmatch(r"exception [0-9a-f]{8}", signatures["panic-xtensa"][0])


class TestBounds:
    """Nothing grows without end."""

    def test_lines_and_details(self):
        """A crash that never ends is cut off."""
        parser = CrashParser()
        parser.feed("assert failed: f file.c:1 (x)")
        for number in range(DETAILS + QUIET_LINES_OF_A_CRASH + 5):
            assert len(parser.feed(f"line {number}")) <= 1

        assert parser.current is None

    def test_dump_without_end(self):
        """Registers, backtraces and stacks for ever are one crash with the first of them."""
        parser = CrashParser()
        for number in range(3000):
            parser.feed("Core  0 register dump:")
            parser.feed("PC      : 0x400d5a2e  PS      : 0x00060830")
            parser.feed("Backtrace:" + " 0x400d5a2b:0x3ffb5e50" * 200)
            parser.feed(f"{number:08x}: 0x00000000")
        (crash,) = parser.flush()

        assert isinstance(crash, CrashReport)
        assert (len(crash.lines), len(crash.cores), len(crash.cores[-1].stack)) == (LINES, 4, 64)
        assert len(crash.backtrace) == 128

    def test_core_dump_without_end(self):
        """Text of a core dump is kept up to a limit."""
        parser = CrashParser()
        parser.feed("================= CORE DUMP START =================")
        for _ in range(CORE_DUMP_CHARACTERS // 64 + 1000):
            parser.feed("A" * 64)
        (crash,) = parser.flush()

        assert isinstance(crash, CrashReport)
        assert len(crash.core_dump.replace("\n", "")) <= CORE_DUMP_CHARACTERS + 64

    def test_core_dump_cut_off(self):
        """A core dump that breaks off does not swallow what comes then."""
        lines = lines_of("core-dump")
        end = next(number for number, line in enumerate(lines) if "CORE DUMP END" in line)

        first, _, second, *_ = read([*lines[: end - 1], "Rebooting...", *lines_of("panic-riscv")[-3:], *lines])

        assert isinstance(first, CrashReport)
        assert isinstance(second, CrashReport)
        assert len(first.core_dump.split()) == 3

    def test_core_dump_that_stops(self):
        """Nor does one whose firmware just goes on: the next crash is seen."""
        lines = lines_of("core-dump")
        end = next(number for number, line in enumerate(lines) if "CORE DUMP END" in line)

        _, second, _ = read([*lines[:end], "I (9) app: here I am", *lines_of("panic-riscv")])

        assert isinstance(second, CrashReport)
        assert second.cause == "Store access fault"

    def test_long_line(self):
        """Of a line without end its beginning is looked at."""
        assert crashes(["x" * LINE_CHARACTERS + "Guru Meditation Error: Core  0 panic'ed (a)."]) == []


fragments = st.sampled_from([line for name in NAMES for line in lines_of(name) if line])
noise = st.text(max_size=80)


class TestAnyText:
    """Whatever a board prints."""

    @given(st.lists(noise, max_size=20))
    def test_any_lines(self, lines: list[str]):
        """No text is an error."""
        for notice in read(lines):
            assert str(notice)

    @settings(max_examples=150)
    @given(st.lists(st.one_of(fragments, noise, st.tuples(fragments, noise).map("".join)), max_size=60))
    def test_any_mixture(self, lines: list[str]):
        """Nor are the lines of crashes in any order, whole or in part, or with anything in between."""
        for notice in read(lines):
            assert str(notice)
            if isinstance(notice, CrashReport):
                assert notice.signature
                assert notice.addresses is not None

    @settings(max_examples=50)
    @given(st.sampled_from(NAMES), st.data())
    def test_cut_anywhere(self, name: str, data: st.DataObject):
        """A recording may begin and end anywhere, within a line too."""
        text = "\n".join(lines_of(name))
        begin, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))

        read(text[begin:end].split("\n"))
