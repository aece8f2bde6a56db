"""Text stays text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from harness.report.markup import Markup, join, several_lines, tag, text


class Reader(HTMLParser):
    """What a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        """An element begins."""
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Some text."""
        self.text += data


def read(markup: str) -> Reader:
    """Read it as HTML."""
    reader = Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text())
def test_no_text_becomes_markup(words):
    """Whatever it is, in a child or in an attribute, there is one element, with one attribute, and that text."""
    reader = read(tag("p", words, title=words))

    ((name, attributes),) = reader.seen
    assert (name, set(attributes)) == ("p", {"title"})
    assert attributes["title"] == reader.text == read(text(words)).text
    assert all(c.isprintable() or c in "\n\t\xa0" for c in reader.text)


def test_control_characters_are_shown():
    """NUL, escape sequences and line separators of other alphabets are seen, line ends and tabs are kept."""
    assert text("a\x00b\x1b[0m\u2028\u202e\r\nc\td\xa0e\r") == "a\\x00b\\x1b[0m\\u2028\\u202e\nc\td\xa0e\\r"


def test_markup_is_taken_as_it_is():
    """Elements are made of elements; None and False are left out, True is a bare attribute."""
    inner = tag("b", "x", hidden=False, class_=None)

    assert tag("p", inner, None, "<", data_at="1", open=True) == '<p data-at="1" open><b>x</b>&lt;</p>'
    assert tag("meta", name="a", http_equiv="b") == '<meta name="a" http-equiv="b">'
    assert isinstance(join(inner, "y"), Markup)


def test_long_text_is_cut_and_says_so():
    """At the limit it is whole; past it, it says how much more there is."""
    assert several_lines("\nab\n", 2) == "ab"
    assert several_lines("abc", 2) == "ab\n… 1 characters more are in the record"
