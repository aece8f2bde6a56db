"""What stands below the results."""

from __future__ import annotations

import msgspec

from harness.report.particulars import about, crashes, evidence, flashed
from tests.harness.report.samples import FAILED, PARTS, RUN
from tests.harness.report.test_markup import read
from tests.harness.report.test_scenarios import PLACES


def test_what_was_flashed_and_what_was_skipped():
    """Each part with its place, its size, and why."""
    text = read(flashed(PARTS, 0)).text.replace("\xa0", " ")

    for words in ("1.79 MiB written, 2 skipped", "0x20000", "written in 5.8 s", "skippedthe flash holds the same"):
        assert words in text
    assert flashed((), 0) is None


def test_what_is_real_and_what_is_not():
    """A virtual board's CPU, radio and timing are not."""
    text = read(evidence(FAILED, 0)).text

    assert "s3-box, esp32s3, virtual" in text
    assert "not realCPU, radio, timing" in text
    assert "realflashing tool (esptool), serial protocol, firmware images, NVS, network" in text


def test_crashes():
    """Those of a scenario are links to it; others stand here with their dump."""
    outside = msgspec.structs.replace(FAILED.crashes[0], scenario="")

    assert 'href="#scenario-3"' in crashes(FAILED, 0, PLACES)
    assert "Backtrace" not in crashes(FAILED, 0, PLACES)
    assert "Backtrace" in crashes(msgspec.structs.replace(FAILED, crashes=(outside,)), 0, PLACES)
    assert crashes(msgspec.structs.replace(FAILED, crashes=()), 0, PLACES) is None


def test_the_foot():
    """The run, its tools, and the command that does it all again."""
    text = read(about(RUN)).text

    assert RUN.reproduce in text
    assert "esptool5.6.0" in text
