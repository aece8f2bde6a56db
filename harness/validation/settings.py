"""``wsdevice.toml``: what ``wsdevice validate`` is not told on its command line, and the limits of measurements.

::

    [validate]
    bench = "bench.toml"
    baseline = "baseline.toml"
    scenarios = "not slow"
    repeats = 3

    [validate.limits.boot_to_ip]
    at_most = 6.0
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import Misuse
from harness.report.record import Limit
from harness.validation.errors import BadSettings
from harness.validation.limits import limits_in

NAME = "wsdevice.toml"
REPEATS = 3
"""Of each measurement: the fewest that show how far they lie apart, and leave a median."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bench: str = ""
    baseline: str = ""
    scenarios: str = ""
    repeats: int = REPEATS
    limits: dict[str, Any] = {}


class Settings(msgspec.Struct, frozen=True):
    """What the file says; relative paths are made relative to its folder.

    Attributes:
        bench: a bench file, or ``virtual:N``; empty: not said.
        baseline: a baseline file; empty: not said.
        scenarios: which ones, as of pytest's ``-k``; empty: all.
        repeats: of each measurement.
        limits: by measurement.
    """

    bench: str = ""
    baseline: str = ""
    scenarios: str = ""
    repeats: int = REPEATS
    limits: dict[str, Limit] = {}


def load(path: Path | None) -> Settings:
    """Read the settings; None: ``wsdevice.toml`` in the current folder, if it is there.

    Raises:
        BadSettings: the file cannot be read, or says what it cannot.
    """
    if path is None:
        path = Path(NAME)
        if not path.exists():
            return Settings()
    try:
        return read(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: expected settings that can be read: {error}") from None


def read(text: str, path: Path) -> Settings:
    """Read the text of the settings file.

    Raises:
        BadSettings: it says what it cannot.
    """
    try:
        table = msgspec.convert(tomllib.loads(text).get("validate", {}), _Table)
        limits = limits_in(table.limits)
    except (ValueError, msgspec.MsgspecError, Misuse) as error:  # of TOML they are ValueErrors
        raise BadSettings(f"{path}: [validate]: {error}") from None
    if not 1 <= table.repeats <= 100:
        raise BadSettings(f"{path}: [validate]: expected 1 to 100 repeats, got {table.repeats}")
    folder = path.parent
    bench = table.bench if not table.bench or table.bench.startswith("virtual:") else str(folder / table.bench)
    return Settings(
        bench, str(folder / table.baseline) if table.baseline else "", table.scenarios, table.repeats, limits
    )
