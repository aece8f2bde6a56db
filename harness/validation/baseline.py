"""The baseline file: what a good build measured, and limits, in TOML that is fit for git. Reading and writing are pure.

::

    schema = 1

    [limits.boot_to_ip]
    at_most = 6.0

    [esp32s3.real.boot_to_ip]
    value = 2.31
    low = 2.28
    high = 2.4
    repeats = 3
    build = "1.4.2"

Boards of a kind share a baseline, real and virtual ones do not. Tables stand in a fixed order, and numbers have four
digits that matter, so that what has not changed is no difference.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config_reference import in_toml
from harness.errors import Misuse
from harness.firmware.chips import CHIPS
from harness.report.record import Baseline, Cell
from harness.validation.errors import BadBaseline
from harness.validation.limits import Limits, limits_in
from harness.validation.metrics import metric_named, place

SCHEMA = 1
HEAD = "# What a good build measured. Written by: wsdevice validate --update-baseline; limits are yours to declare.\n"
_BODIES = ("real", "virtual")
_DIGITS = 4


class BaselineFile(msgspec.Struct, frozen=True):
    """What a baseline file says.

    Attributes:
        limits: as declared.
        before: by kind of board (``esp32s3.real``), then by measurement.
    """

    limits: Limits = {}
    before: Mapping[str, Mapping[str, Baseline]] = {}

    def of(self, kind: str) -> Mapping[str, Baseline]:
        """Return what is known of a kind of board, by measurement."""
        return self.before.get(kind, {})


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: float
    low: float
    high: float
    repeats: int = 1
    build: str = ""


def kind_of(chip: str, *, virtual: bool) -> str:
    """Return what boards of a kind are called in the file."""
    return f"{chip}.{'virtual' if virtual else 'real'}"


def load(path: Path, *, may_be_new: bool = False) -> BaselineFile:
    """Read a baseline file.

    Raises:
        BadBaseline: it cannot be read, or says what it cannot.
    """
    try:
        return read(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if may_be_new:
            return BaselineFile()
        raise BadBaseline(
            f"{path}: expected a baseline, there is no such file; --update-baseline writes one from a good build"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadBaseline(f"{path}: expected a baseline that can be read: {error}") from None


def read(text: str, source: str = "baseline") -> BaselineFile:
    """Read the text of a baseline file.

    Raises:
        BadBaseline: it says what it cannot, where, and what was expected.
    """
    try:
        document = tomllib.loads(text)
    except ValueError as error:
        raise BadBaseline(f"{source}: expected TOML: {error}") from None
    if document.pop("schema", None) != SCHEMA:
        raise BadBaseline(f"{source}: expected schema = {SCHEMA}, the one this release reads")
    try:
        limits = limits_in(document.pop("limits", {}))
        before = {f"{chip}.{body}": entries for chip, body, entries in _kinds(document)}
    except (Misuse, msgspec.ValidationError) as error:
        raise BadBaseline(f"{source}: {error}") from None
    return BaselineFile(limits, before)


def updated(file: BaselineFile, cells: Iterable[Cell]) -> BaselineFile:
    """Return the file with what good cells measured; what they did not measure, and other boards, stay as they are.

    Of several cells of one kind of board the last one counts.
    """
    before = {kind: dict(entries) for kind, entries in file.before.items()}
    for cell in cells:
        entries = before.setdefault(kind_of(cell.board.chip, virtual=cell.board.virtual), {})
        for one in cell.measurements:
            if one.values and metric_named(one.name).compared:
                assert one.value is not None, "it has values"
                entries[one.name] = Baseline(
                    _short(one.value),
                    _short(min(one.values)),
                    _short(max(one.values)),
                    len(one.values),
                    cell.build.version,
                )
    return BaselineFile(file.limits, before)


def to_toml(file: BaselineFile) -> str:
    """Write a baseline file; the same content gives the same text."""
    parts = [HEAD + f"schema = {SCHEMA}\n"]
    parts += [
        _table(f"limits.{_key(name)}", {"at_most": limit.at_most, "at_least": limit.at_least})
        for name, limit in sorted(file.limits.items(), key=lambda one: place(one[0]))
    ]
    for kind, entries in sorted(file.before.items()):
        parts += [
            _table(f"{kind}.{_key(name)}", msgspec.structs.asdict(entry))
            for name, entry in sorted(entries.items(), key=lambda one: place(one[0]))
        ]
    return "\n".join(parts)


def _kinds(document: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Baseline]]]:
    for chip, bodies in document.items():
        if chip not in CHIPS or not isinstance(bodies, dict):
            raise Misuse(f"expected limits, or one of {', '.join(CHIPS)}, got {chip!r}")
        for body, entries in bodies.items():
            if body not in _BODIES or not isinstance(entries, dict):
                raise Misuse(f"expected {chip}.real or {chip}.virtual, got {chip}.{body}")
            yield chip, body, {name: _entry(name, entry) for name, entry in entries.items()}


def _entry(name: str, entry: Any) -> Baseline:
    metric_named(name)
    known = msgspec.convert(entry, _Entry)
    if not known.low <= known.value <= known.high or known.repeats < 1:
        raise Misuse(f"expected low, value and high of {name} in this order, from 1 repeat or more, got {entry}")
    return Baseline(known.value, known.low, known.high, known.repeats, known.build)


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"{key} = {in_toml(_plain(value))}" for key, value in values.items() if value is not None]
    return "\n".join([f"[{name}]", *lines]) + "\n"


def _plain(value: Any) -> Any:
    """Write whole numbers without a fraction, in which nobody believes in bytes."""
    return int(value) if isinstance(value, float) and value == int(value) else value


def _key(name: str) -> str:
    return in_toml(name) if "." in name else name


def _short(value: float) -> float:
    """Leave four digits that matter, and all of a whole number: sizes are exact."""
    return float(value) if value == int(value) else float(f"{value:.{_DIGITS}g}")
