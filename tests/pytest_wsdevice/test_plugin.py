"""The plugin as a guest: cheap to have, and on good terms with others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.pytest_wsdevice.conftest import OTHERS, Run

DEVICE = """
import pytest

@pytest.mark.asyncio
async def test_async(ws_device):
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")

def test_plain(ws_device):
    ws_device.send({"type": "ping"})
    ws_device.expect("pong")
"""


def test_cheap_to_load():
    """Who has it installed and does not use it loads no gateway, no WebSocket library, no serial port, no report."""
    script = """
import sys
import pytest_wsdevice.plugin
heavy = {"gateway", "harness", "websockets", "msgspec", "h11", "serial", "esptool", "allure", "pytest_asyncio"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("plugin", ["pytest_embedded.plugin", "anyio.pytest_plugin", "allure_pytest.plugin"])
def test_beside_others(pytester: pytest.Pytester, run: Run, plugin: str):
    """pytest-embedded's, anyio's and Allure's plugins beside it change nothing, and nothing of theirs is hidden."""
    other = {"pytest_embedded.plugin": "dut", "anyio.pytest_plugin": "anyio_backend"}.get(plugin, "tmp_path")
    test = DEVICE + f"\ndef test_theirs({other}):\n    assert {other}\n"

    run(test, "--collect-only", "-p", plugin)  # writes the files
    # in a process of its own: pytest-embedded warns of itself, which is an error in this one
    without = [argument for name in OTHERS if name != plugin.partition(".")[0] for argument in ("-p", f"no:{name}")]
    pytester.runpytest_subprocess(*without).assert_outcomes(passed=3)


def test_prefix(run: Run):
    """All its fixtures and options carry its prefix, so that nobody's are hidden."""
    result = run("", "--fixtures", "-q")

    text = "\n".join(result.outlines)
    ours = text.partition("pytest_wsdevice.fixtures")[2].partition("fixtures defined from")[0]
    names = {line.split(" ")[0] for line in ours.splitlines() if line and line[0].isalpha() and " -- " in line}
    fixtures = ["stage", "timeline", "gateway", "gateway_parts", "gateways", "devices", "device", "faults"]
    fixtures += ["held", "bench", "board", "boards", "console", "power", "firmware"]
    assert names == {f"ws_{name}" for name in fixtures}


def test_xdist(pytester: pytest.Pytester, run: Run):
    """Workers have gateways of their own, and their failures their timelines."""
    test = """
import pytest
pytestmark = pytest.mark.asyncio

@pytest.mark.parametrize("n", range(6))
async def test_it(ws_device, n):
    await ws_device.send({"type": "ping", "id": n})
    await ws_device.expect("pong", id=n)
    assert n != 4
"""
    run(test, "--collect-only")  # writes the files
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:randomly", "-p", "no:anyio", "-p", "no:pytest_embedded")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        ["*what happened*", '*device  -> gateway  {"type":"ping","id":4}', "*test_it-4.call.jsonl"]
    )


def test_without_pytest_asyncio(pytester: pytest.Pytester):
    """Where pytest-asyncio is not installed, a test that wants a fixture is told what to install; others run."""
    pytester.makepyfile(
        test_it="""
def test_other():
    pass

def test_device(ws_device):
    pass
"""
    )
    script = """
import sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name, package=None: None if name == "pytest_asyncio" else found(name, package)
import pytest
without = "asyncio", "randomly", "anyio", "pytest_embedded"
sys.exit(pytest.main([argument for name in without for argument in ("-p", f"no:{name}")]))
"""
    result = pytester.run(sys.executable, "-c", script)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*pip install 'wsdevice[[]pytest[]]'*"])
