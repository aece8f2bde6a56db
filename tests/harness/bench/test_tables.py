"""Tables line up."""

from __future__ import annotations

from harness.bench.tables import table


def test_table():
    """Columns are as wide as their longest cell; no line ends with blanks."""
    assert table(("a", "long head", "c"), [("long cell", "b", ""), ("", "", "c")]) == (
        "a          long head  c\nlong cell  b\n                      c\n"
    )


def test_no_rows():
    """A head alone is a table, too."""
    assert table(("a", "b"), []) == "a  b\n"
