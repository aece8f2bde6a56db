"""The page as text: what is on it, in which order, and that nothing in it is what it should not be."""

from __future__ import annotations

import base64
import hashlib
import re

import msgspec
import pytest

from harness.report.page import page
from harness.report.record import Record
from harness.report.thinning import PAGE_MARKS
from tests.harness.report.samples import (
    FAILED,
    FAILING,
    GOOD,
    HANDOVER,
    MATRIX,
    MEASUREMENTS,
    PASSING,
    RIG,
    RUN,
    SLOW,
    WIFI,
    audio,
    console,
)
from tests.harness.report.test_markup import read


def in_order(text: str, *words: str) -> bool:
    """Whether words stand in a text one behind the other."""
    return re.search(".*?".join(map(re.escape, words)), text, re.DOTALL) is not None


def test_the_order_of_a_failure():
    """Verdict, why, the scenario that decided with its message, measurements, the other scenarios, the rest."""
    seen = read(page(FAILING)).text

    assert in_order(
        seen, "firmware fault", "This build is not good", "Wi-Fi loss", WIFI.doc, "s3-box expected the event",
        "Measurements", "reconnect after Wi-Fi loss", "Scenarios", "shown at the top", HANDOVER.doc, "Crashes",
        "Flashed", "the flash holds the same", "What this rests on", "CPU, radio, timing", "run it again",
    )  # fmt: skip


def test_the_one_that_decided_is_at_the_top():
    """Of several failed scenarios it is the one that the verdict names; if it names none, the first one that failed."""
    second = msgspec.structs.replace(FAILED, decided_by=HANDOVER.name)

    assert in_order(page(Record(RUN, "firmware", "", (second,))), 'id="first"', HANDOVER.doc, "Measurements")
    none = msgspec.structs.replace(FAILED, decided_by="")
    assert in_order(page(Record(RUN, "firmware", "", (none,))), 'id="first"', WIFI.doc, "Measurements")


def test_a_measurement_can_decide():
    """Where no scenario failed, the measurement stands at the top."""
    assert in_order(page(SLOW), 'id="first"', "minimum free heap", 'id="measurements-0"', "minimum free heap")
    two = msgspec.structs.replace(SLOW.cells[0], measurements=MEASUREMENTS)
    (top,) = re.findall(r'id="first".*?</section>', page(Record(RUN, "firmware", "", (two,))))
    assert "minimum free heap" in top
    assert "reconnect after" not in top


def test_a_good_build_has_nothing_at_the_top():
    """No failure, no card; but what was tried again is said."""
    text = page(PASSING)

    assert 'id="first"' not in text
    assert in_order(read(text).text, "pass", "This build is good", "Tried again", "s3-old", "rig fault", "vanished")


def test_the_matrix():
    """Each build in a row, each board in a column, what was not tried said so; the gravest cell comes first below."""
    text = page(MATRIX)
    seen = read(text).text

    assert in_order(
        seen, "Builds and boards", "s3-box", "c3-mini", "lamp", "pass", "attempt 2", "rig fault", "kettle", "not tried"
    )
    assert in_order(text, '<details id="cell-2" class="cell card" open', '<details id="cell-1"', '<details id="cell-0"')
    assert 'id="cell-0" class="cell card" open' not in text
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(re.findall(r' id="([^"]+)"', text))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("rig", "The rig failed: this says nothing about the build"),
        ("network", "The network failed: this says nothing about the build"),
        ("gateway", "The gateway failed"),
    ],
)
def test_what_a_verdict_means(verdict, words):
    """Faults of others are not put on the firmware."""
    assert words in read(page(Record(RUN, verdict, "", (msgspec.structs.replace(RIG, verdict=verdict),)))).text


def test_an_empty_record():
    """A run that came to nothing has a page."""
    assert "The rig failed" in page(Record(RUN, "rig", "no board could be had", ()))


HOSTILE = (
    "</script></pre><script>document.title='owned'</script><img src=x onerror=alert(1)>\"'`"
    "\u2028\u2029\x00\x1b[31m<!--]]>"
)


def test_hostile_text_is_text():
    """What a device prints is in the page as text, wherever it stands: no element, no attribute is its doing."""
    hostile = msgspec.structs.replace(
        WIFI,
        name=HOSTILE,
        doc=HOSTILE,
        message=HOSTILE,
        group=HOSTILE,
        reproduce=HOSTILE,
        timeline=(console(0, HOSTILE), {**console(1, HOSTILE), "source": HOSTILE}),
    )
    build = msgspec.structs.replace(FAILED.build, name=HOSTILE, project=HOSTILE)
    board = msgspec.structs.replace(FAILED.board, id=HOSTILE)
    crash = msgspec.structs.replace(FAILED.crashes[0], kind=HOSTILE, text=HOSTILE, scenario=HOSTILE, signature=HOSTILE)
    parts = tuple(msgspec.structs.replace(part, label=HOSTILE, because=HOSTILE) for part in FAILED.flashed)
    measurement = msgspec.structs.replace(FAILED.measurements[0], title=HOSTILE, why=HOSTILE, unit=HOSTILE)
    cell = msgspec.structs.replace(
        FAILED,
        build=build,
        board=board,
        why=HOSTILE,
        scenarios=(hostile,),
        crashes=(crash,),
        flashed=parts,
        measurements=(measurement,),
        environment={HOSTILE: HOSTILE},
    )
    text = page(
        Record(msgspec.structs.replace(RUN, began=HOSTILE, reproduce=HOSTILE), "firmware", HOSTILE, (cell, RIG))
    )
    elements = read(text).seen

    assert [name for name, _ in elements].count("script") == 2
    assert "img" not in {name for name, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    assert not re.search("[\x00\x1b\u2028\u2029]", text)


def test_only_its_own_script_and_style_may_run():
    """The policy names them by their hashes, and allows nothing else: no address, no frame, no form."""
    text = page(FAILING)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)

    assert policy.startswith("default-src 'none'; ")
    for kind, content in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    assert " style=" not in text


def test_no_address_is_in_it():
    """But the name of SVG, which is no address."""
    assert set(re.findall(r"https?://[^\"'\s<]+", page(MATRIX))) == {"http://www.w3.org/2000/svg"}


def test_a_big_run_has_a_page_that_opens():
    """Forty long timelines are thinned to what a phone takes, and what is left out is said."""
    rows = tuple(console(n / 10, f"I ({n}) audio: {'x' * 60}") for n in range(1500))
    long = msgspec.structs.replace(WIFI, timeline=rows)
    scenarios = tuple(msgspec.structs.replace(long, name=f"t{n}", outcome="passed") for n in range(40))
    text = page(Record(RUN, "pass", "", (msgspec.structs.replace(GOOD, scenarios=scenarios),)))

    assert len(text) < 4_000_000
    assert text.count('"plain",0,') <= PAGE_MARKS
    assert re.search(r'"leftOut":[1-9]', text)


def test_a_timeline_within_its_limit_is_whole():
    """Nothing is said to be left out that is there."""
    timeline = tuple(audio(n) for n in range(500))
    cell = msgspec.structs.replace(FAILED, scenarios=(msgspec.structs.replace(WIFI, timeline=timeline, dropped=3),))
    text = page(Record(RUN, "firmware", "", (cell,)))

    assert '"leftOut":0,"dropped":3' in text
    assert text.count('"sent",0,') == 500
