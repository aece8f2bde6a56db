"""A record says the same before and after it was a file, and what is none is refused with the reason."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from harness.errors import Misuse
from harness.report.errors import BadRecord, UnknownSchema
from harness.report.record import SCHEMA, Measurement, decode, encode, gravest
from tests.harness.report.samples import FAILING, MATRIX, MEASUREMENTS, PASSING


@pytest.mark.parametrize("record", [FAILING, MATRIX, PASSING], ids=["failing", "matrix", "passing"])
def test_round_trip(record):
    """A record that was written and read is equal, and is written the same again."""
    data = encode(record)

    assert decode(data) == record
    assert encode(decode(data)) == data
    assert json.loads(data)["schema"] == SCHEMA


def test_a_field_that_came_later_is_passed_over():
    """Fields may be added within a schema."""
    later = {**json.loads(encode(FAILING)), "mood": "calm"}

    assert decode(json.dumps(later).encode()) == FAILING


@pytest.mark.parametrize("schema", ["wsdevice.validation/2", "wsdevice.validation/", "junit", "\x1b[2J"])
def test_another_schema_is_refused(schema):
    """A record of a version that is not known is not read as if it were."""
    other = {**json.loads(encode(FAILING)), "schema": schema}

    with pytest.raises(UnknownSchema, match=r"expected a record of schema 'wsdevice\.validation/1', got '") as refused:
        decode(json.dumps(other).encode())

    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"[]", "array"),
        (b"{}", "schema"),
        (b'{"schema":3}', "int"),
        (b'{"schema":"wsdevice.validation/1"}', "run"),
        (b'{"schema":"wsdevice.validation/1\xff"}', "UTF-8|utf-8"),
        (
            encode(FAILING).replace(b'"over limit"', b'"dreadful"'),
            r"cells\[.+\]\.measurements\[.+\]\.judgement",
        ),
    ],
)
def test_what_is_no_record_is_refused(data, why):
    """The error says where it departs from a record."""
    with pytest.raises(BadRecord, match=why):
        decode(data)


def test_gravest():
    """A fault of the firmware outweighs all else, and a pass nothing."""
    assert gravest(["pass", "rig", "firmware", "gateway"]) == "firmware"
    assert gravest(["pass", "rig"]) == "rig"
    assert gravest(["rig", "network", "gateway"]) == "gateway"
    assert gravest([]) == "pass"


def test_the_median_of_the_repeats_is_the_value():
    """One repeat that was disturbed does not decide; without any there is no value."""
    assert msgspec.structs.replace(MEASUREMENTS[0], values=(1.0, 9.0, 2.0)).value == 2.0
    assert msgspec.structs.replace(MEASUREMENTS[0], values=()).value is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_taken(value):
    """JSON has no such numbers: the record could not be read back."""
    with pytest.raises(Misuse, match="expected numbers of boot"):
        Measurement("boot", "boot", "s", (1.0, value), "ok", "")


def test_what_speaks_against_a_build():
    """Judgements and outcomes are told apart in one place."""
    assert [one.bad for one in MEASUREMENTS] == [True, True, False, False, False, False]
    assert [one.outcome for one in FAILING.cells[0].scenarios if one.bad] == ["failed", "failed"]
