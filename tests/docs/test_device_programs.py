"""The page about device programs names everything that there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from harness.virtual import program_environment
from harness.virtual.firmware.options import Options
from harness.virtual.firmware.test_console import TestConsole
from harness.virtual.misbehaviour import Misdeed
from harness.virtual.panics import PanicKind
from harness.virtual.program_requests import AnyRequest

PAGE = (Path(__file__).parents[2] / "docs" / "device-programs.md").read_text()
QUOTED = set(re.findall(r"`([^`\n]+)`", re.sub(r"(?ms)^```.*?^```", "", PAGE)))


def test_environment():
    """Each variable of the environment."""
    source = Path(program_environment.__file__).read_text()
    variables = set(re.findall(r'"(WSDEVICE_\w+)"', source)) | {"WSDEVICE_CHANNEL"}

    assert set(re.findall(r"^\| `(WSDEVICE_\w+)`", PAGE, re.MULTILINE)) == variables


def test_requests():
    """Each request of the channel."""
    assert {request.__struct_config__.tag for request in get_args(AnyRequest)} <= QUOTED


def test_options():
    """Each option of the firmware."""
    named = {word.partition("=")[0] for word in QUOTED}

    assert {field.name for field in msgspec.structs.fields(Options)} <= named


def test_orders():
    """Each order of the test console, in the line that announces them and in the table."""
    nobody: Any = None
    orders = list(TestConsole(nobody, nobody, nobody, nobody, nobody, nobody)._orders)

    assert f"test console 1: {' '.join(orders)}\n" in PAGE
    assert set(orders) <= QUOTED


def test_misdeeds():
    """Each misdeed, and each kind of panic."""
    assert {*get_args(Misdeed), *get_args(PanicKind)} <= QUOTED
