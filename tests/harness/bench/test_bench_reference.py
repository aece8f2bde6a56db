"""The settings in words, as faults and the page show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.bench.bench_file import BoardConfig, NetworkConfig
from harness.bench.bench_loading import load
from harness.bench.bench_reference import TABLES, capability_rows, settings, table_rows, tables_within

PAGE = Path(__file__).parents[3] / "docs" / "bench.md"


def test_every_setting_is_in_words():
    """Each says what it takes and what it means."""
    found = [setting for struct in TABLES.values() for setting in settings(struct).values()]

    assert [setting.key for setting in found if not setting.expected or not setting.description.endswith(".")] == []


def test_not_in_files():
    """What only a virtual bench has, no file can set, and no page offers."""
    assert "virtual_psk" not in settings(NetworkConfig)
    assert "control" not in settings(BoardConfig)


def test_tables_within():
    """Tables of a board are those of the page."""
    assert list(tables_within(BoardConfig).values()) == [
        TABLES[f"[board.{name}]"] for name in ("console", "flash", "power")
    ]


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        ("[[board]]", ("`virtual`", "true or false", "`false`", "It is no silicon, and reports say so.")),
        ("[board.console]", ("`baud`", "an integer from 9600 to 5000000", "`115200`", "Of the running firmware.")),
    ],
)
def test_rows(heading, row):
    """A row has the key, what it takes, its default, what it means."""
    assert row in list(table_rows(heading))


def test_needed():
    """What has no default is needed."""
    assert [row[0] for row in table_rows("[[board]]") if row[2] == "needed"] == ["`id`", "`chip`", "`mac`"]


def test_capability_rows():
    """The vocabulary is listed whole."""
    assert ("`boot_button`", "the harness can press BOOT (IO0)") in list(capability_rows())


def test_example_of_the_page(tmp_path):
    """The file that the page shows has no faults."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "bench.toml").write_text(example, encoding="utf-8")

    assert [board.id for board in load(tmp_path / "bench.toml").boards] == ["s3-01", "c3-01"]
