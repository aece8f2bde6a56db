"""A timeline as one picture: whole, legible, and made of nothing but itself."""

from __future__ import annotations

import re
from itertools import groupby, pairwise
from xml.etree import ElementTree as ET

import pytest

from harness.report.lanes import lanes
from harness.report.placing import cells
from harness.report.svg import WIDTH, Scale, timeline_svg
from harness.report.thinning import TIMELINE_MARKS
from tests.harness.report.samples import WIFI, audio, console, row

NS = "{http://www.w3.org/2000/svg}"


def drawn(*args, **kwargs) -> ET.Element:
    """The drawing, parsed."""
    return ET.fromstring(timeline_svg(*args, **kwargs))


def of_class(root: ET.Element, name: str) -> list[ET.Element]:
    """Elements of a class."""
    return [each for each in root.iter() if name in each.get("class", "").split()]


def test_what_is_drawn():
    """Lanes with their titles, marks of each form, bars, a line where it failed, and round times below."""
    root = drawn(WIFI.timeline, WIFI.doc, WIFI.failed_at)

    assert [each.text for each in of_class(root, "lane")] == [lane.title for lane in lanes(WIFI.timeline)]
    assert {each.tag.removeprefix(NS) for each in of_class(root, "mark")} == {"rect", "path", "circle"}
    assert [each.get("class") for each in of_class(root, "bar")] == ["bar online", "bar fault"]
    assert len(of_class(root, "failure")) == 1
    assert [each.text for each in of_class(root, "tick")] == ["0 s", "5 s", "10 s", "15 s", "20 s"]
    assert root.findtext(f"{NS}title") == WIFI.doc
    assert of_class(root, "left-out")[0].text is None


def test_texts_do_not_overlap():
    """On each line of text there is air between one and the next, and all is inside."""
    root = drawn(WIFI.timeline, WIFI.doc, WIFI.failed_at)
    texts = sorted(
        of_class(root, "label") + of_class(root, "lane"), key=lambda each: (int(each.get("y")), float(each.get("x")))
    )

    for _, line in groupby(texts, key=lambda each: each.get("y")):
        spans = [(float(each.get("x")), float(each.get("x")) + 6.63 * cells(each.text)) for each in line]
        assert all(right[0] > left[1] for left, right in pairwise(spans))
        assert spans[-1][1] < WIDTH


def test_it_needs_nothing_else():
    """No address is in it but the name of SVG itself, and no script; dark and light come with it."""
    text = timeline_svg(WIFI.timeline, WIFI.doc, WIFI.failed_at)

    assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"<script|url\(|@import|href", text)


HOSTILE = "</text><script>alert(1)</script>\"' onload=x \u2028\x00\x1b]0;pwn\x07 & ]]>"


def test_hostile_text_is_text():
    """What a device prints, and what it calls itself, does not become markup."""
    root = drawn([row(0, "console", HOSTILE, line=HOSTILE), console(1, "x")], HOSTILE, 1.0)

    assert not list(root.iter(f"{NS}script"))
    assert root.findtext(f"{NS}title").startswith("</text><script>")


def test_a_big_timeline_is_thinned():
    """It says how many entries are left out, those that the timeline had no room for included."""
    rows = [audio(at) for at in range(TIMELINE_MARKS + 500)]

    assert of_class(drawn(rows, "long", left_out=7), "left-out")[0].text == "507 entries are left out"


@pytest.mark.parametrize("rows", [[], [console(3.0, "x")]], ids=["nothing", "one"])
def test_almost_nothing(rows):
    """A timeline without time in it is drawn."""
    assert len(of_class(drawn(rows, "short", 3.0 if rows else None), "mark")) == len(rows)


@pytest.mark.parametrize("span", [0.001, 0.3, 1.0, 7.0, 59.0, 3600.0, 86400.0])
def test_ticks(span):
    """A few round times, inside of what is shown, at any scale."""
    ticks = list(Scale(lanes([console(0.0, "a"), console(span, "b")]), None).ticks())

    assert 3 <= len(ticks) <= 10
    assert ticks[0] >= 0
    assert ticks[-1] <= span + 1e-9
