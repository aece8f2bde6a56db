"""JUnit XML, for those who show nothing else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import msgspec
import pytest

from harness.report.junit import junit
from harness.report.record import Attempt, Record
from tests.harness.report.samples import FAILED, FAILING, GOOD, MATRIX, PASSING, RIG, RUN, WIFI


def parsed(record: Record) -> ET.Element:
    """The document."""
    return ET.fromstring(junit(record))


def test_counts():
    """Verdict, measurements and scenarios are counted, in each suite and in all."""
    root = parsed(MATRIX)
    counts = [
        (suite.get("name"), *(int(suite.get(n)) for n in ("tests", "failures", "errors", "skipped"))) for suite in root
    ]

    assert counts == [
        ("lamp on s3-box", 10, 0, 0, 1),
        ("lamp on c3-mini", 1, 0, 1, 0),
        ("kettle on s3-box", 14, 5, 0, 1),
    ]
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["25", "5", "1", "2"]


def test_a_failure_says_why_and_how_to_see_it_again():
    """The first line is the message, all of it and the command are the text."""
    (case,) = parsed(FAILING).findall(f"testsuite/testcase[@name='{WIFI.name}']")
    failure = case.find("failure")

    assert case.get("classname") == "kettle.s3-box.reconnecting"
    assert failure.get("message") == WIFI.message.split("\n")[0]
    assert failure.get("type") == "firmware"
    assert failure.text.endswith(f"\n\nreproduce: {WIFI.reproduce}")
    assert WIFI.message in failure.text


def test_properties():
    """Verdict, board, build, what was tried again and each value that was measured."""
    (suite,) = parsed(PASSING)
    properties = {each.get("name"): each.get("value") for each in suite.find("properties")}

    assert properties["wsdevice.verdict"] == "pass"
    assert properties["wsdevice.board"] == "s3-box"
    assert properties["wsdevice.virtual"] == "true"
    assert properties["wsdevice.attempts"] == "2"
    assert properties["wsdevice.attempt.1"].startswith("s3-old: rig: the serial port vanished")
    assert properties["wsdevice.measurement.boot_to_ip"] == "2.12 s"
    assert properties["wsdevice.measurement.audio_lost"] == "0"
    assert properties["wsdevice.tool.esptool"] == "5.6.0"


@pytest.mark.parametrize(
    ("verdict", "element"), [("firmware", "failure"), ("gateway", "failure"), ("rig", "error"), ("network", "error")]
)
def test_a_build_that_could_not_be_run_is_no_success(verdict, element):
    """The verdict is a test case of its own, so a file without scenarios is red, too."""
    record = Record(RUN, verdict, "x", (msgspec.structs.replace(RIG, verdict=verdict),))
    (case,) = parsed(record).iter("testcase")

    assert [child.tag for child in case] == [element]
    assert case[0].get("type") == verdict


def test_what_xml_cannot_hold_is_shown_as_escapes():
    """NUL and other control characters of a console do not make a file that nobody can read."""
    hostile = "a\x00b\x1b[0m<c>&\u2028]]>\ud83d\ufffe"
    cell = msgspec.structs.replace(
        FAILED,
        why=hostile,
        environment={hostile: hostile},
        attempts=(Attempt(hostile, "rig", hostile),),
        scenarios=(msgspec.structs.replace(WIFI, name=hostile, message=f"{hostile}\nsecond"),),
    )
    (case,) = (
        c for c in parsed(Record(RUN, "firmware", "", (cell,))).iter("testcase") if c.get("name").startswith("a\\x00")
    )

    assert "\\x1b[0m<c>&\\u2028" in case.find("failure").text
    assert "\nsecond" in case.find("failure").text


def test_what_could_not_be_measured_is_skipped():
    """Without values there is no judgement."""
    measurement = msgspec.structs.replace(GOOD.measurements[0], values=(), judgement="no baseline", why="no Wi-Fi")
    cell = msgspec.structs.replace(GOOD, measurements=(measurement,), scenarios=())

    assert [c.find("skipped") is not None for c in parsed(Record(RUN, "pass", "", (cell,))).iter("testcase")] == [
        False,
        True,
    ]
