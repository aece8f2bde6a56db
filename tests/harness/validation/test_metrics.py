"""The table of what is measured."""

import re

import pytest

from harness.errors import Misuse
from harness.report.record import Limit
from harness.validation.metrics import METRICS, limit_in_words, metric_named, metric_rows, place


def test_names_are_identifiers():
    """They stand in TOML, without quotes, and no two are alike."""
    names = [metric.name for metric in METRICS]

    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)
    assert len(set(names)) == len(names)


def test_metric_of_a_partition():
    """Its name and its title tell which."""
    metric = metric_named("image_bytes.ota_0")

    assert (metric.name, metric.title) == ("image_bytes.ota_0", "image size of ota_0")


@pytest.mark.parametrize("name", ["boot_to_moon", "image_bytes", "image_bytes.", "boot_to_ip.ota_0", ""])
def test_unknown_metric(name):
    """It is refused with those there are."""
    with pytest.raises(Misuse, match="boot_to_ip"):
        metric_named(name)


def test_place():
    """The order of the table, then that of the partitions; what is not known comes last."""
    names = ["moon", "heap_slope", "image_bytes.b", "image_bytes.a"]

    assert sorted(names, key=place) == ["image_bytes.a", "image_bytes.b", "heap_slope", "moon"]


def test_limit_in_words():
    """As people say it."""
    assert limit_in_words(Limit(at_most=30)) == "at most 30"
    assert limit_in_words(Limit(at_least=16384)) == "at least 16 384"
    assert limit_in_words(Limit()) == "none"


def test_rows():
    """Each metric has a row, and says what exactly it is."""
    assert len(list(metric_rows())) == len(METRICS)
    assert all(row[4].endswith(".") for row in metric_rows())
