"""Numbers, the way people read them."""

from __future__ import annotations

import pytest

from harness.report.figures import change, duration, number, quantity


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.0384, "0.038"),
        (2.1, "2.1"),
        (2.126, "2.13"),
        (41.5, "41.5"),
        (41.54, "41.5"),
        (412.4, "412"),
        (1276416, "1 276 416"),
        (-3.5, "−3.5"),
        (-0.0001, "0"),
        (100.0, "100"),
    ],
)
def test_number(value, shown):
    """Three digits that matter; groups of three; no exponent, and no minus before nothing."""
    assert number(value).replace("\xa0", " ") == shown


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1276416, "bytes", "1.22 MiB"),
        (40120, "bytes", "39.2 KiB"),
        (512, "bytes", "512 B"),
        (-2048, "bytes/s", "−2 KiB/s"),
        (2.12, "s", "2.12 s"),
        (0, "", "0"),
        (99.5, "%", "99.5 %"),
        (None, "s", "–"),
    ],
)
def test_quantity(value, unit, shown):
    """Bytes in units that people compare; what was not measured is a dash."""
    assert quantity(value, unit).replace("\xa0", " ") == shown


@pytest.mark.parametrize(
    ("value", "before", "shown"),
    [(15, 3.9, "+285 %"), (1.0, 2.0, "−50 %"), (-2, -1, "−100 %"), (2.0, 2.0, "±0 %"), (1, 0, ""), (None, 3, "")],
)
def test_change(value, before, shown):
    """In percent of what was; nothing where that was nothing."""
    assert change(value, before).replace("\xa0", " ") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 ms"), (0.84, "840 ms"), (12.44, "12.4 s"), (59.9, "59.9 s"), (185, "3 min 05 s"), (7440, "2 h 04 min")],
)
def test_duration(seconds, shown):
    """In the unit that fits."""
    assert duration(seconds).replace("\xa0", " ") == shown
