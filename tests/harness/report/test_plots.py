"""The strip of a measurement."""

from __future__ import annotations

import re

import msgspec

from harness.report.plots import WIDTH, strip
from harness.report.record import Baseline, Limit
from tests.harness.report.samples import MEASUREMENTS

WIFI, HEAP = MEASUREMENTS[:2]


def places(drawn: str, kind: str, attribute: str = "x1") -> list[float]:
    """Where elements of a class are."""
    return [float(x) for x in re.findall(rf'class="{kind}"[^>]*? {attribute}="([^"]+)"', drawn)]


def test_better_and_worse_are_in_the_order_of_numbers():
    """The baseline is left of the limit, which is left of the value that is over it."""
    drawn = strip(WIFI)
    (before,), (limit,), (median,) = places(drawn, "before"), places(drawn, "limit"), places(drawn, "median")

    assert before < limit < median
    assert len(places(drawn, "dot", "cx")) == 3


def test_what_is_not_allowed_is_shaded():
    """Right of an upper limit, left of a lower one."""
    (upper,), (x,) = places(strip(WIFI), "limit"), places(strip(WIFI), "beyond", "x")
    (lower,), (left,) = places(strip(HEAP), "limit"), places(strip(HEAP), "beyond", "x")

    assert x == upper
    assert (left, lower > 0) == (0, True)


def test_it_says_itself_in_words():
    """For those who do not see it."""
    said = re.search(r'aria-label="([^"]+)"', strip(HEAP))[1].replace("\xa0", " ")

    assert said == "minimum free heap: 39.9 KiB of 3, baseline 52 KiB to 54 KiB, at least 32 KiB"


def test_one_value_alone():
    """Without limit, baseline or spread there is a dot in the middle; without a value nothing."""
    alone = msgspec.structs.replace(WIFI, values=(0.0,), limit=Limit(), baseline=None)

    assert places(strip(alone), "dot", "cx") == [WIDTH / 2]
    assert strip(msgspec.structs.replace(alone, values=(), baseline=Baseline(1.0, 1.0, 1.0))) is None
