"""Limits as people declare them in TOML: ``[limits.boot_to_ip]``, ``at_most = 6.0``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from harness.errors import Misuse
from harness.report.record import Limit
from harness.validation.metrics import METRICS, metric_named

Limits: TypeAlias = Mapping[str, Limit]
"""By measurement; a measurement for each partition may be named without one, for all of them."""


OF_PARTITIONS = frozenset(metric.name for metric in METRICS if metric.of_partition)


class _Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    at_most: float | None = None
    at_least: float | None = None


def limits_in(table: Any) -> dict[str, Limit]:
    """Read a table of limits.

    Raises:
        Misuse: a measurement that there is not, or a limit that cannot be.
    """
    if not isinstance(table, dict):
        raise Misuse(f"expected a table of limits, got {table!r}")
    return {name: _limit(name, declared) for name, declared in table.items()}


def limit_of(name: str, *declared: Limits) -> Limit | None:
    """Return the limit of a measurement, from the first that declares one; None: nobody does."""
    family = name.partition(".")[0]
    return next((limits[key] for limits in declared for key in (name, family) if key in limits), None)


def _limit(name: str, declared: Any) -> Limit:
    metric_named(f"{name}.any" if name in OF_PARTITIONS else name)
    try:
        limit = msgspec.convert(declared, _Declared)
    except msgspec.ValidationError as error:
        raise Misuse(f"expected at_most or at_least, or both, as the limit of {name}: {error}") from None
    if limit == _Declared():
        raise Misuse(f"expected at_most or at_least, or both, as the limit of {name}, there is neither")
    return Limit(limit.at_most, limit.at_least)
