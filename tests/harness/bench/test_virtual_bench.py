"""``virtual:3`` in words."""

from __future__ import annotations

import pytest

from harness.bench.virtual_bench import MOST_BOARDS, chips_of, is_virtual
from harness.errors import Misuse


@pytest.mark.parametrize(
    ("given", "chips"),
    [
        ("virtual:1", ["esp32s3"]),
        ("virtual:4", ["esp32s3", "esp32c3", "esp32", "esp32s3"]),
        ("virtual:esp32", ["esp32"]),
        ("virtual:esp32, ESP32-S3,esp32", ["esp32", "esp32s3", "esp32"]),
    ],
)
def test_chips(given, chips):
    """So many, of each chip in turn; or those that are named."""
    assert is_virtual(given)
    assert list(chips_of(given)) == chips


@pytest.mark.parametrize("given", ["virtual:", "virtual:0", f"virtual:{MOST_BOARDS + 1}", "virtual:9" * 9, "3", ","])
def test_others(given):
    """What is neither is refused, a number without end too."""
    with pytest.raises(Misuse, match=r"expected (virtual:N with N from 1 to 16|one of esp32)"):
        chips_of(given)


def test_unknown_chip():
    """A chip that is not supported is named, with those that are."""
    with pytest.raises(Misuse, match="expected one of esp32, esp32s3, esp32c3, got 'esp8266'"):
        chips_of("virtual:esp8266")


def test_files_are_none():
    """A file may be called anything else."""
    assert not is_virtual("bench.toml")
