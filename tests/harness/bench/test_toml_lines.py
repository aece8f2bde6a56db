"""Tables and keys are found where they stand."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from harness.bench.toml_lines import line_numbers, line_of

DOCUMENT = """\
schema = 1            # one
[bench]
name = "lab"
[[board]]
id = "a"
console = { url = "rfc2217://x:1", baud = 9600 }
[board.power]
kind = "en"
[[board]]
"id" = "b"
power.kind = "none"
  [ board . 'flash' ]
  baud = 9600
"""


def test_places():
    """Keys after a header belong to it, those below [board.power] to the latest board, dotted ones to their table."""
    assert line_numbers(DOCUMENT) == {
        ("schema",): 1,
        ("bench",): 2,
        ("bench", "name"): 3,
        ("board", 0): 4,
        ("board", 0, "id"): 5,
        ("board", 0, "console"): 6,
        ("board", 0, "power"): 7,
        ("board", 0, "power", "kind"): 8,
        ("board", 1): 9,
        ("board", 1, "id"): 10,
        ("board", 1, "power", "kind"): 11,
        ("board", 1, "flash"): 12,
        ("board", 1, "flash", "baud"): 13,
    }


def test_nearest():
    """A key in an inline table has the line of the table, one that is not there that of its board; else none."""
    lines = line_numbers(DOCUMENT)

    assert line_of(("board", 0, "console", "baud"), lines) == 6
    assert line_of(("board", 1, "mac"), lines) == 9
    assert line_of(("network",), lines) is None


def test_texts_over_lines():
    """A document that may have keys within texts has no numbers."""
    assert line_numbers('a = """\nb = 1\n"""\n') == {}


@given(st.text(alphabet="ab.[]=\"' #\n", max_size=40))
def test_any_document(text):
    """No document makes it fail, and what tomllib reads at the top of a plain one has a line."""
    lines = line_numbers(text)

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    if "'''" not in text and '"""' not in text and "[" not in text and "." not in text:
        # an escape or an empty name aside, which nobody writes here
        assert {name for name in document if name} <= {place[0] for place in lines}
