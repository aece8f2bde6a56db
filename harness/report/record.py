"""The record of a validation: what was tried, what was seen, and the verdict. All reports are made from it alone.

A record says nothing of the host it was made on: no path, no user, no name of a machine. It may hold secrets until
`harness.report.masking.masked` has been over it, which `harness.report.writing.write_report` does first.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from statistics import median
from typing import Any, Literal, TypeAlias

import msgspec

from gateway.identity import printable
from harness.errors import Misuse
from harness.report.errors import BadRecord, UnknownSchema

SCHEMA = "wsdevice.validation/1"
"""Its number grows when a field changes its meaning or is taken away; fields may be added without."""

Verdict: TypeAlias = Literal["pass", "firmware", "gateway", "rig", "network"]
"""Whose fault it is."""
GRAVEST: tuple[Verdict, ...] = ("firmware", "gateway", "network", "rig", "pass")
"""What is said of several results at once is the first of these that any of them has."""

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "error"]
"""Of a scenario. ``error``: it could not be carried out, which says nothing about the firmware."""

Judgement: TypeAlias = Literal["ok", "worse", "over limit", "no baseline"]
"""Of a measurement. ``worse`` than the baseline by more than its noise; ``over limit``: past its declared limit."""


class Run(msgspec.Struct, frozen=True):
    """One call of ``wsdevice validate``.

    Attributes:
        id: no other run has it.
        began: UTC, ISO 8601 to the second: ``2026-03-14T09:26:53Z``.
        seconds: how long it took.
        tools: versions by name: wsdevice, python, esptool ...
        reproduce: the command that does it again, ready to be copied; empty if there is none.
    """

    id: str
    began: str
    seconds: float
    tools: dict[str, str] = {}
    reproduce: str = ""


class BuildUsed(msgspec.Struct, frozen=True):
    """The firmware.

    Attributes:
        name: what the matrix calls it; no other build of the run has it.
        chip: ``esp32s3``.
        project, version, idf: as its app descriptor says; empty where it has none.
        layout: what made it: ``ESP-IDF``, ``PlatformIO`` ...
        elf_sha256: of the ELF file, in hexadecimal, which crashes are decoded with.
    """

    name: str
    chip: str
    project: str = ""
    version: str = ""
    idf: str = ""
    layout: str = ""
    elf_sha256: str = ""


class Evidence(msgspec.Struct, frozen=True):
    """What a result stands on.

    Attributes:
        real: parts that were the real thing.
        stood_in: parts that were not.
    """

    real: tuple[str, ...]
    stood_in: tuple[str, ...]


VIRTUAL = Evidence(
    real=("flashing tool (esptool)", "serial protocol", "firmware images", "NVS", "network"),
    stood_in=("CPU", "radio", "timing"),
)
"""Of a virtual board: times measured on it are times of a program on this machine."""
REAL = Evidence(
    real=("flashing tool (esptool)", "serial protocol", "firmware images", "NVS", "network", "CPU", "radio", "timing"),
    stood_in=(),
)
"""Of a board on a bench."""


class BoardUsed(msgspec.Struct, frozen=True):
    """The board.

    Attributes:
        id: as in the bench file; stable over years, so that histories can be told apart by it.
        chip: ``esp32s3``.
        virtual: it is a program.
        evidence: what of it is real.
    """

    id: str
    chip: str
    virtual: bool
    evidence: Evidence


class Baseline(msgspec.Struct, frozen=True):
    """What a measurement was before.

    Attributes:
        value: the median of its repeats.
        low, high: the least and the greatest of them: its spread.
        repeats: how many.
        build: the version they were taken from; empty if unknown.
    """

    value: float
    low: float
    high: float
    repeats: int = 1
    build: str = ""


class Limit(msgspec.Struct, frozen=True):
    """What was declared; either or both."""

    at_most: float | None = None
    at_least: float | None = None


class Measurement(msgspec.Struct, frozen=True):
    """One thing that was measured, some times over.

    Attributes:
        name: identifier: ``boot_to_ip``.
        title: for people: ``boot to IP address``.
        unit: ``s``, ``ms``, ``bytes``, ``bytes/s``, ``%``, ``frames`` ...; empty: a count.
        values: one for each repeat, in order; empty: it could not be measured, and ``why`` says so.
        judgement: what is thought of it.
        why: one line for it, with the numbers.
        better: which way is better.
        limit: as declared.
        baseline: what it was before.

    Raises:
        Misuse: a value is not a finite number, which JSON cannot say.
    """

    name: str
    title: str
    unit: str
    values: tuple[float, ...]
    judgement: Judgement
    why: str
    better: Literal["lower", "higher"] = "lower"
    limit: Limit = Limit()
    baseline: Baseline | None = None

    def __post_init__(self) -> None:
        if not all(map(isfinite, self.values)):
            raise Misuse(f"expected numbers of {self.name}, got {self.values}: leave out what could not be measured")

    @property
    def value(self) -> float | None:
        """The median of the repeats; None where there is none."""
        return median(self.values) if self.values else None

    @property
    def bad(self) -> bool:
        """Whether it speaks against the build."""
        return self.judgement in {"worse", "over limit"}


class Scenario(msgspec.Struct, frozen=True):
    """One scenario that was run on the board.

    Attributes:
        name: identifier: the id of the test without a path of this machine.
        doc: one sentence that says what must hold.
        outcome: what came of it.
        seconds: how long it took.
        message: why it failed or was skipped; several lines.
        blames: whose fault it is; None where it passed or says nothing.
        group: the area it is of: ``reconnecting``; empty: none.
        timeline: what `harness.timeline.Timeline.rows` yields, oldest first. A row may have ``lane``, one of
            `harness.report.lanes.LANES`, where its kind does not say where it belongs.
        dropped: entries that the timeline had no room for.
        failed_at: when it failed, in seconds of the timeline; None: not known, or it did not.
        reproduce: the command that runs this scenario again, ready to be copied; empty if there is none.
    """

    name: str
    doc: str
    outcome: Outcome
    seconds: float
    message: str = ""
    blames: Verdict | None = None
    group: str = ""
    timeline: tuple[dict[str, Any], ...] = ()
    dropped: int = 0
    failed_at: float | None = None
    reproduce: str = ""

    @property
    def bad(self) -> bool:
        """Whether it failed, or could not be carried out."""
        return self.outcome in {"failed", "error"}


class PartUsed(msgspec.Struct, frozen=True):
    """One part of the build, and whether it was written.

    Attributes:
        label: of its partition, or ``bootloader``, ``partition table``.
        offset: where it stands on the flash, in bytes.
        bytes: how long it is.
        written: it was; else it was skipped.
        because: why it was written or skipped: ``the flash holds the same``.
        seconds: how long that took; 0 where it is not known of this part.
    """

    label: str
    offset: int
    bytes: int
    written: bool
    because: str = ""
    seconds: float = 0.0


class Crash(msgspec.Struct, frozen=True):
    """The firmware crashed.

    Attributes:
        kind: ``panic``, ``abort``, ``task watchdog`` ...
        text: registers, and the functions where they could be decoded; several lines.
        scenario: name of the one it happened in; empty: outside of one.
        at: when, in seconds of that scenario's timeline.
        signature: the same for crashes at the same place; empty if not known.
    """

    kind: str
    text: str
    scenario: str = ""
    at: float | None = None
    signature: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """A try that ended with a fault that is not the build's, and was made again on another board."""

    board: str
    verdict: Verdict
    why: str
    seconds: float = 0.0


class Cell(msgspec.Struct, frozen=True):
    """One build on one board: everything that was found there.

    Attributes:
        build, board: which; the board is the one of the last attempt.
        verdict: whose fault it is.
        why: one line.
        decided_by: name of the scenario or measurement that decided it; empty: neither (a bad build, a rig).
        seconds: how long it took.
        measurements, scenarios: in the order in which they were made.
        flashed: every part of the build, written or skipped.
        crashes: oldest first.
        attempts: those before the last; each is shown.
        environment: what else it depended on: gateway version, network, baseline ... by name.
    """

    build: BuildUsed
    board: BoardUsed
    verdict: Verdict
    why: str
    decided_by: str = ""
    seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    flashed: tuple[PartUsed, ...] = ()
    crashes: tuple[Crash, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    environment: dict[str, str] = {}


class Record(msgspec.Struct, frozen=True):
    """A whole validation.

    Attributes:
        run: which one.
        verdict: of all cells together: `gravest` of theirs.
        why: one line.
        cells: one for each build and board that was tried; a pair that is missing was not.
        schema: always `SCHEMA`.
    """

    run: Run
    verdict: Verdict
    why: str
    cells: tuple[Cell, ...] = ()
    schema: str = SCHEMA


class _Head(msgspec.Struct):
    schema: str


def gravest(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the one of several verdicts that stands for all; ``pass`` for none at all."""
    return min(verdicts, key=GRAVEST.index, default="pass")


def encode(record: Record) -> bytes:
    """Return a record as JSON, indented for people; the same record gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=1) + b"\n"


def decode(data: bytes) -> Record:
    """Read a record back.

    Raises:
        UnknownSchema: it is of a version that is not known here.
        BadRecord: it is no record.
    """
    try:
        schema = msgspec.json.decode(data, type=_Head).schema
        if schema != SCHEMA:
            raise UnknownSchema(printable(schema, 80), SCHEMA)
        return msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRecord(f"expected the JSON of a validation's record ({SCHEMA}), got something else: {error}") from None
