"""Errors say what they are about, and get through to another process."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from harness.firmware.errors import (
    BadBuild,
    BadFileSystem,
    BadImage,
    BadNvs,
    BadPartitionTable,
    FirmwareError,
    NoSuchPartition,
    NotInstalled,
    Unfit,
)

ERRORS = [
    BadImage("hash", "why"),
    BadPartitionTable("why"),
    NoSuchPartition("nvs", ["a", "b"]),
    BadNvs(["one", "two"]),
    BadFileSystem("why"),
    BadBuild(Path("folder"), "why"),
    Unfit("chip", "why"),
    NotInstalled("flashing", "esptool"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickled(error: FirmwareError):
    """Text and facts survive."""
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", [BadImage, Unfit])
def test_hostile_text(error: type[BadImage | Unfit]):
    """What came out of a file is shown as escapes, and not all of it."""
    said = str(error("chip", "\x1b[2J" * 1000))

    assert said.isprintable()
    assert len(said) < 500
