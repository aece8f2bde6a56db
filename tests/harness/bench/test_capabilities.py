"""The words that say what a board has, and a test needs."""

from __future__ import annotations

import pytest

from harness.bench.bench_file import BoardConfig, ConsoleConfig, PowerConfig
from harness.bench.capabilities import CAPABILITIES, has, is_capability, meant, of_board


def board(*caps, power="none", url="rfc2217://h:1"):
    """Make a board that has these."""
    power_config, console = PowerConfig(kind=power), ConsoleConfig(url=url)
    return BoardConfig(id="b", chip="esp32", mac="24:6f:28:aa:bb:cc", console=console, power=power_config, caps=caps)


def test_vocabulary():
    """Each word of the list is one, its examples of sizes and of one's own included."""
    assert [name for name in CAPABILITIES if not is_capability(name.replace("…", "relay"))] == []


@pytest.mark.parametrize("text", ["", "Wifi", "psram", "psram:0M", "psram:8", "psram:8M ", "psram:99999M", "x-", "x-Y"])
def test_not_in_it(text):
    """Anything else is not: a typo would make a test wait for a board that never comes."""
    assert not is_capability(text)


def test_meant():
    """A typo is recognised."""
    assert (meant("wfi"), meant("psram:8MB"), meant("zzz")) == ("wifi", "psram:8M", None)


def test_what_follows():
    """A supply and lines are capabilities without being written down; writing them twice does not double them."""
    assert of_board(board("wifi", "reset", power="en")) == ("wifi", "reset", "power")
    assert of_board(board("wifi")) == ("wifi", "reset")
    assert of_board(board("wifi", url="socket://h:1")) == ("wifi",)


@pytest.mark.parametrize(
    ("wanted", "had"),
    [
        ("wifi", True),
        ("boot_log", False),
        ("psram:2M", True),
        ("psram:8M", True),
        ("psram:16M", False),
        ("flash:8M", False),
    ],
)
def test_has(wanted, had):
    """More of a size is enough; less is not, and PSRAM is no flash."""
    assert has(board("wifi", "psram:8M"), wanted) is had
