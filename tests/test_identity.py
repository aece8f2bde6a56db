"""Tests of `gateway.identity`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadDeviceId
from gateway.identity import device_id, escaped, generated_device_id, group_of, is_generated, printable
from gateway.protocol.limits import DEVICE_ID_CHARACTERS, PRINTED_CHARACTERS

ROOT = Path(__file__).parents[1]


def _device_id_or_none(text: str) -> str | None:
    try:
        return device_id(text)
    except BadDeviceId:
        return None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:ff"),
        (" AA:BB:CC:DD:EE:FF\r\n", "aa:bb:cc:dd:ee:ff"),
        ('"001"', "001"),
        ("'001'", "001"),
        (' " 001 " ', "001"),
        ("a b", "a b"),
        ("客厅", "客厅"),
        ("x" * DEVICE_ID_CHARACTERS, "x" * DEVICE_ID_CHARACTERS),
        (" " * 100 + "X", "x"),
    ],
)
def test_ids_have_one_form(text, name):
    """White space and quotes around an id go, capitals become small, up to 64 characters."""
    assert device_id(text) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty one"),
        (" \t\r\n", "an empty one"),
        ("\"''\"", "an empty one"),
        ("x" * (DEVICE_ID_CHARACTERS + 1), "got 65"),
        ("İ" * 33, "got 66"),  # its small form has two characters
        ("a\x00b", "cannot be printed"),
        ("a\nb", "cannot be printed"),
        ("a\x1b[2Jb", "cannot be printed"),
        ("a\u202eb", "cannot be printed"),
        ("a\ud800", "cannot be printed"),
    ],
)
def test_bad_ids_are_refused(text, words):
    """What cannot name a device is refused, in words that do not repeat it."""
    with pytest.raises(BadDeviceId, match=words) as caught:
        device_id(text)

    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(st.text(max_size=70))
def test_any_text_is_an_id_in_bounds_or_refused(text):
    """An id is 1 to 64 printable characters, in lower case, without white space at its ends."""
    name = _device_id_or_none(text)

    if name is not None:
        assert 1 <= len(name) <= DEVICE_ID_CHARACTERS
        assert name.isprintable()
        assert name == name.strip().lower()


@settings(deadline=None, max_examples=500)
@given(st.text(alphabet="aÄ\"' \tİ", max_size=12))
def test_form_of_an_id_is_final(text):
    """An id brought to its one form twice is the same id."""
    name = _device_id_or_none(text)

    assert name is None or device_id(name) == name


def test_generated_ids_are_ids_and_known_as_such():
    """An id of our own is valid, says so by its beginning, and is not given twice."""
    made = {generated_device_id() for _ in range(100)}

    assert len(made) == 100
    for name in made:
        assert re.fullmatch(r"auto-[0-9a-f]{8}", name)
        assert device_id(name) == name
        assert is_generated(name)
    assert not is_generated(device_id("automatic"))


@pytest.mark.parametrize(
    ("name", "group"), [("aa:bb:cc:dd:ee:ff", "aa:bb:cc"), ("001", "001"), ("12345678", "12345678")]
)
def test_group_is_the_first_eight_characters(name, group):
    """A shorter id is a group of its own."""
    assert group_of(device_id(name)) == group


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc…"),
        ("", 3, ""),
        (7, 3, "7"),
        (None, 10, "None"),
        ("a\nb", 10, "a\\nb"),
        ("\x1b[2J", 10, "\\x1b[2J"),
        ("\x00" * 10, 10, "\\x00\\x00\\x"),
        ("\u202e", 10, "\\u202e"),
        ("\ud800", 10, "\\ud800"),
        ("客厅", 10, "客厅"),
    ],
)
def test_text_of_peers_is_made_printable(value, limit, shown):
    """Long texts are cut and say so; control characters, direction marks and halves of characters are escapes."""
    assert printable(value, limit) == shown


@settings(deadline=None)
@given(st.text())
def test_any_text_is_made_printable(text):
    """Whatever comes in, what comes out is one short printable line, which is the text itself where that is fit."""
    shown = printable(text)

    assert shown.isprintable()
    assert len(shown) <= PRINTED_CHARACTERS + 1
    if text.isprintable() and len(text) <= PRINTED_CHARACTERS:
        assert shown == text


def test_escapes_need_no_file():
    """With no file descriptor left, a peer's text is still made printable."""
    code = (
        "import resource; from gateway.identity import printable;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0));"
        "assert printable('a\\x00') == 'a\\\\x00'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20)


@given(st.text())
def test_escapes_are_those_of_python(text):
    """What is escaped reads as it would in a literal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

    assert escaped(text) == shown
