"""Simulated loops in pytest-asyncio, through its hook for loop factories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

CONFTEST = """
import asyncio
from harness.simulation.loop import loop_factory

def pytest_asyncio_loop_factories(config, item):
    return {f"seed{seed}": loop_factory(seed) for seed in (1, 2, 3)}
"""

TESTS = """
import asyncio, contextlib, random, time
import pytest

real = time.time
drawn = []

@pytest.fixture
async def server():
    async with await asyncio.start_server(lambda reader, writer: writer.close(), port=9) as server:
        yield server
        await asyncio.sleep(60)

async def test_hour(server):
    reader, writer = await asyncio.open_connection("localhost", 9)
    assert await reader.read() == b""
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == pytest.approx(3600, abs=1)
    drawn.append(random.random())
    writer.close()

async def test_killed_and_left_behind():
    loop = asyncio.get_running_loop()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            raise SystemExit("the dead must not speak")

    loop.network.host("gw").spawn(work())
    await asyncio.sleep(1)
    loop.network.host("gw").kill()

def test_real_again():
    assert time.time is real
    assert len({*drawn}) == 3
"""


def test_seeds_as_items(tmp_path: Path):
    """Each seed is an item; fixtures share the loop of their test; behind the tests the clock is the real one."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "pytest_asyncio.plugin",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=25)

    assert "7 passed" in done.stdout, done.stdout + done.stderr
    assert "test_it.py::test_hour[seed2] PASSED" in done.stdout
    assert "the dead" not in done.stdout + done.stderr
