"""The measurements of the page."""

from __future__ import annotations

import msgspec

from harness.report.measured import measured, measurements
from tests.harness.report.samples import MEASUREMENTS
from tests.harness.report.test_markup import read


def seen(markup: str) -> str:
    """The text, with plain spaces."""
    return read(markup).text.replace("\xa0", " ")


def test_the_worst_comes_first():
    """Over the limit, worse, without a baseline, and last what is well."""
    text = seen(measurements(tuple(reversed(MEASUREMENTS)), 0))
    titles = ["reconnect after", "minimum free", "round trip", "audio frames", "free space", "boot to IP"]

    assert sorted(titles, key=text.index) == titles
    assert "2 of 6 not good" in text


def test_one_measurement():
    """Value, baseline with its version and the change, limit, judgement with a sign, and why."""
    text = seen(measured(MEASUREMENTS[0]))

    for words in ("15 s", "was 3.9 s (1.4.1) +285 %", "at most 12 s", "✕ over limit", "which is where waiting ended"):
        assert words in text


def test_nothing_measured():
    """One without a value says so; none at all is no section."""
    assert "–not measured" in seen(
        measured(msgspec.structs.replace(MEASUREMENTS[4], values=(), limit=MEASUREMENTS[4].limit))
    ).replace("at most 250 ms", "")
    assert measurements((), 0) is None
