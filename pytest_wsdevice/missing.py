"""The fixtures where pytest-asyncio is not installed: each says what to install."""

from __future__ import annotations

from typing import NoReturn

import pytest

_TEXT = "the fixtures of wsdevice need pytest-asyncio: pip install 'wsdevice[pytest]'"


@pytest.fixture
def ws_gateway() -> NoReturn:
    """Needs pytest-asyncio."""
    raise pytest.UsageError(_TEXT)


ws_stage = ws_gateway_parts = ws_timeline = ws_gateways = ws_devices = ws_device = ws_faults = ws_gateway
ws_held = ws_bench = ws_board = ws_boards = ws_console = ws_power = ws_firmware = ws_gateway
