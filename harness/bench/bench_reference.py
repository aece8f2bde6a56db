"""Every setting of a bench file in words: what it takes and what it means.

The faults that `harness.bench.bench_loading` lists and the tables of ``docs/bench.md`` are made of the same words,
which stand beside the types in `harness.bench.bench_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gateway.config_reference import in_toml, in_words
from harness.bench.bench_file import (
    BenchTable,
    BoardConfig,
    ConsoleConfig,
    FlashConfig,
    NetworkConfig,
    PowerConfig,
)
from harness.bench.capabilities import CAPABILITIES

TABLES: dict[str, type[msgspec.Struct]] = {
    "[bench]": BenchTable,
    "[network]": NetworkConfig,
    "[[board]]": BoardConfig,
    "[board.console]": ConsoleConfig,
    "[board.flash]": FlashConfig,
    "[board.power]": PowerConfig,
}
"""Each table of the file, as it is headed, and what it is read into."""


class BenchSetting(msgspec.Struct, frozen=True):
    """One setting of a table.

    Attributes:
        key: its name.
        type: its annotation, constraints included.
        expected: what it takes, in words that follow "expected".
        description: what it means.
        required: it has no default.
        default: what it is when the file does not say; None where it is required.
        secret: what stands there may be a secret in the wrong place, and is not shown.
    """

    key: str
    type: Any
    expected: str
    description: str
    required: bool
    default: Any
    secret: bool


def settings(table: type[msgspec.Struct]) -> dict[str, BenchSetting]:
    """Return the settings of a table by key, in its order; without tables within it and what no file can set."""
    return {setting.key: setting for setting in _settings(table)}


def tables_within(table: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Return the tables that stand in a table, by key."""
    return {key: kind for key, kind in get_type_hints(table).items() if _is_table(kind)}


def _settings(table: type[msgspec.Struct]) -> Iterator[BenchSetting]:
    annotations = get_type_hints(table, include_extras=True)
    for field in msgspec.structs.fields(table):
        annotation = annotations[field.name]
        if get_origin(annotation) is not Annotated:
            continue
        kind, *metas = get_args(annotation)
        meta: Meta = metas[-1]
        if not any((one.extra or {}).get("not_in_files") for one in metas):
            yield BenchSetting(
                key=field.name,
                type=annotation,
                expected=(meta.extra or {}).get("expected") or in_words(kind, meta),
                description=meta.description or "",
                required=field.required,
                default=None if field.required else field.default,
                secret=bool((meta.extra_json_schema or {}).get("secret")),
            )


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


# --- the page -------------------------------------------------------------------------------------------------


def table_rows(heading: str) -> Iterator[tuple[str, str, str, str]]:
    """Make the rows of a table's reference: key, what it takes, default, meaning."""
    for setting in settings(TABLES[heading]).values():
        default = "needed" if setting.required else f"`{_default(setting.default)}`"
        yield f"`{setting.key}`", setting.expected, default, setting.description


def capability_rows() -> Iterator[tuple[str, str]]:
    """Make the rows of the vocabulary of capabilities."""
    return ((f"`{name}`", meaning) for name, meaning in CAPABILITIES.items())


def _default(value: Any) -> str:
    return in_toml(list(value) if isinstance(value, tuple) else value)
