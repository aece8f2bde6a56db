"""The data of the page's script."""

from __future__ import annotations

import json
import re

import msgspec

from harness.report.timelines import Timelines
from tests.harness.report.samples import HANDOVER, WIFI, console


def data(*scenarios) -> dict[str, object]:
    """What the script reads."""
    return json.loads(re.fullmatch(r"<script [^>]+>(.*)</script>", Timelines(scenarios).script())[1])


def test_what_the_script_reads():
    """Lanes with their marks and bars, names once."""
    found = data(WIFI, HANDOVER)
    first = found["timelines"][0]

    assert [lane["kind"] for lane in first["lanes"]] == ["console", "frames", "gateway", "network", "power", "test"]
    assert first["lanes"][0]["marks"][0] == [0.0, "plain", 0, "ESP-ROM:esp32s3-20210327"]
    assert found["names"][0] == "s3-box"
    assert len(found["names"]) == len(set(found["names"]))
    assert (first["failed"], first["leftOut"], first["dropped"]) == (23.0, 0, 0)
    assert len(found["timelines"]) == 2


def test_nothing_in_it_ends_the_element():
    """What a device printed comes back as it was, but stands there without a single bracket."""
    line = "</script><!--<script>&amp;"
    script = Timelines([msgspec.structs.replace(WIFI, timeline=(console(0, line),))]).script()

    assert script.count("<") == script.count(">") == 2
    assert (
        data(msgspec.structs.replace(WIFI, timeline=(console(0, line),)))["timelines"][0]["lanes"][0]["marks"][0][3]
        == line
    )
