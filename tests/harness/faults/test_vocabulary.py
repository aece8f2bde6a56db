"""The records of faults: their names, their limits, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import msgspec
import pytest

from harness.faults.errors import BadFault
from harness.faults.vocabulary import (
    KINDS,
    AnyFault,
    Bandwidth,
    ClockStep,
    Cut,
    Fault,
    Heal,
    KillGateway,
    Lasting,
    Latency,
    LimitData,
    Loss,
    Partition,
    PowerCut,
    Slicer,
    Timeout,
    name_of,
)


def test_names():
    """Names are Toxiproxy's where they mean the same, and each is one word."""
    toxics = {"latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data"}
    assert toxics < set(KINDS)
    assert [name_of(kind) for kind in KINDS.values()] == list(KINDS)
    assert KINDS["slow_close"](0.5).name == "slow_close"  # type: ignore[call-arg]
    assert set(KINDS.values()) == set(get_args(AnyFault))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Latency(-0.1), "expected seconds of latency to be at least 0, got -0.1"),
        (lambda: Latency(0.1, jitter=-1), "expected jitter of latency to be at least 0, got -1"),
        (lambda: Latency(math.nan), "at least 0, got nan"),
        (lambda: Latency(math.inf), "at least 0, got inf"),
        (lambda: Bandwidth(0), "expected bytes_per_second of bandwidth to be at least 1, got 0"),
        (lambda: Slicer(0), "expected average_bytes of slicer to be at least 1"),
        (lambda: LimitData(0), "expected bytes of limit_data to be at least 1"),
        (lambda: Loss(0.91), "expected chance of loss to be from 0 to 0.9, got 0.91"),
        (lambda: Partition("up"), "expected direction of partition to be one of both, to_device, to_gateway, got 'up'"),
        (lambda: ClockStep(math.inf), "got inf"),
    ],
)
def test_limits(make: Callable[[], Fault], text: str):
    """A value that makes no sense is refused, with what does."""
    with pytest.raises(BadFault) as found:
        make()
    assert text in str(found.value)


def test_at_the_limits():
    """The last values that make sense are taken."""
    assert Latency(0).seconds == 0
    assert Loss(0.9).chance == 0.9
    assert ClockStep(-3600.0).seconds == -3600.0


def test_ways():
    """A fault that says no direction goes both ways."""
    assert Cut().ways == ("to_gateway", "to_device")
    assert Partition("to_device").ways == ("to_device",)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Latency(0.2, jitter=0.05, on="kitchen"), "latency seconds=0.2 jitter=0.05 on kitchen"),
        (Partition("to_device"), "partition direction=to_device on all devices"),
        (Latency(1 / 3), "latency seconds=0.333333 on all devices"),
        (KillGateway(), "kill_gateway"),
        (PowerCut(on="gateway"), "power_cut on gateway"),
        (Heal("latency"), "heal what=latency on all devices"),
        (Cut(on="a\nb"), "cut on a\\nb"),
    ],
)
def test_in_words(fault: Fault, text: str):
    """Each says in one line what it is."""
    assert str(fault) == text


@pytest.mark.parametrize("kind", KINDS.values())
def test_json(kind: type[Fault]):
    """Each can be written and read again, as what it is."""
    needed = [field for field in msgspec.structs.fields(kind) if field.required]
    fault = kind(*[0.5 if field.name == "chance" else 3 for field in needed], on="a")
    written = msgspec.json.encode(fault)
    assert msgspec.json.decode(written, type=AnyFault) == fault  # type: ignore[arg-type]
    assert msgspec.json.decode(written)["fault"] == fault.name


def test_reading_what_makes_no_sense():
    """A fault that is read is checked like one that is made."""
    with pytest.raises(msgspec.ValidationError, match="seconds"):
        msgspec.json.decode(b'{"fault":"latency","seconds":-1}', type=AnyFault)  # type: ignore[arg-type]


def test_what_lasts():
    """What shapes the way lasts; what happens does not."""
    assert {name for name, kind in KINDS.items() if kind.lasts} == {
        "latency",
        "bandwidth",
        "slicer",
        "loss",
        "limit_data",
        "timeout",
        "slow_close",
        "partition",
        "slow_disk",
    }
    assert issubclass(Timeout, Lasting)


def test_units():
    """Every value of every fault says what it is, and in which unit."""
    for kind in KINDS.values():
        for info in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
            assert isinstance(info.type, msgspec.inspect.Metadata), (kind, info.name)
            assert (info.type.extra_json_schema or {}).get("description"), (kind, info.name)
