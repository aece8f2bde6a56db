"""What goes on a board's flash: the parts of a build, its settings, and what is known to be there already. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from harness.board.esptool_output import Transcript
from harness.firmware.build import Build, Part
from harness.firmware.otadata import OtaData, OtaEntry, OtaState

Purpose: TypeAlias = Literal["build", "settings"]


class Planned(msgspec.Struct, frozen=True):
    """Something that is to be on the flash.

    Attributes:
        offset: where, in bytes.
        data: what.
        name: for people: the partition's label, or what the build calls it.
        purpose: it is of the build, or settings; these are secret.
    """

    offset: int
    data: bytes
    name: str
    purpose: Purpose = "build"

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + len(self.data)

    def __repr__(self) -> str:
        return f"Planned({self.offset:#x}, {self.name!r}, {len(self.data)} bytes)"


class PartDone(msgspec.Struct, frozen=True):
    """What became of one of them.

    Attributes:
        name: as it was planned.
        offset: likewise.
        size: likewise, in bytes.
        written: bytes of flash that were written; 0: it was there already.
        purpose: as it was planned.
    """

    name: str
    offset: int
    size: int
    written: int
    purpose: Purpose = "build"


class Flashed(msgspec.Struct, frozen=True):
    """What one flash did.

    Attributes:
        mac: of the board, as esptool read it.
        flash_size: of the board, in bytes.
        parts: what was planned, in the order of their offsets, and what became of each.
        seconds: from the first to the last.
    """

    mac: str
    flash_size: int
    parts: tuple[PartDone, ...]
    seconds: float

    @property
    def written(self) -> tuple[PartDone, ...]:
        """The parts of the build that were written."""
        return tuple(part for part in self.parts if part.written and part.purpose == "build")

    @property
    def skipped(self) -> tuple[PartDone, ...]:
        """The parts of the build that were on the flash already."""
        return tuple(part for part in self.parts if not part.written and part.purpose == "build")

    @property
    def settings_written(self) -> bool:
        """Whether settings were written."""
        return any(part.written for part in self.parts if part.purpose == "settings")

    @property
    def bytes_written(self) -> int:
        """Of flash, settings included."""
        return sum(part.written for part in self.parts)

    def __str__(self) -> str:
        return f"{'; '.join(filter(None, (self._of_build(), self._of_settings())))} ({self.seconds:.1f} s)"

    def _of_build(self) -> str:
        if not self.written:
            count = len(self.skipped)
            return f"nothing to write, its {count} parts are there" if count else ""
        names = ", ".join(part.name for part in self.written)
        size = sum(part.written for part in self.written)
        return f"wrote {names}: {size / 1024:.0f} KiB" + (f", {len(self.skipped)} skipped" if self.skipped else "")

    def _of_settings(self) -> str:
        if not any(part.purpose == "settings" for part in self.parts):
            return ""
        return "settings written" if self.settings_written else "settings are there"


def planned(build: Build, settings: Planned | None = None) -> tuple[Planned, ...]:
    """Return what is to be on the flash, in the order of the offsets; settings take the place of the build's own."""
    parts = [
        Planned(part.offset, _otadata(build, part) or part.data, part.label or part.name)
        for part in build.parts
        if settings is None or part.offset != settings.offset
    ]
    return tuple(sorted([*parts, *([settings] if settings else [])], key=lambda part: part.offset))


def _otadata(build: Build, part: Part) -> bytes | None:
    """Return what the boot loader is going to make of otadata that is erased; None: it leaves the part as it is.

    Where there is no factory application it starts ota_0 and notes that (ESP-IDF, bootloader_support: "Set actual
    ota_seq"). Had we written it erased, the next flash would find it changed, and write it again. With the note there
    already the board starts the same application, and a second flash writes nothing.
    """
    where, slots = build.table.otadata, build.table.ota_slots
    if where is None or part.offset != where.offset or part.data.strip(b"\xff"):
        return None
    if build.table.factory or not slots or slots[0].offset != build.application.offset:
        return None
    return OtaData((OtaEntry(1, OtaState.VALID), None)).to_bytes().ljust(where.size, b"\xff")


def outcome(plan: Sequence[Planned], transcript: Transcript, seconds: float, flash_size: int) -> Flashed:
    """Return what a run of esptool did to each part of a plan."""
    parts = []
    for part in plan:
        written = sum(wrote.size for wrote in transcript.wrote if part.offset <= wrote.offset < part.end)
        parts.append(PartDone(part.name, part.offset, len(part.data), written, part.purpose))
    return Flashed(transcript.mac, flash_size, tuple(parts), seconds)


def to_compare(plan: Sequence[Planned], held: Mapping[int, bytes]) -> tuple[bytes | None, ...]:
    """Return, for each part, the image last written there that esptool is to compare with; empty: let it ask the chip.

    Comparing is worth it where a part has changed and all that was written there is held: then only the sectors that
    differ are written, and their sum is checked. Settings are never held; they are written whole.
    """
    build = [part for part in plan if part.purpose == "build"]
    if not all(part.offset in held for part in build) or all(held[part.offset] == part.data for part in build):
        return ()
    return tuple(held[part.offset] if part.purpose == "build" else None for part in plan)
